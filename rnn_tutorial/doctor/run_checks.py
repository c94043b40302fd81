"""What can be wrong with a training run, as its files show it.

A finding is a fault of training: a reason why the network did not learn its task, or a number that
means nothing. "Learned" is a skill of at least LEARNED, see `Evidence.skill`. A run that learned is
healthy, although it may not be perfect: the published `sota_warmup` answers 50 to 100% of its
inputs and fails on long ones, because it was not asked to learn single digits or stable states.
Ask for a length that such a run cannot answer (`asked_length`), and these become findings.

The configuration is read first, then the metrics, then the states of the network. All checks look;
`rank` leaves out what another finding explains, see `run_findings`.

Thresholds without another source separate the recipes of this project from faults put into them,
see experiments/doctor_self_test.py.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

from rnn_tutorial.doctor.data_compare import WIDE_INTERVAL, small_evaluation
from rnn_tutorial.doctor.evidence import (
    ENOUGH_STEPS,
    LONG_SEQUENCES,
    SOME_SKILL,
    Evidence,
    read_evidence,
)
from rnn_tutorial.doctor.findings import Finding, Report, describe, rank
from rnn_tutorial.doctor.run_causes import AT_CHANCE, CAUSES, is_unstable, lower_rate
from rnn_tutorial.doctor.run_findings import found
from rnn_tutorial.runs.terminal import shown

TIGHT = 0.01  # a norm to which gradients are cut in vain; with larger ones many recipes learn
ALWAYS, NEVER = 0.95, 100.0  # share of updates clipped; threshold over the largest norm seen
SPIKE = 0.25  # of the loss of guessing, above the median before; recipes jump by 0.14 at most
BEFORE = 10  # losses that the next is compared with; fewer do not show the usual deviation
SWING = 0.05  # accuracy lost between two evaluations; late in training recipes lose 0.02 at most
BY_HEART = 0.1  # of the loss of guessing: nearly all training examples are right
NEARLY_ALL = 0.95  # share of the answers that are right under other names
TRANSFERRED = 0.7  # skill in evaluation that examples known by heart do not give
# What examples known by heart teach about others, and what to try.
_NOTHING = (
    "nothing",
    "do the labels belong to their rows? if so, more examples, or those of a simpler rule; a "
    "smaller network or weight decay seldom suffices",
)
_LESS = (
    "less",
    "more examples; --early_stopping_patience 10, --dropout 0.3 with --num_layers 2, or "
    "--optimizer adamw with --weight_decay 0.1",
)
# Findings about data that say why evaluation is worse than training.
OTHER_EVALUATION = {
    "token-mismatch", "length-mismatch", "class-mismatch", "evaluation-labels-wrong",
    "shifted-labels", "near-equal-classes",
}  # fmt: skip


def find_clipping(e: Evidence) -> Iterator[Finding]:
    threshold, norms = e.config["max_grad_norm"], e.of("grad_norm")
    if not threshold or e.steps < ENOUGH_STEPS:
        return
    share, median = sum(norm > threshold for norm in norms) / len(norms), statistics.median(norms)
    if share >= ALWAYS:
        seen = f"{share:.0%} of the logged gradient norms exceed {threshold:g}"
        sure = "possible" if e.is_stuck and threshold > TIGHT else "certain"
        norm = float(f"{10 * median:.1g}")
        yield found("gradient-always-clipped", f"{seen} (median {median:.2g})", sure, norm=norm)
    if threshold >= NEVER * max(norms) and not e.failed_to_learn:
        seen = f"--max_grad_norm {threshold:g}, and no logged gradient norm exceeds"
        norm = float(f"{max(norms):.1g}")
        yield found("gradient-never-clipped", f"{seen} {max(norms):.2g}", norm=norm)


def find_mismatch(e: Evidence) -> Iterator[Finding]:
    """Training went well, evaluation did not: is it other classes, or learning by heart?"""
    by_heart = e.final_loss < BY_HEART * e.chance_loss and e.accuracies and e.skill < TRANSFERRED
    is_worse = by_heart or (e.failed_to_learn and e.fits_training)
    if not (e.files and is_worse and e.steps >= ENOUGH_STEPS):
        return
    if any(finding.name in OTHER_EVALUATION for finding in e.files[1]):
        return
    by_label = {label: answers for label, answers in e.answers.items() if answers}
    favourite = {label: max(answers, key=answers.get) for label, answers in by_label.items()}
    sure = sum(max(answers.values()) for answers in by_label.values())
    total = sum(sum(answers.values()) for answers in by_label.values())
    wrong = [(label, answer) for label, answer in favourite.items() if label != answer]
    if wrong and len({*favourite.values()}) == len(favourite) and sure > NEARLY_ALL * total:
        seen = f"{sure / total:.0%} of the answers are right if {wrong[0][0]!r} is called"
        yield found("evaluation-labels-wrong", f"{seen} {wrong[0][1]!r} and so on", "likely")
    seen = f"the training loss ends at {e.final_loss:.2g} (guessing: {e.chance_loss:.2g}), and "
    seen += f"{e.score:.0%} of the answers in evaluation are right"
    seen += ", if each class counts the same" * e.is_balanced
    seen += f" (guessing: {e.chance:.0%})"
    little, remedy = _LESS if e.skill >= SOME_SKILL else _NOTHING
    yield found("overfitting", seen, "likely", little=little, remedy=remedy)


def find_jumps(e: Evidence) -> Iterator[Finding]:
    """Accuracies that fall, and losses above those before by far more than they usually vary."""
    if e.failed_to_learn:
        return
    late = e.accuracies[len(e.accuracies) // 2 :]
    drops = [before - after for before, after in itertools.pairwise(late)]
    num_inputs = (e.evaluation or {}).get("num_inputs", math.inf)
    swing = max(SWING, 3 * math.sqrt(0.25 / num_inputs))  # of few examples, chance is larger
    num_swings = sum(drop > swing for drop in drops)
    if num_swings >= 2:
        seen = f"in the second half of training the accuracy fell {num_swings} times by more than "
        seen += f"{swing:.0%} from one evaluation to the next, once by {max(drops):.0%}"
        yield found("oscillating-loss", seen, "likely", rate=lower_rate(e, 3))
    losses, jumps = e.of("loss"), []
    for i in range(BEFORE, len(losses)):
        median = statistics.median(losses[i - BEFORE : i])
        usual = statistics.median(abs(loss - median) for loss in losses[i - BEFORE : i])
        jumps.append(losses[i] - median - 5 * usual)
    if num_spikes := sum(jump > SPIKE * e.chance_loss for jump in jumps):
        seen = f"{num_spikes} of {len(losses)} logged losses jump above the {BEFORE} before them, "
        seen += f"one by {max(jumps):.2f}"
        yield found("loss-spikes", seen, "likely", rate=lower_rate(e, 3))


def find_uncertain_results(e: Evidence) -> Iterator[Finding]:
    """An evaluation of few samples, and states that do not last."""
    if e.evaluation and not e.evaluation["exact"]:
        low, high = e.evaluation["low"], e.evaluation["high"]
        if high - low >= WIDE_INTERVAL:
            sure = "certain" if e.has_rule else "possible"  # there may be no more examples
            yield small_evaluation(e.evaluation["num_inputs"], f"[{low:.0%}, {high:.0%}]", sure)
    if is_unstable(e):
        shown = ", ".join(f"{margin:.1f} at {n} ({right:.0%})" for n, right, margin in e.margins)
        seen = f"smallest margin of the right answer (and accuracy) over {LONG_SEQUENCES} sequences"
        seen += f": {shown}; trained up to {e.config['max_seq_len']}"
        yield found("unstable-at-length", seen)


# What every run is asked.
OTHERS = (find_mismatch, find_jumps, find_clipping, find_uncertain_results)
_NO_CAUSE = {"small-evaluation", "shared-stream", "gradient-never-clipped"}
# What only the end of a run can show.
_AT_THE_END = {
    "too-few-steps", "warmup-too-long", "overfitting", "oscillating-loss", "gradient-never-clipped",
    "loss-at-chance", "learned-little",
}  # fmt: skip


def check_run(e: Evidence) -> Report:
    """The findings of a run, those of the files that it learned from among them."""
    of_data = e.files[1] if e.files else []
    if e.config["balance_classes"]:
        of_data = [finding for finding in of_data if finding.name != "imbalanced-classes"]
    findings = rank([*of_data, *(f for check in (*CAUSES, *OTHERS) for f in check(e))])
    if e.failed_to_learn and all(finding.name in _NO_CAUSE for finding in findings):
        seen = f"loss after {e.steps:,} updates: {e.final_loss:.3f}; guessing: "
        seen += f"{e.chance_loss:.3f}; {e.accuracies[-1]:.0%} of the answers are right"
        is_chance = e.final_loss >= AT_CHANCE * e.chance_loss
        findings.append(found("loss-at-chance" if is_chance else "learned-little", seen))
    looked_at = [f"settings, and {len(e.metrics)} lines of metrics up to update {e.steps:,}"]
    looked_at += ["states and gradients of the last network"] if e.model else []
    looked_at += ["the files that it learned from"] if e.files else []
    not_asked = []
    if not (e.has_learned or e.failed_to_learn):
        not_asked.append(
            f"whether it learns: {e.steps:,} updates are too few to tell; a run is "
            f"judged by its evaluation after {e.enough_steps:,} updates or more"
        )
    not_asked += [] if e.model else ["the network: there is no checkpoint"]
    if e.has_rule and not e.asked_length:
        not_asked.append("longer sequences than those of training: --length N")
    return Report(findings, looked_at, not_asked)


class Watch:
    """The doctor beside a running training: what it suspects, and in the end what it finds.

    Reads the metrics of a run after each evaluation: about 25 µs for each logged line. The files
    of a run on labelled examples are looked at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._reported: set[str] = set()
        self._latest: Evidence | None = None

    def look(self) -> list[str]:
        """A line for each new finding that the metrics show and that need not wait for the end."""
        try:
            self._latest = read_evidence(self._folder, with_network=False, before=self._latest)
        except ValueError:  # gone or damaged, which the training or the report says
            return []
        known = self._reported | _AT_THE_END
        new = [f for f in check_run(self._latest).findings if f.name not in known]
        self._reported |= {finding.name for finding in new}
        return [f"doctor, so far: {f.name}: {f.seen}; try {f.advice}" for f in new]

    def report(self) -> None:
        """Print the findings as `python -m rnn_tutorial.diagnose` does."""
        try:
            evidence = read_evidence(self._folder, before=self._latest)
        except ValueError as error:  # stopped before anything was logged
            print(f"\nDoctor: {shown(error)}")
        else:
            print(f"\nDoctor: {describe(*check_run(evidence))}")
