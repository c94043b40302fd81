"""Ask a trained network for the sum of digits modulo 10, or whatever it has learned.

python predict_cls_rnn.py                               a prompt
python predict_cls_rnn.py --input "1 2 3"               one answer
python predict_cls_rnn.py < sequences.txt               one answer a line
python predict_cls_rnn.py --run_name baseline --json    from the run of this name, as JSON

A network trained with another --task reads names and answers with names (strings in JSON); one
trained with --train_file reads tokens such as those of its examples, and answers with their labels.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from rnn_tutorial.prediction.answers import make_writer
from rnn_tutorial.prediction.predictor import Predictor
from rnn_tutorial.prediction.prompt import answer_prompt
from rnn_tutorial.prediction.streams import (
    MAX_THREADS,
    answer_blocks,
    choose_stream_threads,
    read_blocks,
    show,
)
from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.files import given_by
from rnn_tutorial.runs.folder import find_checkpoint
from rnn_tutorial.runs.machine import describe_threads
from rnn_tutorial.runs.saved_run import load_checked
from rnn_tutorial.runs.terminal import CommandLineParser, run_command, shown, whole_number
from rnn_tutorial.settings.config import TrainConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer as the command line says; returns the exit status."""
    parser = CommandLineParser(prog="predict_cls_rnn.py", description=__doc__)
    where = parser.add_argument_group("which network")
    where.add_argument(
        "--save_dir",
        metavar="DIR",
        help="a run's folder, or a folder of runs: the newest is used (default: ./output/)",
    )
    where.add_argument("--run_name", metavar="NAME", help="the run (default: the newest)")
    where.add_argument(
        "--checkpoint", metavar="FILE", help="a model_step_N.pt file, instead of the other two"
    )
    what = parser.add_argument_group("what to answer")
    what.add_argument("--input", metavar="TOKENS", help='answer these, such as "1 2 3"')
    what.add_argument("--json", action="store_true", help="print each answer as a JSON object")
    what.add_argument(
        "--num_threads",
        type=whole_number(0, 1024),
        default=0,
        metavar="N",
        help="CPU threads for standard input; 0 takes OMP_NUM_THREADS, or one per core if it is "
        f"not set, at most {MAX_THREADS}",
    )
    flags = parser.parse_args(arguments)

    with parser.exit_on_bad_input():
        if sys.stdout is None:
            raise ValueError("standard output is closed")
        if flags.json and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as JSON is, whatever the terminal takes
        if flags.input is None and sys.stdin is None:
            raise ValueError("standard input is closed; give --input")
        predictor = Predictor(find_network(flags.checkpoint, flags.save_dir, flags.run_name))
        if flags.input is not None:
            return answer_once(predictor, flags.input, flags.json)

    if sys.stdin.isatty():
        return answer_prompt(predictor, flags.json)
    return answer_stream(predictor, flags.json, flags.num_threads or choose_stream_threads())


def find_network(checkpoint: str | None, save_dir: str | None, run_name: str | None) -> Checkpoint:
    """The checkpoint that the flags mean, each None if it is not given.

    Raises:
        ValueError: there is none, it is refused, or --checkpoint is not alone.
    """
    if checkpoint is None:
        folder = TrainConfig.save_dir if save_dir is None else save_dir
        return load_checked(find_checkpoint(folder, run_name))
    for flag, value in (("--save_dir", save_dir), ("--run_name", run_name)):
        if value is not None:
            raise ValueError(f"--checkpoint says which network; leave out {flag} {value!r}")
    with given_by("--checkpoint:"):
        return load_checked(checkpoint)


def answer_once(predictor: Predictor, text: str, as_json: bool) -> int:
    """Answer `--input`."""
    try:
        question = predictor.task.reader.read(text)
    except ValueError as error:
        raise ValueError(f"--input: {error} (asked: {predictor.folder})") from None
    print(predictor.introduce(), file=sys.stderr)
    show(make_writer(predictor.task, as_json).write(predictor.answer(question)))
    return 0


def answer_stream(predictor: Predictor, as_json: bool, num_threads: int) -> int:
    """Answer standard input line by line; a bad line is reported and the others are answered."""
    print(f"{predictor.introduce()}; {describe_threads(num_threads)}", file=sys.stderr)
    status, blocks = 0, read_blocks(sys.stdin)
    for answered, refusals in answer_blocks(predictor, blocks, as_json, num_threads):
        show(answered)
        for number, why in refusals.items():
            print(f"line {number}: {shown(why)}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    if sys.stdin:  # None is one that is closed
        sys.stdin.reconfigure(errors="replace")  # an odd byte is a token to refuse, not a crash
        if os.name == "posix":  # others may have left it without blocking: a pause is no end
            os.set_blocking(sys.stdin.fileno(), True)
    run_command(main)
