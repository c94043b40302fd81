"""Train a recurrent network to predict the sum of a sequence of digits, or another rule.

    python train_cls_rnn.py                                    the tutorial's baseline
    python train_cls_rnn.py --hidden_dim 32 --num_layers 3     a deeper network
    python train_cls_rnn.py --task parity --recipe certified   another rule, until it is proved
    python train_cls_rnn.py --train_file mine.tsv              lines of label<TAB>tokens
    python train_cls_rnn.py --resume output/baseline           continue after an interruption

The story, from top to bottom: flags -> task -> model -> optimizer -> engine -> loop.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

import torch

from rnn_tutorial.data.loader import make_loader
from rnn_tutorial.data.streams import SeqSumModDataset as SeqSumModDataset  # offered from here too
from rnn_tutorial.doctor.run_checks import Watch
from rnn_tutorial.machines.choose import describe_machines
from rnn_tutorial.model.classifier import RnnClsNet, make_model
from rnn_tutorial.proof.explore import NotProved
from rnn_tutorial.proof.prove import Proof, attempt_proof
from rnn_tutorial.runs.machine import is_out_of_memory
from rnn_tutorial.runs.processes import World, find_world, is_lost_process, join_world
from rnn_tutorial.runs.terminal import (
    CommandLineParser,
    print_error,
    run_command,
    say,
    shown,
)
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.settings.recipes import describe_recipes
from rnn_tutorial.settings.resume import RESUME_FLAGS
from rnn_tutorial.tasks.choose import make_task
from rnn_tutorial.tasks.task import Task
from rnn_tutorial.training.configure import check_center_loss, configure, prepare_torch
from rnn_tutorial.training.engines import make_engine
from rnn_tutorial.training.optimizer import make_optimizer
from rnn_tutorial.training.report import finish, prediction_hint, print_opening
from rnn_tutorial.training.run import Run

PROGRAM = "train_cls_rnn.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    flags = vars(make_parser().parse_args(arguments))
    resume, diagnose = flags.pop("resume"), flags.pop("diagnose")
    with exit_on_bad_input(World()):
        world = find_world()  # the processes of this training run, usually just one
    with exit_on_bad_input(world):
        config = configure(flags, resume, world)
        task = make_task(config)
        check_center_loss(config, task.machine)
        lengths = task.trained_lengths  # of labelled files: those of their examples
        config = replace(config, min_seq_len=lengths[0], max_seq_len=lengths[-1])
    with join_world(world, config.device), contextlib.ExitStack() as at_the_end:
        with exit_on_bad_input(world):
            prepare_torch(config)
            model = make_model(config, len(task.tokens), len(task.classes))
            optimizer = make_optimizer(model.parameters(), config)
            run = Run(config, task, world, resume)
            at_the_end.callback(run.release)
            run.restore(model, optimizer)
        watch = Watch(run.folder) if diagnose and world.is_main else None
        with exit_on_failure(run):
            status = train(run, task, model, optimizer, watch)
        if watch:
            watch.report()
        run.close()
        return status


def train(
    run: Run,
    task: Task,
    model: RnnClsNet,
    optimizer: torch.optim.Optimizer,
    watch: Watch | None = None,
) -> int:
    """Train from where the run stands to its end; returns the exit status."""
    if run.is_finished:
        if run.world.is_main:
            print(f"Run {shown(run.folder)} is finished. {prediction_hint(run.folder)}")
        return 0
    config = run.config
    engine = make_engine(model, optimizer, config, run.world, run.history, task.machine)
    loader = make_loader(task.dataset, config, run.step, config.total_steps)
    print_opening(run, model)

    def prove() -> Proof | NotProved:
        return attempt_proof(model, task.machine, quick=not run.is_over)

    with run.recording(model):
        for steps in run.spans():  # up to the next log, evaluation or checkpoint
            batches = loader.take(len(steps))
            steps = steps[: len(batches)]  # the loader may have fewer at hand
            # For each batch: zero_grad, forward, loss, backward, clip, step. Every engine does what
            # training/update.py does; with --engine autograd, it is the functions there.
            losses, grad_norm = engine(steps, run.learning_rates(steps), batches, run.must_stop)
            run.record_updates(losses, grad_norm, batches)
            if run.needs_evaluation:  # one is due, or a checkpoint, which holds one
                # The main process evaluates; the others receive its result.
                run.record_evaluation(run.world.from_main(lambda: task.evaluate(model)))
            if run.proof_is_due:  # with --stop_when_proved, if nothing was wrong
                run.record_proof(run.world.from_main(prove))
            run.log(optimizer)
            if watch and run.evaluation_is_due:
                for line in watch.look():
                    say(line)
            if run.checkpoint_is_due:
                run.save(model, optimizer)
        if run.lacks_proof:  # it ended just before it was killed
            run.recover_proof(run.world.from_main(prove), model)
    return finish(run, model)


# ---- the command line ----


def make_parser() -> CommandLineParser:
    """The flags: one for each setting, and a few for the run itself."""
    parser = CommandLineParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "--list_recipes",
        action="version",
        version=describe_recipes(),
        help="list the recipes and exit",
    )
    parser.add_argument(
        "--list_tasks",
        action="version",
        version=describe_machines(),
        help="list what can be learned and exit",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"continue an interrupted run; only --{', --'.join(RESUME_FLAGS)} may change; --task "
        "may give the new place of a machine's file",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="watch for problems and report them at the end (see rnn_tutorial.diagnose)",
    )
    add_config_flags(parser)
    return parser


@contextlib.contextmanager
def exit_on_bad_input(world: World) -> Iterator[None]:
    """Turn bad settings or files, or too large a model, into one sentence on stderr and exit."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(world, 2, error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fail(world, 1, "there is not enough memory for this model")


@contextlib.contextmanager
def exit_on_failure(run: Run) -> Iterator[None]:
    """Turn a full disk or memory or a lost process into one sentence on stderr and status 1."""
    try:
        yield
    except (OSError, ImportError) as error:
        fail(run.world, 1, f"{error}; {run.resume_hint}")
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            fail(run.world, 1, f"there is not enough memory; {run.resume_hint}")
        if not is_lost_process(error):
            raise
        reason = str(error).partition("\n")[0]
        fail(run.world, 1, f"another process was lost ({reason}); {run.resume_hint}")


def fail(world: World, status: int, sentence: object) -> NoReturn:
    """Print why, and exit; of several processes with one reason, the main one alone prints it."""
    if not world.is_main:
        time.sleep(10)  # if the main one fails, too, its launcher ends this process before that
    print_error(PROGRAM, sentence)
    sys.exit(status)


if __name__ == "__main__":
    run_command(main)
