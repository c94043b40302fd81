"""The weights that each way of training ends with, to the bit, as they were once recorded."""

import json

import pytest
from conftest import RECORDED, REPOSITORY, recorded_hashes

import train_cls_rnn

LABELLED = REPOSITORY / "rnn_tutorial" / "data_examples"


@pytest.mark.skipif(
    not recorded_hashes(),
    reason="this processor or its libraries multiply with other last bits than any recorded",
)
@pytest.mark.parametrize("name", RECORDED["weights"])
def test_the_weights_are_the_recorded_ones(name, train_in_two, tmp_path):
    case = RECORDED["weights"][name]
    flags = case["flags"].replace("LABELLED", str(LABELLED)).split()
    flags += ["--tracker", "disabled", "--device", "cpu", "--num_threads", "1"]
    flags += ["--save_dir", str(tmp_path), "--run_name", "run"]
    if case["processes"] == 1:
        assert train_cls_rnn.main(flags) == 0
    else:
        assert case["processes"] == 2
        train_in_two(flags, cwd=tmp_path)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["weights_hash"] == recorded_hashes()[name]
