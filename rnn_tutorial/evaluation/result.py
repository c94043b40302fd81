"""What an evaluation found: accuracy, its interval, examples of wrong answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rnn_tutorial.runs.checkpoint import Checkpoint
from rnn_tutorial.runs.schema import Count, NonNegative, Share, Size, build


@dataclass(frozen=True)
class Evaluation:
    """What a model gets right.

    Args:
        accuracy: over all inputs, each length counting the same: the mean of the accuracies per
            length; of a sample, and of examples from a file, the share of right answers.
        num_inputs: inputs scored.
        num_wrong: inputs with a wrong answer. A right one scores above all others; of examples from
            a file, the first of the highest scores is the answer.
        accuracy_by_length: accuracy of each length.
        wrong_examples: token ids of a few inputs with wrong answers, the shortest first; of
            examples from a file, objects with their line, tokens, label and the answer.
        exact: True if every possible input was scored; False if a sample was.
        low, high: 95% Wilson interval of the accuracy of a sample; the accuracy itself if exact.
        elapsed_seconds: duration of the evaluation.
        answers_by_label: of examples from a file: for each label, how many got which answer.
        loss: of examples from a file, the mean cross-entropy in nats; None if it is not a finite
            number, of other tasks, or in earlier versions.
        accuracy_by_class: share of right answers among all inputs of a class, by its name; a class
            that none has is left out. None if there are very many, or in earlier versions.
    """

    accuracy: Share
    num_inputs: Size
    num_wrong: Count
    accuracy_by_length: dict[int, Share]
    wrong_examples: list[list[int]] | list[dict[str, Any]]
    exact: bool
    low: Share
    high: Share
    elapsed_seconds: NonNegative
    answers_by_label: dict[str, dict[str, Count]] | None = None
    accuracy_by_class: dict[str, Share] | None = None
    loss: NonNegative | None = None

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean of the accuracies of all classes: each counts the same, however rare."""
        by_class = self.accuracy_by_class
        return sum(by_class.values()) / len(by_class) if by_class else None

    def score(self, monitor: str) -> float:
        """The metric that --monitor names; of the loss its negative, so that more is better."""
        if monitor == "eval_loss":
            return -math.inf if self.loss is None else -self.loss
        return getattr(self, monitor)

    def describe(self) -> str:
        """One sentence for the screen."""
        if self.exact:
            is_mean = self.num_wrong > 0 and len(self.accuracy_by_length) > 1
            shown = min(self.accuracy, 0.999999) if self.num_wrong else self.accuracy
            return (
                f"accuracy {shown:.4%} exactly{', the mean of all lengths' * is_mean}: "
                f"{self.num_wrong:,} of all {self.num_inputs:,} inputs wrong"
            )
        if self.answers_by_label is not None:
            scored = f"{self.num_inputs:,} examples"
            scored += f", loss {self.loss:.3f}" if self.loss is not None else ""
        else:
            scored = f"a sample of {self.num_inputs:,} inputs (too many inputs to score them all)"
        shown = min(self.accuracy, 0.9999) if self.num_wrong else self.accuracy
        return (
            f"accuracy {shown:.2%}, 95% interval [{self.low:.2%}, {self.high:.2%}]: "
            f"{self.num_wrong:,} wrong of {scored}"
        )


def recorded_evaluation(checkpoint: Checkpoint) -> Evaluation | None:
    """The evaluation in a checkpoint, if it has one; ValueError if it is damaged."""
    if checkpoint.evaluation is None:
        return None
    source = f"{str(checkpoint.path)!r} is damaged: evaluation"
    return build(Evaluation, checkpoint.evaluation, source)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% confidence interval of a proportion.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    z = 1.959963984540054
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + (z / trials / 2) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)
