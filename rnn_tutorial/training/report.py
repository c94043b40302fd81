"""What a training says at its start and at its end, on the screen and in result.json."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rnn_tutorial.model.classifier import RnnClsNet, count_parameters
from rnn_tutorial.runs.archive import weights_hash
from rnn_tutorial.runs.files import write_json
from rnn_tutorial.runs.folder import BEST_FILE, RESULT_FILE, checkpoint_path
from rnn_tutorial.runs.provenance import versions
from rnn_tutorial.runs.terminal import shown, typed
from rnn_tutorial.training.run import Run
from rnn_tutorial.training.support import unsupported_reason


def print_opening(run: Run, model: RnnClsNet) -> None:
    """Say what is trained, where and how, and what a network that only guesses would score."""
    if not run.world.is_main:
        return
    config = run.config
    engine = config.engine
    if engine == "autograd" and (reason := unsupported_reason("compiled", config, run.world)):
        engine += f" (compiled would be faster, but {reason})"
    run.print_start(f", engine {engine}")
    print(f"Model of {count_parameters(model):,} parameters; {run.task.introduce()}")


def finish(run: Run, model: RnnClsNet) -> int:
    """Say how the run ended, and write result.json if it is over; returns the exit status."""
    elapsed_seconds = run.elapsed_seconds
    if run.diverged:
        return run.report_divergence()
    if not run.is_over:
        return run.print_stop()
    if run.world.is_main:
        write_result(run, model, elapsed_seconds)
        print_summary(run, model, elapsed_seconds)
    return 0


def print_summary(run: Run, model: RnnClsNet, elapsed_seconds: float) -> None:
    """Say what came out, what is wrong with it, where it is, and what to type next."""
    config, history, evaluation = run.config, run.history, run.evaluation
    print(f"\nTrained {run.step:,} updates in {elapsed_seconds:.1f} s.")
    if history.stops_early(config) and run.step < config.total_steps:
        print(f"Stopped early: {history.since_best} evaluations in a row without improvement.")
    if any(run.padding_shares):
        mean = sum(run.padding_shares) / len(run.padding_shares)
        print(f"Padding: {mean:.1%} of a batch on average.")
    print(f"Final {evaluation.describe()}")
    for line in run.task.describe_results(model, evaluation):
        print(shown(line))
    if run.proof:
        print(f"PROVED: {run.task.claim} ({run.proof.describe()})")
    elif config.stop_when_proved:
        reason = run.proof_failure or "no evaluation found every answer right"
        print(f"NOT PROVED in {run.step:,} updates: {shown(reason)}")
        print("What to try: rnn_tutorial/machines/README.md#not-proved")
    if evaluation.num_wrong and (advice := run.task.advise(config)):
        print(advice)
    print(f"Checkpoint: {shown(checkpoint_path(run.folder, run.step))}")
    if run.has_best:
        print(
            f"Best checkpoint: {shown(run.folder / BEST_FILE)}, {_best_score(run)} "
            f"at step {history.best_step:,}; predictions use it"
        )
    print(prediction_hint(run.folder))


def _best_score(run: Run) -> str:
    """The best value of what --monitor names, in words."""
    name, score = run.config.monitor, run.history.best_score
    return f"{name} {-score:.4f}" if name == "eval_loss" else f"{name} {score:.4%}"


def write_result(run: Run, model: RnnClsNet, elapsed_seconds: float) -> None:
    """Write result.json: the final figures and what they were measured on."""
    config, history, evaluation = run.config, run.history, run.evaluation
    result = {
        "run_id": run.run_id,
        "config": asdict(config),
        "seed": config.seed,
        "steps": run.step,
        "model_parameters": count_parameters(model),
        "elapsed_seconds": elapsed_seconds,
        "checkpoint": checkpoint_path(run.folder, run.step).name,
        "best_checkpoint": BEST_FILE if run.has_best else None,
        "best_step": history.best_step,
        "best_score": history.best_score,
        "accuracy": evaluation.accuracy,
        "wrong_inputs": evaluation.num_wrong,
        "evaluation": asdict(evaluation),
        "proof": run.proof.figures() if run.proof else None,
        "weights_hash": weights_hash(model.state_dict()),
        "versions": versions(),
    }
    write_json(run.folder / RESULT_FILE, result)


def prediction_hint(folder: Path) -> str:
    """The command that asks a trained network."""
    return f"Ask it: python predict_cls_rnn.py --save_dir {shown(typed(folder))}"
