"""Sequence to sequence: `535+61` -> `596`. Lesson: rnn_tutorial/gallery/README.md#addition

    python -m rnn_tutorial.gallery.addition train                    on 50,000 of the million sums
    python -m rnn_tutorial.gallery.addition evaluate                 all million sums
    python -m rnn_tutorial.gallery.addition evaluate --digits 4      longer than any that it saw
    python -m rnn_tutorial.gallery.addition ask 535+61               an answer, and its attention
    python -m rnn_tutorial.gallery.addition train --pairs_file FILE --units words

An encoder reads the question in both directions. A decoder writes the answer, unit by unit, and at
each of them looks back at the question with attention. In training it reads the right answer so
far (teacher forcing); later it reads what it has written itself.

Shapes: N batch, S source units, T target units (END included), E embedding, H hidden, L layers,
A heads of attention, C classes (units of the target and END), K width of the beam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.gallery.addition_report import add_report_flags, report_answer, report_evaluation
from rnn_tutorial.gallery.beam import map_state
from rnn_tutorial.gallery.checkpoint import GalleryCheckpoint, find_run
from rnn_tutorial.gallery.command import execute, make_parser
from rnn_tutorial.gallery.pairs import END, IGNORED, SPLIT, Batch, Units, describe_pairs
from rnn_tutorial.gallery.report import finish
from rnn_tutorial.gallery.run import GalleryRun, set_learning_rate
from rnn_tutorial.gallery.settings import GalleryConfig, configure, same_setting
from rnn_tutorial.gallery.sums import NUM_SUMS, choose_pairs
from rnn_tutorial.gallery.translator import Translator, score_answers
from rnn_tutorial.model.classifier import evaluating
from rnn_tutorial.model.layers import make_layers
from rnn_tutorial.model.saved import load_weights
from rnn_tutorial.runs.terminal import run_command, say, shown
from rnn_tutorial.settings.fields import as_flag, setting_field
from rnn_tutorial.training.optimizer import make_optimizer

QUICK = {"total_steps": 300, "hidden_dim": 64}
State = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class AdditionConfig(GalleryConfig):
    """Everything that determines a training; see GalleryConfig."""

    pairs_file: str = setting_field(
        "data", "", "learn these pairs instead, one source<TAB>target a line", metavar="FILE"
    )
    units: str = setting_field(
        "data", "characters", "what sources and targets are split into", choices=tuple(SPLIT)
    )
    num_pairs: int = setting_field(
        "data", 50_000, "how many of the million sums are trained", within=(1, NUM_SUMS)
    )
    short_share: float = setting_field(
        "data",
        0.7,
        "share of the trained sums whose numbers have 1, 2 or 3 digits equally often; of the "
        "million, most have 3",
        within=(0, 1),
    )
    reversed: bool = setting_field(
        "data", True, "write a sum from its last digit on, as one does by hand (not shown reversed)"
    )
    num_heads: int = setting_field(
        "model", 2, "heads of attention; 0: the decoder sees the last state alone", within=(0, 1024)
    )
    teacher_forcing: float = setting_field(
        "optimization",
        1.0,
        "share of the sequences whose decoder reads the right units in training; the others "
        "read what the decoder has written",
        within=(0, 1),
    )
    cell: str = same_setting("cell", "gru")
    embed_dim: int = same_setting("embed_dim", 32)
    batch_size: int = same_setting("batch_size", 256, help="pairs per update")
    embed_noise: float = same_setting("embed_noise", 0.2)
    weight_decay: float = same_setting("weight_decay", 0.2)
    total_steps: int = same_setting("total_steps", 6000)
    warmup_step: int = same_setting("warmup_step", 200)
    run_name: str = same_setting("run_name", "addition")

    def find_conflicts(self) -> Iterator[str]:
        yield from super().find_conflicts()
        if self.hidden_dim % 2:
            yield f"--hidden_dim {self.hidden_dim} is odd; each direction of the encoder has half"
        elif self.num_heads and self.hidden_dim % self.num_heads:
            yield f"--num_heads {self.num_heads} does not divide --hidden_dim {self.hidden_dim}"
        if self.units == "words" and not self.pairs_file:
            yield "--units words needs a --pairs_file; sums are made of characters"
        for name in ("num_pairs", "short_share", "reversed"):
            value = getattr(self, name)
            if self.pairs_file and value != getattr(AdditionConfig, name):
                yield f"{as_flag(name, value)} is about sums; --pairs_file has pairs of its own"


# ---- the network ----


class Memory(NamedTuple):
    """What the encoder has made of sources.

    Args:
        outputs: its state at each unit, (N, S, H).
        is_padding: (N, S).
        state: at the ends of the source, for the decoder to begin with, (L, N, H); of nn.LSTM two.
    """

    outputs: Tensor
    is_padding: Tensor
    state: State

    def repeat(self, times: int) -> Memory:
        """Each source so many times in a row."""
        outputs, is_padding = (part.repeat_interleave(times, dim=0) for part in self[:2])
        state = map_state(lambda part: part.repeat_interleave(times, dim=1), self.state)
        return Memory(outputs, is_padding, state)


class Seq2Seq(nn.Module):
    """An encoder of two directions, and a decoder that looks back at its outputs.

    Args:
        config: sizes and options.
        num_source_ids: of the units of the source, END included.
        num_target_ids: C.

    Source: Luong, Pham and Manning, Effective Approaches to Attention-based Neural Machine
    Translation, 2015: score "dot", and attention after the recurrent layers, so that a whole target
    is one call of them. Heads: Vaswani and others, Attention Is All You Need, 2017.
    """

    def __init__(self, config: AdditionConfig, num_source_ids: int, num_target_ids: int) -> None:
        super().__init__()
        cell, embed_dim, hidden_dim = config.cell, config.embed_dim, config.hidden_dim
        options = {"num_layers": config.num_layers, "dropout": config.dropout}
        self.embed_source = nn.Embedding(num_source_ids, embed_dim)
        self.embed_target = nn.Embedding(num_target_ids, embed_dim)
        self.encoder = make_layers(cell, embed_dim, hidden_dim // 2, bidirectional=True, **options)
        self.decoder = make_layers(cell, embed_dim, hidden_dim, **options)
        self.num_heads, self.noise = config.num_heads, config.embed_noise
        self.combine = nn.Linear(hidden_dim * (2 if config.num_heads else 1), hidden_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(hidden_dim, num_target_ids)

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """Read sources: ids, (N, S), and their lengths on the CPU, (N,)."""
        embedded = self._with_noise(self.embed_source(source))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        packed, state = self.encoder(packed)
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        is_padding = torch.arange(source.shape[1]) >= lengths[:, None]
        return Memory(outputs, is_padding.to(outputs.device), map_state(_join_directions, state))

    def decode(self, read: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """Read units of the target, one or many, and tell for each which one follows.

        Args:
            read: ids, (N, T).
            state: before them.
            memory: of the source.

        Returns:
            Logits, (N, T, C); the state after them; and the attention weights of the source's
            units, the mean of the heads, (N, T, S); without attention, (N, T, 0).
        """
        output, state = self.decoder(self._with_noise(self.embed_target(read)), state)  # (N, T, H)
        mean_weights = output[..., :0]
        if self.num_heads:
            queries, keys = self._split(output), self._split(memory.outputs)  # keys are values, too
            scores = queries @ keys.transpose(2, 3)  # (N, A, T, S)
            weights = scores.masked_fill(memory.is_padding[:, None, None], -torch.inf).softmax(-1)
            context = (weights @ keys).movedim(1, -1).flatten(2)  # (N, T, H)
            output, mean_weights = torch.cat([output, context], dim=-1), weights.mean(dim=1)
        return self.fc(self.dropout(self.combine(output).tanh())), state, mean_weights

    def _split(self, states: Tensor) -> Tensor:
        """From (N, T, H) to (N, A, T, H/A): a head has every A-th unit, of both directions."""
        return states.unflatten(-1, (-1, self.num_heads)).movedim(-1, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits for all units of the targets, (N, T, C)."""
        memory = self.encode(batch.source, batch.lengths)
        right = F.pad(batch.target[:, :-1], (1, 0), value=END).clamp(min=END)  # END, 5, 9, 6
        if batch.is_taught.all():  # the decoder reads whole targets at once
            return self.decode(right, memory.state, memory)[0]
        state, logits = memory.state, []
        for t, read in enumerate(right.split(1, dim=1)):  # (N, 1) each
            if t > 0:  # without a teacher, the decoder reads what it has just written
                read = torch.where(batch.is_taught[:, None], read, logits[-1].argmax(dim=-1))
            step_logits, state, _ = self.decode(read, state, memory)
            logits.append(step_logits)
        return torch.cat(logits, dim=1)

    def _with_noise(self, embedded: Tensor) -> Tensor:
        if self.training and self.noise:
            return embedded + self.noise * torch.randn_like(embedded)
        return embedded


def _join_directions(state: Tensor) -> Tensor:
    """Both directions' states of each layer side by side: (2·L, N, H/2) to (L, N, H)."""
    return state.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)


# ---- training ----


def make_translator(config: AdditionConfig, data: dict[str, Any]) -> Translator:
    """A network with its first weights, and the units of both sides."""
    source_units = Units(data["source_units"], config.units)
    is_reversed = config.reversed and not config.pairs_file
    target_units = Units(data["target_units"], config.units, is_reversed)
    model = Seq2Seq(config, len(source_units), len(target_units)).to(config.device)
    return Translator(model, source_units, target_units, max_units=data["longest_target"] + 1)


def train(flags: dict[str, Any]) -> int:
    """Train a network, from the beginning or from where a run stands; returns the exit status."""
    config, resume = configure(AdditionConfig, flags, QUICK)
    trained, held_out = choose_pairs(config)
    if several := (trained + held_out).ambiguous_sources():
        sources = f"{len(several):,} sources, such as '{shown(several[0])}', have several targets"
        say(f"{sources}; no more than one answer to each can be right")
    data = describe_pairs(trained, held_out, config.units)
    with GalleryRun("addition", config, data, resume, score=("right", ".2%")) as run:
        torch.manual_seed(config.seed)
        translator = make_translator(config, data)
        model = translator.model
        optimizer = make_optimizer(model.parameters(), config)
        run.restore(model, optimizer)
        examples = Batch.of(trained, translator.source_units, translator.target_units)
        examples = examples.to(config.device)
        with run.recording(model):
            for step in run.steps():
                batch = examples.draw(config.seed, step, config.batch_size, config.teacher_forcing)
                logits = model(batch)  # (N, T, C)
                loss = F.cross_entropy(
                    logits.flatten(0, 1), batch.target.flatten(), ignore_index=IGNORED
                )
                optimizer.zero_grad()
                loss.backward()
                grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or math.inf)
                set_learning_rate(optimizer, run.learning_rate)
                optimizer.step()
                run.record_update(loss, grad_norm)
                if run.needs_evaluation:
                    with evaluating(model):
                        score = score_answers(translator, held_out.parts())
                    run.record_evaluation(score.right, {"right": score.right})
                run.log()
                if run.checkpoint_is_due:
                    run.save(model, optimizer)
        return finish(run, model, "evaluate")


# ---- a trained network ----


def find_translator(run: str | None) -> tuple[Translator, AdditionConfig, GalleryCheckpoint]:
    """The trained network that --run means, its configuration and its checkpoint."""
    checkpoint, config = find_run(run, "addition", AdditionConfig)
    translator = make_translator(config, checkpoint.data)
    load_weights(translator.model.eval(), checkpoint.weights, checkpoint.path)
    return translator, config, checkpoint


def evaluate(flags: dict[str, Any]) -> int:
    """Count wrong answers: to all sums, to longer ones, or to pairs of one's own; returns 0."""
    return report_evaluation(*find_translator(flags["run"]), flags)


def ask(flags: dict[str, Any]) -> int:
    """Answer one question, with the beam's rivals and a picture of the attention; returns 0."""
    translator, config, _ = find_translator(flags["run"])
    return report_answer(translator, config, flags)


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the command that the user gave; returns the exit status."""
    parser, commands = make_parser("addition", __doc__, AdditionConfig)
    add_report_flags(commands)
    return execute(parser, {"train": train, "evaluate": evaluate, "ask": ask}, arguments)


if __name__ == "__main__":
    run_command(main, if_unread=0)
