"""Learn to continue a text, character by character. Lesson: rnn_tutorial/gallery/README.md#text

    python -m rnn_tutorial.gallery.text train                         on Python's own library
    python -m rnn_tutorial.gallery.text train --text_file novel.txt   or on a text of your own
    python -m rnn_tutorial.gallery.text sample --prompt "def " --temperature 0.5
    python -m rnn_tutorial.gallery.text evaluate --baselines          perplexity, beside bz2 and xz
    python -m rnn_tutorial.gallery.text compress FILE                 FILE.rnn, smaller
    python -m rnn_tutorial.gallery.text decompress FILE.rnn --output COPY

The network reads a character and says how likely each character is to be the next. Training goes
through the text in pieces and hands the state on from piece to piece, but not the gradient:
truncated backpropagation through time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from rnn_tutorial.gallery.checkpoint import GalleryCheckpoint, find_run, require_same_data
from rnn_tutorial.gallery.coded_files import compress_file, decompress_file
from rnn_tutorial.gallery.coder import Network
from rnn_tutorial.gallery.coder import compress as compress_text
from rnn_tutorial.gallery.command import add_run_flag, execute, make_parser
from rnn_tutorial.gallery.compressors import compressed_sizes
from rnn_tutorial.gallery.corpus import Alphabet, TextFile, read_corpus
from rnn_tutorial.gallery.report import finish
from rnn_tutorial.gallery.run import GalleryRun, set_learning_rate
from rnn_tutorial.gallery.settings import GalleryConfig, configure, same_setting
from rnn_tutorial.gallery.text_measures import (
    bits_by_position,
    character_losses,
    in_words,
    parsed_held_out,
    parsed_in_samples,
    summarize,
)
from rnn_tutorial.gallery.text_sampling import SampleSettings, continue_text
from rnn_tutorial.model.classifier import count_parameters, evaluating
from rnn_tutorial.model.layers import make_layers
from rnn_tutorial.model.saved import load_weights
from rnn_tutorial.runs.terminal import run_command
from rnn_tutorial.settings.fields import setting_field
from rnn_tutorial.settings.flags import add_config_flags
from rnn_tutorial.training.optimizer import make_optimizer

# Shapes: N batch, T time, H hidden, C characters (classes), L layers, S 2 for an LSTM, else 1.
QUICK = {"hidden_dim": 64, "total_steps": 300, "eval_every": 300, "log_every": 50}


@dataclass(frozen=True)
class TextConfig(GalleryConfig):
    """The settings of a training of this task."""

    text_file: tuple = setting_field(
        "data", (), "learn from this file instead; may be repeated", metavar="FILE"
    )
    text_dir: str = setting_field(
        "data", "", "learn from all *.py files in this folder, or its *.txt, *.md", metavar="DIR"
    )
    sampling: str = setting_field(
        "data",
        "sequential",
        "pieces of text: sequential goes through it and hands the state on from piece to piece; "
        "random takes them anywhere, each from a state of zeros",
        choices=("sequential", "random"),
    )
    seq_len: int = setting_field(
        "data", 64, "characters in a piece: how far back gradients go", within=(1, 100_000)
    )
    embed_dim: int = same_setting("embed_dim", 64)
    hidden_dim: int = same_setting("hidden_dim", 320)
    lr: float = same_setting("lr", 0.008)
    total_steps: int = same_setting("total_steps", 8000)
    eval_every: int = same_setting("eval_every", 2500)
    save_every: int = same_setting("save_every", 2500)
    run_name: str = same_setting("run_name", "text")


class CharacterModel(nn.Module):
    """An embedding, recurrent layers, and a linear layer to the scores of the next character."""

    def __init__(self, config: TextConfig, num_characters: int) -> None:
        super().__init__()
        sizes = config.embed_dim, config.hidden_dim, config.num_layers
        self.embedding = nn.Embedding(num_characters, config.embed_dim)
        self.rnn = make_layers(config.cell, *sizes, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(config.hidden_dim, num_characters)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The scores of what follows each character.

        Args:
            x: ids, int64, (N, T).
            state: what was left of the text before, (S, L, N, H); None: zeros.

        Returns:
            Logits, float32, (N, T, C), and the state after the last character.
        """
        is_lstm = isinstance(self.rnn, nn.LSTM)
        if state is not None:
            state = (state[0], state[1]) if is_lstm else state[0]
        outputs, state = self.rnn(self.embedding(x), state)
        return self.fc(self.dropout(outputs)), torch.stack(state if is_lstm else (state,))


class Pieces:
    """Batches of training: number i is a function of the seed and i.

    The text is taken as a ring. "sequential" cuts it into batch_size equal parts and goes through
    all of them side by side; each round begins somewhere else.

    Args:
        ids: the text, int64, (n,).
        config: batch_size, seq_len, sampling, seed.
    """

    def __init__(self, ids: Tensor, config: TextConfig) -> None:
        self.ids, self.config = ids, config
        self.part = len(ids) // config.batch_size
        if self.part < config.seq_len:
            raise ValueError(
                f"--batch_size {config.batch_size} pieces of --seq_len {config.seq_len} need a "
                f"text of {config.batch_size * config.seq_len:,} characters to learn from; this "
                f"one has {len(ids):,}"
            )

    def batch(self, step: int) -> tuple[Tensor, Tensor, bool]:
        """Inputs and the characters that follow them, (N, T), and whether the state is zeros."""
        config, size = self.config, len(self.ids)
        if config.sampling == "random":
            random = np.random.default_rng([config.seed, step])
            starts, is_first = random.integers(size, size=config.batch_size), True
        else:
            round_, piece = divmod(step, self.part // config.seq_len)
            shift = np.random.default_rng([config.seed, round_]).integers(size)
            starts = shift + piece * config.seq_len + self.part * np.arange(config.batch_size)
            is_first = piece == 0
        places = (starts[:, None] + np.arange(config.seq_len + 1)) % size
        text = self.ids[torch.from_numpy(places).to(self.ids.device)]  # (N, T + 1)
        return text[:, :-1], text[:, 1:], is_first


def train(flags: dict[str, Any]) -> int:
    """Train as the flags say; returns the exit status."""
    config, resume = configure(TextConfig, flags, QUICK)
    corpus = read_corpus(config.text_file, config.text_dir)
    alphabet = Alphabet.of(corpus.train)
    pieces = Pieces(encode(alphabet, corpus.train).to(config.device), config)
    held_out = encode(alphabet, corpus.held_out).to(config.device)
    if not len(held_out):
        raise ValueError(
            f"{corpus.source}: the files that are held out, or the twentieth of each, are empty"
        )
    data = {"fingerprint": corpus.fingerprint, "characters": alphabet.characters}
    with GalleryRun("text", config, data, resume, score=("bits", ".4f")) as run:
        torch.manual_seed(config.seed)
        model = CharacterModel(config, len(alphabet)).to(config.device)
        optimizer = make_optimizer(model.parameters(), config)
        state = run.restore(model, optimizer).get("state")
        print(f"Learning {len(pieces.ids):,} characters of {corpus.source}")
        with run.recording(model):
            for step in run.steps():
                x, targets, is_first = pieces.batch(step)
                # Without detach, the gradient would flow back to the beginning of the text.
                state = None if is_first else state.detach().to(config.device)
                logits, state = model(x, state)
                loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
                optimizer.zero_grad()
                loss.backward()
                grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or math.inf)
                set_learning_rate(optimizer, run.learning_rate)
                optimizer.step()
                run.record_update(loss, grad_norm)
                if run.needs_evaluation:
                    with evaluating(model):
                        figures = summarize(character_losses(model, held_out))
                    run.record_evaluation(-math.log(figures["perplexity"]), figures)
                run.log()
                if run.checkpoint_is_due:
                    run.save(model, optimizer, {"state": state.detach().cpu()})
        return finish(run, model, 'sample --prompt "def "', in_words(run.figures))


def encode(alphabet: Alphabet, files: Sequence[TextFile]) -> Tensor:
    """The ids of all characters of files, one file after the other, int64, (n,)."""
    return torch.from_numpy(alphabet.encode("".join(file.text for file in files)))


# ---- what a trained network is asked ----


def evaluate(flags: dict[str, Any]) -> int:
    """Print what a network achieves on the held-out text, all of it in one pass."""
    network, config, checkpoint = load(flags["run"])
    corpus = read_corpus(config.text_file, config.text_dir)
    require_same_data(checkpoint, corpus.fingerprint, corpus.source)
    text = "".join(file.text for file in corpus.held_out)
    ids = encode(network.alphabet, corpus.held_out)
    figures = {
        **summarize(character_losses(network.model, ids)),
        "characters": len(ids),
        "unknown_characters": int((ids == 0).sum()),
        "model_parameters": count_parameters(network.model),
        "step": checkpoint.step,
        "elapsed_seconds": checkpoint.elapsed_seconds,
    }
    if flags["baselines"]:
        train_text = "".join(file.text for file in corpus.train)
        sizes = compressed_sizes(train_text.encode(), text.encode())
        sizes = {"compressed": len(compress_text(text.encode(), network)), **sizes}
        figures |= {f"{name}_bits": 8 * size / len(ids) for name, size in sizes.items()}
    if flags["by_position"]:
        figures |= bits_by_position(network.model, ids)
    if flags["parse_share"]:
        figures |= parsed_in_samples(network.model, network.alphabet) | parsed_held_out(text)
    print(json.dumps(figures, indent=2) if flags["json"] else "\n".join(in_words(figures)))
    return 0


def load(run: str | None) -> tuple[Network, TextConfig, GalleryCheckpoint]:
    """The network that --run means, on the CPU, with its configuration and its checkpoint."""
    checkpoint, config = find_run(run, "text", TextConfig)
    alphabet = Alphabet(checkpoint.data["characters"])
    model = CharacterModel(config, len(alphabet))
    load_weights(model, checkpoint.weights, checkpoint.path)
    return Network(model.eval(), alphabet), config, checkpoint


def sample(flags: dict[str, Any]) -> int:
    """Go on with a prompt, character by character as they are drawn."""
    network, *_ = load(flags.pop("run"))
    continue_text(network.model, network.alphabet, SampleSettings(**flags))
    return 0


def compress(flags: dict[str, Any]) -> int:
    """Write a file in fewer bytes, if it resembles what the network has learned."""
    print(compress_file(flags["file"], flags["output"], load(flags["run"])[0]))
    return 0


def decompress(flags: dict[str, Any]) -> int:
    """Write what a compressed file was made of."""
    print(decompress_file(flags["file"], flags["output"], load(flags["run"])[0]))
    return 0


def add_ask_commands(commands: Any) -> None:
    """The commands that use a trained network."""
    sampling = commands.add_parser("sample", help="continue a text")
    add_config_flags(sampling, SampleSettings)
    evaluation = commands.add_parser("evaluate", help="bits per character of the held-out text")
    for flag, help in {
        "json": "print all figures as JSON",
        "baselines": "compress the text, and let other programs do so (minutes)",
        "by_position": "bits at each place of a stretch, with the state carried in or from zeros",
        "parse_share": "how many of the functions that it draws are Python",
    }.items():
        evaluation.add_argument(f"--{flag}", action="store_true", help=help)
    compression = commands.add_parser("compress", help="compress a file without loss")
    restoring = commands.add_parser("decompress", help="restore a compressed file")
    for command in (compression, restoring):
        command.add_argument("file", metavar="FILE")
        command.add_argument(
            "--output", metavar="FILE", help="the file to write; it must not exist yet"
        )
    for command in (sampling, evaluation, compression, restoring):
        add_run_flag(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    parser, commands = make_parser("text", __doc__, TextConfig)
    add_ask_commands(commands)
    functions = {f.__name__: f for f in (train, sample, evaluate, compress, decompress)}
    return execute(parser, functions, arguments)


if __name__ == "__main__":
    run_command(main, if_unread=0)
