"""The weights that each way of training ends with, to the bit, as they were once recorded.

The last bits of a matrix product depend on the processor and on the libraries that multiply. So a
product of its own is recorded beside the weights: where that is not the same, no weights can be.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from scipy.linalg.blas import sgemm

import train_cls_rnn

RECORDED = json.loads(Path(__file__).with_name("recorded_weights.json").read_text())
LABELLED = REPOSITORY / "rnn_tutorial" / "data_examples"


def hash_of_a_product():
    """SHA-256 of what PyTorch and SciPy's BLAS make of the same two matrices."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 96, 96), dtype=np.float32)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    halves = (x.bfloat16() @ y.bfloat16()).float()
    results = ((x @ y).numpy(), halves.numpy(), x.tanh().numpy(), sgemm(1.0, a, b))
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()


@pytest.mark.skipif(
    hash_of_a_product() != RECORDED["product"],
    reason="this processor or its libraries multiply with other last bits",
)
@pytest.mark.parametrize("name", RECORDED["weights"])
def test_the_weights_are_the_recorded_ones(name, tmp_path):
    case = RECORDED["weights"][name]
    flags = case["flags"].replace("LABELLED", str(LABELLED)).split()
    flags += ["--tracker", "disabled", "--device", "cpu", "--num_threads", "1"]
    flags += ["--save_dir", str(tmp_path), "--run_name", "run"]
    if case["processes"] == 1:
        assert train_cls_rnn.main(flags) == 0
    else:
        script = str(REPOSITORY / "train_cls_rnn.py")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        command = [sys.executable, *launcher, str(case["processes"]), script, *flags]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["weights_hash"] == case["hash"]
