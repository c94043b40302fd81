"""Train a recurrent network to answer the sum of a digit sequence modulo 10.

    python train_cls_rnn.py                                    the tutorial's baseline
    python train_cls_rnn.py --hidden_dim 32 --num_layers 3     a deeper net
    python train_cls_rnn.py --resume output/baseline           go on after an interruption

The story, from top to bottom: flags -> data -> model -> loop -> evaluate -> save.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, get_total_norm

from rnn_tutorial.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnn_tutorial.config import TrainConfig, add_config_flags, config_from_dict
from rnn_tutorial.data import Batches, BatchLoader, SeqSumModDataset
from rnn_tutorial.evaluate import Evaluation, evaluate
from rnn_tutorial.model import RnnClsNet
from rnn_tutorial.run_folder import (
    CONFIG_FILE,
    RESULT_FILE,
    MetricsFile,
    checkpoint_path,
    claim_run_folder,
    latest_checkpoint,
    read_json,
    write_json,
)
from rnn_tutorial.task import label, num_classes
from rnn_tutorial.terminal import OneSentenceParser, Progress, StopSignals
from rnn_tutorial.tracking import start_tracker

# What may differ when a run is resumed: nothing here changes the weights but for rounding.
RESUME_FLAGS = (
    "log_every", "eval_every", "save_every", "num_workers", "tracker", "device", "num_threads",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="train_cls_rnn.py", description=__doc__)
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"go on with an interrupted run; only --{', --'.join(RESUME_FLAGS)} may change",
    )
    add_config_flags(parser)
    flags = vars(parser.parse_args(arguments))
    resume = flags.pop("resume")
    try:
        config, folder, checkpoint = resume_run(Path(resume), flags) if resume else new_run(flags)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if (folder / RESULT_FILE).exists():
        print(f"Run {folder} is finished. {prediction_hint(folder)}")
        return 0
    try:
        return train(config, folder, checkpoint)
    except OSError as error:
        print(f"{parser.prog}: error: {error}; {resume_hint(folder)}", file=sys.stderr)
        return 1


def new_run(flags: dict[str, Any]) -> tuple[TrainConfig, Path, None]:
    """The configuration and the new folder of a run; written to only when all flags are valid."""
    config = settle_machine(TrainConfig(**flags))
    folder = claim_run_folder(config.save_dir, config.run_name)
    config = replace(config, run_name=folder.name)
    write_json(folder / CONFIG_FILE, asdict(config))
    return config, folder, None


def resume_run(folder: Path, flags: dict[str, Any]) -> tuple[TrainConfig, Path, Checkpoint | None]:
    """The configuration of an interrupted run and its latest checkpoint, if it got that far.

    Raises:
        ValueError: no such run, a damaged one, or a flag that may not change.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"--resume {str(folder)!r} is no folder of a run: it has no {CONFIG_FILE}")
    recorded = read_json(folder / CONFIG_FILE)
    config = config_from_dict(recorded, str(folder / CONFIG_FILE))
    for name, value in flags.items():
        if name not in RESUME_FLAGS and value != recorded[name]:
            raise ValueError(
                f"--{name} {value} differs from the resumed run's {recorded[name]}; "
                f"with --resume only --{', --'.join(RESUME_FLAGS)} may change"
            )
    config = settle_machine(replace(config, **flags))
    path = latest_checkpoint(folder)
    return config, folder, load_checkpoint(path) if path else None


def settle_machine(config: TrainConfig) -> TrainConfig:
    """Replace `--device auto` and `--num_threads 0` by what they mean on this machine.

    MPS is never chosen by itself: packed sequences are unreliable there.

    Raises:
        ValueError: the device does not exist here.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(
            f"--device {device!r} cannot be used on this machine; auto and cpu always can"
        ) from None
    chosen_by_environment = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 1
    return replace(config, device=device, num_threads=config.num_threads or chosen_by_environment)


def train_on_batches(
    model: RnnClsNet,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    learning_rates: Sequence[float],
    max_grad_norm: float,
    stop: StopSignals,
) -> tuple[Tensor, float]:
    """One optimizer update per batch: forward, loss, backward, clip, step.

    Returns:
        The loss of each update made, (K,), fewer than batches if a stop was asked for; and the
        gradient's 2-norm at the last one, before clipping.
    """
    device = model.fc.weight.device
    losses = []
    for x, seq_lengths, targets, learning_rate in zip(*batches, learning_rates, strict=True):
        scores = model(x.to(device), seq_lengths)  # (N, C)
        loss = cross_entropy(scores, targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        if max_grad_norm:
            grad_norm = clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate
        optimizer.step()
        losses.append(loss.detach())
        if stop.signum is not None:
            break
    if not max_grad_norm:
        grad_norm = get_total_norm([parameter.grad for parameter in model.parameters()])
    return torch.stack(losses), grad_norm.item()


def train(config: TrainConfig, folder: Path, checkpoint: Checkpoint | None) -> int:
    """Train from the checkpoint, or from the start, to total_steps; returns the exit status."""
    started = time.perf_counter()
    torch.set_num_threads(config.num_threads)
    torch.manual_seed(config.seed)

    # ---- data ----
    dataset = SeqSumModDataset(
        None, config.min_seq_len, config.max_seq_len, config.max_number, config.seed
    )

    # ---- model ----
    model_arguments = {
        "vocab_size": num_classes(config.max_number),
        "embed_dim": config.embed_dim,
        "hidden_dim": config.hidden_dim,
        "num_layers": config.num_layers,
        "cls_num": num_classes(config.max_number),
    }
    model = RnnClsNet(**model_arguments).to(config.device)
    # AdamW with weight_decay 0 is Adam.
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.lr,
        weight_decay=config.weight_decay,
        fused=config.device.startswith(("cpu", "cuda")),
    )
    step, seconds_before, evaluation = 0, 0.0, None
    if checkpoint is not None:
        model.load_state_dict(checkpoint.build_model().state_dict())
        optimizer.load_state_dict(checkpoint.optimizer)
        step, seconds_before = checkpoint.step, checkpoint.elapsed_seconds
        evaluation = Evaluation(**checkpoint.evaluation)
    print_opening(config, folder, model, step)

    def save() -> Path:
        return save_checkpoint(
            folder,
            step,
            model=model_arguments,
            weights=model.state_dict(),
            config=asdict(config),
            optimizer=optimizer.state_dict(),
            evaluation=asdict(evaluation),
            elapsed_seconds=seconds_before + time.perf_counter() - started,
        )

    # ---- loop ----
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        tracker = start_tracker(config.tracker, run_name=config.run_name, config=asdict(config))
        stack.callback(tracker.finish)
        print(tracker.notice, flush=True)
        metrics_file = stack.enter_context(contextlib.closing(MetricsFile(folder, step)))
        progress = stack.enter_context(contextlib.closing(Progress(step, config.total_steps)))
        batch_loader = BatchLoader(
            dataset, config.batch_size, step, config.total_steps, config.num_workers
        )
        steps_since_log, seconds_since_log = 0, 0.0
        while step < config.total_steps and stop.signum is None:
            chunk_started = time.perf_counter()
            batches = batch_loader.take(updates_until_due(config, step))
            learning_rates = [config.learning_rate(step + k) for k in range(len(batches.x))]
            losses, grad_norm = train_on_batches(
                model, optimizer, batches, learning_rates, config.max_grad_norm, stop
            )
            steps_since_log += len(losses)
            seconds_since_log += time.perf_counter() - chunk_started
            bad = (~losses.isfinite()).nonzero()
            if len(bad) or not math.isfinite(grad_norm):
                step += int(bad[0]) + 1 if len(bad) else len(losses)
                metrics_file.write(step, {"loss": None})
                progress.close()
                return report_divergence(folder, step)
            step += len(losses)
            progress.advance(step)

            # ---- evaluate ----
            eval_due = is_due(config, step, config.eval_every)
            save_due = is_due(config, step, config.save_every)
            if eval_due or save_due or stop.signum is not None:
                evaluation = evaluate(
                    model, config.min_seq_len, config.max_seq_len, config.max_number
                )

            # ---- log ----
            metrics: dict[str, Any] = {}
            if step == 1:
                metrics["model_parameters"] = count_parameters(model)
            if step == 1 or is_due(config, step, config.log_every):
                metrics["loss"] = losses[-1].item()
                metrics["current_lr"] = config.learning_rate(step)
                metrics["grad_norm"] = grad_norm
                metrics["steps_per_second"] = steps_since_log / seconds_since_log
                steps_since_log, seconds_since_log = 0, 0.0
            if eval_due:
                metrics["accuracy"] = evaluation.accuracy
                metrics["wrong_inputs"] = evaluation.num_wrong
                metrics["accuracy_by_length"] = evaluation.accuracy_by_length
            if metrics:
                metrics_file.write(step, metrics)
                tracker.log({k: v for k, v in metrics.items() if not isinstance(v, dict)}, step)
                progress.report(metrics)

            # ---- save ----
            if save_due or stop.signum is not None:
                save()
        if step == 0:
            evaluation = evaluate(model, config.min_seq_len, config.max_seq_len, config.max_number)
            save()
    if step < config.total_steps:
        print(f"Stopped after {step:,} updates; {resume_hint(folder)}")
        return 128 + stop.signum
    elapsed_seconds = seconds_before + time.perf_counter() - started
    write_result(config, folder, model, evaluation, elapsed_seconds)
    print_summary(config, folder, model, evaluation, elapsed_seconds)
    return 0


def is_due(config: TrainConfig, step: int, every: int) -> bool:
    """True at the multiples of `every`, if it is not 0, and after the last update."""
    return step == config.total_steps or (every > 0 and step % every == 0)


def updates_until_due(config: TrainConfig, step: int) -> int:
    """Updates from `step` to the next one that is logged (the first is), evaluated or saved."""
    intervals = (config.log_every, config.eval_every, config.save_every or config.total_steps)
    next_due = min(step + every - step % every for every in intervals)
    return 1 if step == 0 else min(next_due, config.total_steps) - step


def count_parameters(model: RnnClsNet) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def print_opening(config: TrainConfig, folder: Path, model: RnnClsNet, step: int) -> None:
    """Say what is trained, where, and what a net that only guesses would score."""
    classes = num_classes(config.max_number)
    threads = "1 thread" if config.num_threads == 1 else f"{config.num_threads} threads"
    start = f"resumed at step {step:,}" if step else "new run"
    print(f"Run {folder} ({start}), seed {config.seed}, device {config.device}, {threads}")
    print(
        f"Model of {count_parameters(model):,} parameters; "
        f"chance is a loss of ln {classes} = {math.log(classes):.3f}, accuracy {1 / classes:.1%}"
    )


def print_summary(
    config: TrainConfig,
    folder: Path,
    model: RnnClsNet,
    evaluation: Evaluation,
    elapsed_seconds: float,
) -> None:
    """Say what came out, what is wrong with it, where it is, and what to type next."""
    print(f"\nTrained {config.total_steps:,} updates in {elapsed_seconds:.1f} s.")
    print(f"In the end: {evaluation.describe()}")
    by_length = evaluation.accuracy_by_length.items()
    if len(by_length) <= 10:
        shown = ", ".join(f"{accuracy:.2%} at {length}" for length, accuracy in by_length)
        print(f"Accuracy by length: {shown}")
    for digits in evaluation.wrong_examples:
        answer = model.predict(digits).item()
        shown = " ".join(map(str, digits[:20])) + (" …" if len(digits) > 20 else "")
        print(f"  wrong: {shown} -> {answer}, right is {label(digits, config.max_number)}")
    print(f"Checkpoint: {checkpoint_path(folder, config.total_steps)}")
    print(prediction_hint(folder))


def write_result(
    config: TrainConfig,
    folder: Path,
    model: RnnClsNet,
    evaluation: Evaluation,
    elapsed_seconds: float,
) -> None:
    """Write result.json: the final figures and what they were measured on."""
    write_json(
        folder / RESULT_FILE,
        {
            "config": asdict(config),
            "seed": config.seed,
            "steps": config.total_steps,
            "model_parameters": count_parameters(model),
            "elapsed_seconds": elapsed_seconds,
            "checkpoint": checkpoint_path(folder, config.total_steps).name,
            "accuracy": evaluation.accuracy,
            "wrong_inputs": evaluation.num_wrong,
            "evaluation": asdict(evaluation),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy")},
                "platform": platform.platform(),
            },
        },
    )


def report_divergence(folder: Path, step: int) -> int:
    """Say that the loss is no number any more, and what to try; returns the exit status."""
    checkpoint = latest_checkpoint(folder)
    print(
        f"train_cls_rnn.py: the loss or its gradient is not a finite number at step {step:,}; "
        f"last good checkpoint: {checkpoint or 'none yet'}. "
        "Try a lower --lr, --max_grad_norm 1, or a --warmup_step.",
        file=sys.stderr,
    )
    return 1


def prediction_hint(folder: Path) -> str:
    """The command that asks a trained net."""
    return f"Ask it: python predict_cls_rnn.py --save_dir {shlex.quote(str(folder))}"


def resume_hint(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"go on with: python train_cls_rnn.py --resume {shlex.quote(str(folder))}"


if __name__ == "__main__":
    sys.exit(main())
