"""Colour Python source, character by character. Lesson: rnn_tutorial/gallery/README.md#highlight

    python -m rnn_tutorial.gallery.highlight train                        some two minutes
    python -m rnn_tutorial.gallery.highlight train --no-bidirectional     never sees what follows
    python -m rnn_tutorial.gallery.highlight evaluate                     where it is wrong
    python -m rnn_tutorial.gallery.highlight show FILE.py                 in colour, in the terminal
    python -m rnn_tutorial.gallery.highlight show FILE.py --html FILE.html

Many to many: the network answers at every step. Two directions read each row, one from its
beginning and one from its end, so that an answer may depend on what follows: whether the quote here
opens a string or closes one. The truth is tokenize's (source_classes.py); the text is the source of
Python's standard library.

Shapes: N rows, T characters of the longest, H hidden, D directions, F = D·H, C classes, V alphabet.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from rnn_tutorial.gallery.checkpoint import GalleryCheckpoint, find_run, require_same_data
from rnn_tutorial.gallery.colored_source import (
    COLOR_CHOICES,
    as_page,
    check_page,
    for_terminal,
    visible,
    wants_color,
)
from rnn_tutorial.gallery.command import add_run_flag, execute, make_parser
from rnn_tutorial.gallery.corpus import Alphabet, read_corpus, read_text
from rnn_tutorial.gallery.label_scores import (
    LabelScores,
    describe_details,
    describe_scores,
    score_broken_source,
)
from rnn_tutorial.gallery.pairs import IGNORED
from rnn_tutorial.gallery.report import finish
from rnn_tutorial.gallery.run import GalleryRun, set_learning_rate
from rnn_tutorial.gallery.settings import GalleryConfig, configure, same_setting
from rnn_tutorial.gallery.source_classes import (
    CLASSES,
    LabelledFile,
    TokenizeGaveUp,
    label_corpus,
    label_source,
    likeliest_classes,
)
from rnn_tutorial.gallery.source_windows import RandomWindows, Reader
from rnn_tutorial.model.layers import CELL_CLASSES
from rnn_tutorial.model.saved import load_weights
from rnn_tutorial.runs.files import write_atomically
from rnn_tutorial.runs.terminal import run_command, say, shown
from rnn_tutorial.settings.fields import check_bounds, setting_field
from rnn_tutorial.training.optimizer import make_optimizer

TASK = "highlight"
READS = 4  # times as many characters at once as in training: a state learns to last
MAX_SHOWN = 10_000_000  # characters of a file
QUICK = {"total_steps": 300, "eval_every": 300, "log_every": 50}


@dataclass(frozen=True)
class HighlightConfig(GalleryConfig):
    """Everything that determines a training of this task."""

    text_file: tuple = setting_field(
        "data", (), "learn from this Python file instead; may be repeated", metavar="FILE"
    )
    text_dir: str = setting_field(
        "data", "", "learn from the *.py files in this folder instead", metavar="DIR"
    )
    window: int = setting_field("data", 128, "characters of a row", within=(8, 100_000))
    bidirectional: bool = same_setting("bidirectional", True)
    embed_dim: int = same_setting("embed_dim", 32)
    hidden_dim: int = same_setting("hidden_dim", 64)
    dropout: float = same_setting("dropout", 0.3)
    run_name: str = same_setting("run_name", TASK)
    total_steps: int = same_setting("total_steps", 4000)
    eval_every: int = same_setting("eval_every", 1000)


# ---- the network ----


class Highlighter(nn.Module):
    """Scores of all classes for each character of each row.

    Args:
        config: its sizes.
        vocab_size: V.
    """

    def __init__(self, config: HighlightConfig, vocab_size: int) -> None:
        super().__init__()
        cell, hidden = CELL_CLASSES[config.cell], config.hidden_dim
        num_directions = 2 if config.bidirectional else 1
        sizes = [config.embed_dim] + [num_directions * hidden] * (config.num_layers - 1)
        self.embedding = nn.Embedding(vocab_size, config.embed_dim)
        self.layers = nn.ModuleList(  # of each layer its directions: forward, then backward
            nn.ModuleList(cell(size, hidden, batch_first=True) for _ in range(num_directions))
            for size in sizes
        )
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(num_directions * hidden, len(CLASSES))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Score each character.

        A direction is a network of its own; the backward one reads each row reversed. So padding
        comes last for both and reaches no state that counts. Packed rows would give the same, but
        PyTorch's LSTM is several times slower on them on a CPU.

        Args:
            x: ids of characters, int64, (N, T), padded with any.
            lengths: characters of each row, int64, (N,).

        Returns:
            Unnormalised scores, float32, (N, T, C); those of padding mean nothing.
        """
        steps = torch.arange(x.shape[1], device=x.device)  # (T,)
        mirrored = lengths[:, None] - 1 - steps  # (N, T): where a reversed row takes its steps from
        mirrored = torch.where(mirrored >= 0, mirrored, steps)  # padding stays where it is
        y = self.embedding(x)
        for layer in self.layers:
            outputs = [layer[0](y)[0]]
            if len(layer) == 2:
                outputs.append(_take(layer[1](_take(y, mirrored))[0], mirrored))
            y = self.dropout(torch.cat(outputs, dim=-1))  # (N, T, F)
        return self.fc(y)


def _take(y: Tensor, steps: Tensor) -> Tensor:
    """The given steps, (N, T), of each row of (N, T, F)."""
    return y.gather(1, steps[:, :, None].expand(y.shape))


def evaluate_files(
    reader: Reader, files: Sequence[LabelledFile], class_by_character: Sequence[int]
) -> LabelScores:
    """How well the network, and a table of the likeliest class by character, label whole files."""
    scores, table = LabelScores(reader.window), np.array(class_by_character)
    for file in files:
        found, begins, windows = reader.read(file.text)
        guesses = table[reader.alphabet.encode(file.text)]
        scores.add_file(file.classes, found, guesses)
        is_full = (begins > 0) & (begins + reader.window < len(file.text))  # and cut at both ends
        at = begins[is_full, None] + np.arange(reader.window)
        scores.add_windows(windows[is_full] == file.classes[at])
    return scores


# ---- the commands ----


def train(flags: dict[str, Any]) -> int:
    """Train a network, new or resumed; returns the exit status."""
    config, resume = configure(HighlightConfig, flags, QUICK)
    corpus = read_corpus(config.text_file, config.text_dir)
    say(f"Labelling {corpus.source} with tokenize ...")
    files, held_out, refused = label_corpus(corpus)
    for reason in refused:
        say(f"Left out: {shown(reason)}")
    alphabet = Alphabet.of(files)
    data = {
        "source": corpus.source,
        "fingerprint": corpus.fingerprint,
        "alphabet": alphabet.characters,
        "class_by_character": likeliest_classes(files, alphabet),
    }
    windows = RandomWindows(files, alphabet, config.window, config.seed)
    with GalleryRun(TASK, config, data, resume, score=("accuracy", ".2%")) as run:
        torch.manual_seed(config.seed)
        model = Highlighter(config, len(alphabet)).to(config.device)
        optimizer = make_optimizer(model.parameters(), config)
        run.restore(model, optimizer)
        reader = Reader(model, alphabet, READS * config.window)
        with run.recording(model):
            for step in run.steps():
                x, lengths, targets = (
                    part.to(config.device) for part in windows.draw(step, config.batch_size)
                )
                scores = model(x, lengths)  # (N, T, C)
                loss = cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
                optimizer.zero_grad()
                loss.backward()
                grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or math.inf)
                set_learning_rate(optimizer, run.learning_rate)
                optimizer.step()
                run.record_update(loss, grad_norm)
                if run.needs_evaluation:
                    found = evaluate_files(reader, held_out, data["class_by_character"])
                    run.record_evaluation(found.accuracy, found.figures())
                run.log()
                if run.checkpoint_is_due:
                    run.save(model, optimizer)
        lines = describe_scores(run.figures) if run.figures else []
        return finish(run, model, "evaluate", lines)


def evaluate(flags: dict[str, Any]) -> int:
    """Say where a trained network is right and wrong on the held-out files."""
    reader, config, checkpoint = load_reader(flags["run"], flags["window"])
    corpus = read_corpus(config.text_file, config.text_dir)
    require_same_data(checkpoint, corpus.fingerprint, corpus.source)
    _, held_out, _ = label_corpus(corpus)
    figures = evaluate_files(reader, held_out, checkpoint.data["class_by_character"]).figures()
    figures |= score_broken_source(reader.label, held_out)
    if flags["json"]:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join([*describe_scores(figures), *describe_details(figures)]))
    return 0


def show(flags: dict[str, Any]) -> int:
    """Print a file in colour, or write it as a page."""
    path = Path(flags["file"])
    page = check_page(flags["html"], path) if flags["html"] is not None else None
    text = read_text(path)
    if len(text) > MAX_SHOWN:
        raise ValueError(f"{str(path)!r} has {len(text):,} characters, more than {MAX_SHOWN:,}")
    reader, _, _ = load_reader(flags["run"])
    found = reader.label(text)
    try:
        truth = label_source(text)
        num_wrong = int((found != truth).sum())
        summary = f"{num_wrong:,} of {len(text):,} characters are labelled otherwise than tokenize "
        summary += "labels them."
    except TokenizeGaveUp as error:
        truth = None
        summary = f"tokenize gives up at {shown(error)}; so there is no truth to compare with."
    if page:
        write_atomically(page, as_page(path.name, summary, text, found, truth).encode())
        print(f"{summary}\nPage: {shown(page)}")
        return 0
    is_colored = wants_color(flags["color"])
    content = for_terminal(text, found, truth) if is_colored else visible(text)
    print(content, end="" if text.endswith("\n") else "\n", flush=True)
    print(summary, file=sys.stderr)  # not into the file that the text may be piped to
    return 0


def load_reader(
    run: str | None, window: int | None = None
) -> tuple[Reader, HighlightConfig, GalleryCheckpoint]:
    """The network that --run means, its configuration and its checkpoint."""
    if window is not None:
        check_bounds(HighlightConfig.__dataclass_fields__["window"], window)
    checkpoint, config = find_run(run, TASK, HighlightConfig)
    alphabet = Alphabet(checkpoint.data["alphabet"])
    model = Highlighter(config, len(alphabet))
    load_weights(model, checkpoint.weights, checkpoint.path)
    return Reader(model, alphabet, window or READS * config.window), config, checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    parser, commands = make_parser(TASK, __doc__, HighlightConfig)
    evaluating = commands.add_parser("evaluate", help="score a network on the held-out files")
    evaluating.add_argument("--json", action="store_true", help="print the figures as JSON")
    evaluating.add_argument(
        "--window",
        type=int,
        metavar="N",
        help=f"characters read at once (default: {READS} times those of the training)",
    )
    showing = commands.add_parser("show", help="print a file in colour")
    showing.add_argument("file", metavar="FILE", help="Python source, broken or not")
    showing.add_argument("--html", metavar="PAGE", help="write a page of this name instead")
    showing.add_argument(
        "--color",
        choices=COLOR_CHOICES,
        default="auto",
        help="auto is in colour on a terminal, if NO_COLOR is not set (default: auto)",
    )
    for command in (evaluating, showing):
        add_run_flag(command)
    functions = {"train": train, "evaluate": evaluate, "show": show}
    return execute(parser, functions, arguments)


if __name__ == "__main__":
    run_command(main, if_unread=0)
