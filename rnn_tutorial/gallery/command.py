"""The command of a task: subcommands, and bad input as one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnn_tutorial.gallery.settings import GalleryConfig, add_train_flags, program_of
from rnn_tutorial.runs.machine import is_out_of_memory
from rnn_tutorial.runs.terminal import CommandLineParser, print_error


def make_parser(task: str, doc: str, schema: type[GalleryConfig]) -> tuple[Any, Any]:
    """The parser of a task with its command `train`, and where its other commands are added.

    Args:
        task: the name of the file: "text".
        doc: its docstring.
        schema: its configuration.
    """
    parser = CommandLineParser(prog=program_of(task), description=doc)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_train_flags(commands.add_parser("train", help="train a network"), schema)
    return parser, commands


def add_run_flag(parser: argparse.ArgumentParser) -> None:
    """`--run`, for the commands that use a trained network."""
    parser.add_argument(
        "--run",
        metavar="RUN",
        help="a run's folder, a folder of runs or a checkpoint (default: the latest run)",
    )


def execute(
    parser: CommandLineParser,
    functions: Mapping[str, Callable[[dict[str, Any]], int]],
    arguments: Sequence[str] | None,
) -> int:
    """Execute the command that the user gave; returns the exit status.

    Args:
        parser: of the task.
        functions: name of a command to what it does with its flags; returns the exit status, and
            raises ValueError or OSError for errors that the user can fix.
        arguments: those of the command line; None takes the program's.
    """
    flags = vars(parser.parse_args(arguments))
    command = flags.pop("command")
    try:
        with parser.exit_on_bad_input():
            return functions[command](flags)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print_error(parser.prog, "there is not enough memory")
        return 1
