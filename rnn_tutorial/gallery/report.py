"""What a training of the gallery says at its end, on the screen and in result.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import nn

from rnn_tutorial.gallery.run import GalleryRun
from rnn_tutorial.model.classifier import count_parameters
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.folder import BEST_FILE, RESULT_FILE, checkpoint_path
from rnn_tutorial.runs.provenance import versions
from rnn_tutorial.runs.terminal import shown, typed


def finish(run: GalleryRun, model: nn.Module, next_command: str, lines: Sequence[str] = ()) -> int:
    """Say how the run ended, and write result.json if it is over; returns the exit status.

    Args:
        run: after its loop.
        model: as it is now.
        next_command: what to type next, after the program: "sample".
        lines: what the evaluation found, in words.
    """
    if run.diverged:
        return run.report_divergence()
    if not run.is_over:
        return run.print_stop()
    if run.is_finished:
        print(f"Run {shown(run.folder)} is finished.")
    else:
        write_result(run, model)
        print(f"\nTrained {run.step:,} updates in {run.elapsed_seconds:.1f} s.")
        for line in lines:
            print(shown(line))
        print(f"Checkpoint: {shown(checkpoint_path(run.folder, run.step))}")
    print(f"Next: {run.program} {next_command} --run {shown(typed(run.folder))}")
    return 0


def write_result(run: GalleryRun, model: nn.Module) -> None:
    """Write result.json: the final figures and what they were measured on."""
    result = {
        "task": run.task,
        "run_id": run.run_id,
        "config": asdict(run.config),
        "data": run.data,
        "steps": run.step,
        "model_parameters": count_parameters(model),
        "elapsed_seconds": run.elapsed_seconds,
        "checkpoint": checkpoint_path(run.folder, run.step).name,
        "best_checkpoint": BEST_FILE if run.has_best else None,
        "best_score": run.history.best_score,
        "best_step": run.history.best_step,
        "score": run.score,
        "figures": run.figures,
        "weights_hash": weights_hash(model.state_dict()),
        "versions": versions(),
    }
    write_json(run.folder / RESULT_FILE, result)
