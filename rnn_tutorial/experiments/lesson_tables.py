"""Tables and transcripts of part 1, from what lesson.py measured."""

from __future__ import annotations

from typing import Any

from rnn_tutorial.experiments.markdown import markdown, power_of_ten, show_summary


def packing_table(packing: dict[str, Any]) -> str:
    """A row for each batch: its padding, and its time padded and packed."""
    header = ["batch", "padding", "padded, ms", "packed, ms", "packed / padded"]
    rows = []
    for name, row in packing.items():
        ways = (row["padded"], row["packed"])
        times = [show_summary(way, lambda seconds: f"{1e3 * seconds:.1f}") for way in ways]
        ratio = show_summary(row["ratio"], "{:.2f}".format)
        rows.append([name, f"{row['padding']:.0%}", *times, ratio])
    return markdown(header, rows)


def gradients_table(gradients: dict[str, Any]) -> str:
    """A row for each net: how much of the gradient is left so many steps back."""
    ages = (1, 10, 49)
    rows = []
    for name, norms in gradients["nets"].items():
        relative = [norms["median"][age] / norms["median"][0] for age in ages]
        rows.append([name, *(_power(value) for value in relative)])
    return markdown(["net", *(f"{age} back" for age in ages)], rows)


def _power(value: float) -> str:
    """Two digits, as a person writes them: 0.52, 26, 3.1 × 10⁻⁷ (never broken over lines)."""
    if 0.01 <= value < 100:
        return f"{value:#.2g}".rstrip(".")
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}\u00a0×\u00a0{power_of_ten(int(exponent))}"


def transcript(command: str, lines: list[str]) -> str:
    """A command and what it printed, as a Markdown block."""
    return "\n".join(["```text", f"$ {command}", *lines, "```"])


def training_transcript(session: dict[str, Any]) -> str:
    """The opening, the first and the last reports, and the summary."""
    lines = session["training"]
    reports = [i for i, line in enumerate(lines) if line.startswith("step ")]
    shown = [*lines[: reports[3]], "…", *lines[reports[-2] :]]
    return transcript("python train_cls_rnn.py --recipe solved", shown)
