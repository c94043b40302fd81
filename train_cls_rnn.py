"""Train a recurrent network to answer the sum of a digit sequence modulo 10.

    python train_cls_rnn.py                                    the tutorial's baseline
    python train_cls_rnn.py --hidden_dim 32 --num_layers 3     a deeper net
    python train_cls_rnn.py --resume output/baseline           go on after an interruption

The story, from top to bottom: flags -> data -> model -> loop -> evaluate -> save.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm

from rnn_tutorial.data.streams import (
    Batches,
    BatchLoader,
    BatchStream,
    LengthBuckets,
    Pass,
    draw_noise,
    dropout_seed,
    make_passes,
    padding_share,
)
from rnn_tutorial.data.streams import (
    SeqSumModDataset as SeqSumModDataset,  # for whoever imports it here
)
from rnn_tutorial.doctor.run_checks import Watch
from rnn_tutorial.evaluation.exact import Evaluation
from rnn_tutorial.machines.digit_sum import num_classes
from rnn_tutorial.model.classifier import RnnClsNet
from rnn_tutorial.model.layers import init_recurrent
from rnn_tutorial.runs.checkpoint import Checkpoint, save_checkpoint
from rnn_tutorial.runs.folder import RESULT_FILE, MetricsFile
from rnn_tutorial.runs.processes import World, find_world, join_world
from rnn_tutorial.runs.terminal import OneSentenceParser, Progress, StopSignals
from rnn_tutorial.runs.tracking import start_tracker
from rnn_tutorial.settings.config import TrainConfig, add_config_flags, describe_recipes
from rnn_tutorial.tasks.tasks import DigitTask, FileTask, make_task
from rnn_tutorial.training.cuda_graph import graph_training_step
from rnn_tutorial.training.launch import RESUME_FLAGS, configure, impediment, open_run
from rnn_tutorial.training.optimizer import make_optimizer, update_ratio
from rnn_tutorial.training.report import (
    count_parameters,
    prediction_hint,
    print_opening,
    print_summary,
    report_divergence,
    resume_hint,
    write_result,
)
from rnn_tutorial.training.schedule import Standing, learning_rate

# An engine makes one update per batch: advance(steps, learning_rates, batches, noise, stop) returns
# the loss of each, (K,), and the gradient's 2-norm at the last, before clipping, a scalar.
Advance = Callable[
    [range, Sequence[float], Batches, Sequence[Tensor] | None, StopSignals], tuple[Tensor, Tensor]
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    parser = OneSentenceParser(prog="train_cls_rnn.py", description=__doc__)
    parser.add_argument(
        "--list_recipes", action="version", version=describe_recipes(), help="print them and exit"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"go on with an interrupted run; only --{', --'.join(RESUME_FLAGS)} may change",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="watch the run, and say at its end what is wrong (rnn_tutorial.diagnose)",
    )
    add_config_flags(parser)
    flags = vars(parser.parse_args(arguments))
    resume, diagnose = flags.pop("resume"), flags.pop("diagnose")
    world = find_world()

    def fail(status: int, sentence: object) -> NoReturn:
        if world.is_main:
            print(f"{parser.prog}: error: {sentence}", file=sys.stderr)
        sys.exit(status)

    try:
        config = configure(flags, resume, world)
        task = make_task(config)
        config = replace(config, **task.settings)
    except (ValueError, OSError) as error:
        fail(2, error)
    with join_world(world, config.device):
        try:
            config, folder, checkpoint = open_run(config, resume, world, task.examples)
        except (ValueError, OSError) as error:
            fail(2, error)
        watch = Watch(folder) if diagnose and world.is_main else None
        try:
            if (folder / RESULT_FILE).exists():
                status = 0
                if world.is_main:
                    print(f"Run {folder} is finished. {prediction_hint(folder)}")
            else:
                status = train(config, task, folder, checkpoint, world, watch)
        except OSError as error:
            fail(1, f"{error}; {resume_hint(folder)}")
        except RuntimeError as error:
            if world.size == 1:
                raise
            reason = str(error).partition("\n")[0]
            fail(1, f"another process was lost ({reason}); {resume_hint(folder)}")
        if watch is not None:
            watch.report()
        return status


def update(
    model: RnnClsNet | DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    lr: float,
    passes: Sequence[Pass],
) -> tuple[Tensor, Tensor | None]:
    """One update of the weights: forward, loss, backward, clip, step.

    Args:
        step: updates made before this one.
        lr: learning rate of this one.
        passes: the batch, in accumulate_steps parts of equal size.

    Returns:
        The loss, and the gradient's 2-norm before clipping if it was computed to clip.
    """
    optimizer.zero_grad()
    losses = []
    for ids, targets, noise in passes:
        if noise is not None:
            noise = config.embed_noise * noise
        with autocast(config):
            if config.contraction:
                scores, penalty = model.forward_with_contraction(ids, noise)
                loss = cross_entropy(scores, targets) + config.contraction_at(step) * penalty
            else:
                scores = model(ids, noise=noise, bptt_steps=config.bptt_steps)  # (N, C)
                loss = cross_entropy(scores, targets)
        if len(passes) > 1:
            loss = loss / len(passes)  # the mean over the batch is the mean of its passes' means
        loss.backward()  # adds to the gradients
        losses.append(loss.detach())
    grad_norm = None
    if config.max_grad_norm:
        grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm)
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    return sum(losses[1:], losses[0]), grad_norm


def autocast(config: TrainConfig) -> contextlib.AbstractContextManager:
    """The products inside are computed in the configuration's precision."""
    if config.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(config.device).type, torch.bfloat16)


def autograd_engine(
    model: RnnClsNet, optimizer: torch.optim.Optimizer, config: TrainConfig, world: World
) -> Advance:
    """Updates one by one through PyTorch's own parts: the engine to read first."""
    if world.size > 1:
        model = DistributedDataParallel(model)

    def advance(
        steps: range,
        learning_rates: Sequence[float],
        batches: Batches,
        noise: Sequence[Tensor] | None,
        stop: StopSignals,
    ) -> tuple[Tensor, Tensor]:
        batches = make_passes(batches, noise, config.accumulate_steps, config.device)
        losses = []
        for step, lr, passes in zip(steps, learning_rates, batches, strict=True):
            if config.dropout:
                torch.manual_seed(dropout_seed(config.seed, step, world.rank))
            loss, grad_norm = update(model, optimizer, config, step, lr, passes)
            losses.append(loss)
            if stop.signum is not None and world.size == 1:
                break
        if grad_norm is None:
            grad_norm = get_total_norm([parameter.grad for parameter in model.parameters()])
        return torch.stack(losses), grad_norm

    return advance


def compiled_engine(
    model: RnnClsNet, optimizer: torch.optim.Optimizer, config: TrainConfig, world: World
) -> Advance:
    """The same updates without a framework, many in one call: training/compiled.py."""
    from rnn_tutorial.training.compiled import (
        compile_training_step,  # imports the compiler, only if used
    )

    return _many_at_once(
        compile_training_step(model, optimizer, config.embed_noise, config.max_grad_norm), config
    )


def graph_engine(
    model: RnnClsNet, optimizer: torch.optim.Optimizer, config: TrainConfig, world: World
) -> Advance:
    """The same updates on a GPU, captured once and replayed: training/cuda_graph.py."""
    return _many_at_once(
        graph_training_step(model, optimizer, config.embed_noise, config.max_grad_norm), config
    )


def _many_at_once(train_on: Callable[..., tuple[Tensor, Tensor]], config: TrainConfig) -> Advance:
    def advance(
        steps: range,
        learning_rates: Sequence[float],
        batches: Batches,
        noise: Sequence[Tensor] | None,
        stop: StopSignals,
    ) -> tuple[Tensor, Tensor]:
        more = {}
        if config.contraction:
            more["contraction"] = [config.contraction_at(step) for step in steps]
        losses, grad_norms = train_on(batches, learning_rates, noise and torch.cat(noise), **more)
        return losses, grad_norms[-1]

    return advance


ENGINES = {"autograd": autograd_engine, "compiled": compiled_engine, "graph": graph_engine}


def make_dataset(config: TrainConfig, task: DigitTask | FileTask | None = None) -> BatchStream:
    """The endless stream of training batches, of the configuration's task if none is given."""
    dataset = (task or make_task(config)).dataset
    return LengthBuckets(dataset, config.seed) if config.bucket_by_length else dataset


def make_model(config: TrainConfig, cls_num: int | None = None) -> RnnClsNet:
    """The model with its first weights, which the seed determines.

    Args:
        cls_num: number of classes; None means as many as digits.
    """
    torch.manual_seed(config.seed)
    digits = num_classes(config.max_number)
    sizes = config.embed_dim, config.hidden_dim, config.num_layers
    model = RnnClsNet(digits, *sizes, cls_num or digits, **config.model_options())
    init_recurrent(model.rnn, config.init, config.forget_bias)
    return model.to(config.device)


def make_updates(
    advance: Advance,
    batch_loader: BatchLoader,
    config: TrainConfig,
    standing: Standing,
    world: World,
    stop: StopSignals,
    step: int,
    until: int,
) -> tuple[Tensor, Tensor, float]:
    """The updates from `step` to `until`: take batches, draw noise, and advance, again and again.

    Nothing here waits for a GPU.

    Returns:
        The loss of each update, fewer than asked for after a stop signal, and of the last one the
        gradient's 2-norm, before clipping, and its batch's share of padding.
    """
    losses = []
    while step < until and not (losses and stop.signum is not None and world.size == 1):
        batches = batch_loader.take(until - step)
        steps = range(step, step + len(batches.x))
        noise = None
        if config.embed_noise:
            noise = [
                world.share_of_noise(draw_noise(config.seed, k, lengths, config.embed_dim), lengths)
                for k, lengths in zip(steps, batches.seq_lengths, strict=True)
            ]
        learning_rates = [learning_rate(config, k, standing) for k in steps]
        chunk_losses, grad_norm = advance(
            steps, learning_rates, world.share_of(batches), noise, stop
        )
        losses.append(chunk_losses)
        step += len(chunk_losses)
    padding = padding_share(batches.seq_lengths[len(chunk_losses) - 1])
    return world.mean(torch.cat(losses)), grad_norm, padding


def train(
    config: TrainConfig,
    task: DigitTask | FileTask,
    folder: Path,
    checkpoint: Checkpoint | None,
    world: World,
    watch: Watch | None,
) -> int:
    """Train from the checkpoint, or from the start, to total_steps; returns the exit status."""
    started = time.perf_counter()
    torch.set_num_threads(config.num_threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 on a GPU too
    torch.backends.cudnn.enabled = not config.dropout  # its dropout cannot be seeded anew
    dataset = make_dataset(config, task)
    model = make_model(config, task.cls_num)
    optimizer = make_optimizer(model.parameters(), config)
    step, seconds_before, evaluation, standing = 0, 0.0, None, Standing()
    if checkpoint is not None:
        model.load_state_dict(checkpoint.weights)
        optimizer.load_state_dict(checkpoint.optimizer)
        step, seconds_before = checkpoint.step, checkpoint.elapsed_seconds
        evaluation, standing = Evaluation(**checkpoint.evaluation), Standing(**checkpoint.standing)
    advance = ENGINES[config.engine](model, optimizer, config, world)

    def save(is_best: bool = False) -> None:
        save_checkpoint(
            folder,
            step,
            is_best,
            model=model.arguments,
            weights=model.state_dict(),
            config=asdict(config),
            optimizer=optimizer.state_dict(),
            evaluation=asdict(evaluation),
            standing=asdict(standing),
            elapsed_seconds=seconds_before + time.perf_counter() - started,
            examples=task.examples,
        )

    # ---- loop ----
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        if world.is_main:
            slower_because = impediment("compiled", config, world)
            print_opening(config, task, folder, model, step, slower_because)
            tracker = start_tracker(
                config.tracker,
                run_name=config.run_name,
                config=asdict(config) | {"model_parameters": count_parameters(model)},
            )
            stack.callback(tracker.finish)
            print(tracker.notice, flush=True)
            metrics_file = stack.enter_context(contextlib.closing(MetricsFile(folder, step)))
            progress = stack.enter_context(contextlib.closing(Progress(step, config.total_steps)))
        batch_loader = BatchLoader(
            dataset, config.sequences_per_update, step, config.total_steps, config.num_workers
        )
        steps_since_log, seconds_since_log = 0, 0.0
        paddings: list[float] = []
        stopping = False
        finished = step == config.total_steps or standing.ends(config)
        while not (finished or stopping):
            chunk_started = time.perf_counter()
            until = next_due(config, step)
            losses, last_norm, padding = make_updates(
                advance, batch_loader, config, standing, world, stop, step, until
            )
            grad_norm = last_norm.item()
            stopping = world.any(stop.signum is not None, config.device)
            steps_since_log += len(losses)
            seconds_since_log += time.perf_counter() - chunk_started
            bad = (~losses.isfinite()).nonzero()
            if len(bad) or not math.isfinite(grad_norm):
                if world.is_main:
                    progress.close()
                    step += int(bad[0]) + 1 if len(bad) else len(losses)
                    metrics_file.write(step, {"loss": None})
                    report_divergence(folder, step)
                return 1
            step += len(losses)
            last_rate = learning_rate(config, step - 1, standing)  # that of the last update
            finished = step == config.total_steps
            if world.is_main:
                progress.advance(step)

            # ---- evaluate ----
            eval_due = is_due(step, config.eval_every) or finished
            save_due = is_due(step, config.save_every) or finished or stopping
            if world.is_main and (eval_due or save_due):
                evaluation = task.evaluate(model)
            if eval_due:
                evaluation = world.from_main(lambda latest=evaluation: latest)
                standing.observe(config, step, evaluation.accuracy, evaluation.num_wrong)
                finished = finished or standing.ends(config)
            if not world.is_main:
                continue

            # ---- log ----
            metrics: dict[str, Any] = {}
            if step == 1 or is_due(step, config.log_every) or finished:
                metrics["loss"] = losses[-1].item()
                metrics["current_lr"] = learning_rate(config, step, standing)
                metrics["grad_norm"] = grad_norm
                metrics["padding_share"] = padding
                paddings.append(padding)
                metrics["update_ratio"] = update_ratio(optimizer, last_rate)
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
            if watch is not None and eval_due:
                for sentence in watch.look():
                    progress.say(sentence)

            # ---- save ----
            if config.early_stopping_patience and standing.best_step == step:
                save(is_best=True)  # before the checkpoint that says so
            if save_due or finished:
                save()
    if not finished:
        if world.is_main:
            print(f"Stopped after {step:,} updates; {resume_hint(folder)}")
        return 128 + (stop.signum or signal.SIGTERM)
    if world.is_main:
        elapsed_seconds = seconds_before + time.perf_counter() - started
        write_result(config, folder, model, step, evaluation, standing, elapsed_seconds)
        print_summary(
            config, task, folder, model, step, evaluation, standing, elapsed_seconds, paddings
        )
    return 0


def is_due(step: int, every: int) -> bool:
    """True at the multiples of `every`, if it is not 0."""
    return every > 0 and step % every == 0


def next_due(config: TrainConfig, step: int) -> int:
    """The next step that is logged (the first is), evaluated, saved or the last."""
    intervals = (config.log_every, config.eval_every, config.save_every or config.total_steps)
    due = min(step + every - step % every for every in intervals)
    return 1 if step == 0 else min(due, config.total_steps)


if __name__ == "__main__":
    sys.exit(main())
