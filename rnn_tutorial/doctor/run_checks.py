"""What can be wrong with a training run, as its files show it.

A finding is a fault of training: a reason why the network did not learn its task, or a number that
means nothing. "Learned" is a skill of at least LEARNED, see `Evidence.skill`. A run that learned is
healthy, although it may not be perfect: the published `sota_warmup` answers 52 to 100 % of its
inputs and fails on long ones, because it was not asked to learn single digits or stable states.
Ask for a length that such a run cannot answer (`asked_length`), and these become findings.

One cause has many symptoms. The checks run from cause to consequence, and of the causes only the
first is reported: it explains the others.

Thresholds without another source separate the recipes of this project from faults put into them,
see `diagnose --self_test`.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnn_tutorial.doctor.data_pairs import WIDE_INTERVAL, small_evaluation
from rnn_tutorial.doctor.evidence import ENOUGH_STEPS, LONG_SEQUENCES, Evidence, read_evidence
from rnn_tutorial.doctor.findings import Finding, describe
from rnn_tutorial.doctor.states import SATURATED
from rnn_tutorial.runs.terminal import shown

AT_CHANCE = 0.95  # of the loss of guessing
FAR_ABOVE_CHANCE = 1.5  # times the loss of guessing: a network this wrong is also sure of it
FAST_UPDATE = 0.025  # update_ratio; it peaks at 0.009 in solved, at 0.021 in sota_warmup
SLOW_UPDATE = 5e-4  # update_ratio at its peak; half of the usual 1e-3, see optimizer.py
MANY_SATURATED = 0.9  # share of the states; recipes that learn end with 0.3 to 0.85
MANY_IDLE = 0.5  # share of the units
FAR = 10  # steps; over fewer, length alone cannot make a gradient vanish
VANISHED, EXPLODED = 1e-3, 1e3  # gradient at an early state, relative to the last
ALWAYS, NEVER = 0.95, 100.0  # share of updates clipped; threshold over the largest norm seen
SPIKE = 0.25  # of the loss of guessing, above the median before; recipes jump by 0.14 at most
BEFORE = 10  # losses that the next is compared with; fewer do not show the usual deviation
SWING = 0.05  # accuracy lost between two evaluations; late in training recipes lose 0.02 at most


def find_divergence(e: Evidence) -> Iterator[Finding]:
    if e.metrics[-1].get("loss", 0) is None:
        norms = e.of("grad_norm")
        last = f"; the last logged gradient norm is {norms[-1]:.3g}" if norms else ""
        yield Finding(
            "not-finite-loss",
            f"the loss or its gradient is NaN or infinite at step {e.steps:,}{last}",
            "the updates overshot further and further until the numbers overflowed",
            f"{_lower_rate(e, 10)} (a tenth), --max_grad_norm 1, or a --warmup_step",
        )


def find_large_updates(e: Evidence) -> Iterator[Finding]:
    if not e.failed_to_learn:
        return
    ratios, layers, outcome = e.of("update_ratio"), e.config["num_layers"], _outcome(e)
    if ratios and ratios[0] >= FAST_UPDATE and layers > 1 and not e.config["warmup_step"]:
        yield Finding(
            "missing-warmup",
            f"{layers} layers, no warmup; update 1 moved the weights by {ratios[0]:.1%}, {outcome}",
            "Adam's first updates have full size but rest on one batch: a deep network is lost",
            f"--warmup_step {max(1, e.config['total_steps'] // 10)}",
            "likely",
        )
    ratio = max(ratios, default=0.0)
    is_worse_than_guessing = e.final_loss > FAR_ABOVE_CHANCE * e.chance_loss
    if is_worse_than_guessing or ratio >= FAST_UPDATE:
        seen = f"one update moved the weights by {ratio:.1%}"
        if is_worse_than_guessing:
            seen = f"the loss ends at {e.final_loss:.1f}; guessing gives {e.chance_loss:.2f}"
        yield Finding(
            "learning-rate-too-high",
            f"{seen}, {outcome}",
            "the updates jump over the solution",
            f"{_lower_rate(e, 10)} (a tenth)",
            "likely" if is_worse_than_guessing or ratio >= 5 * FAST_UPDATE else "possible",
        )


def find_bad_states(e: Evidence) -> Iterator[Finding]:
    if not e.failed_to_learn or not e.states:
        return
    outcome = _outcome(e)
    if e.states.saturated >= MANY_SATURATED:
        yield Finding(
            "saturated-units",
            f"{e.states.saturated:.0%} of the hidden states are beyond ±{SATURATED}, {outcome}",
            "tanh is flat there: hardly any gradient gets through",
            "smaller first weights (--init orthogonal or default), less --lr, --weight_decay 0.1",
            "likely",
        )
    if e.states.idle >= MANY_IDLE:
        yield Finding(
            "dead-units",
            f"{e.states.idle:.0%} of the hidden units have one value at every step, {outcome}",
            "a unit that never changes carries no information and gets no gradient",
            "a lower --lr, less --weight_decay, other first weights (--init); tanh instead of ReLU",
            "likely",
        )
    growth = max(max(chain) for chain in e.states.gradient_norms) / _last_gradient(e)
    if growth >= EXPLODED:
        yield Finding(
            "exploding-gradient",
            f"the gradient at an early state is {growth:.1e} times the last state's, {outcome}",
            "every step back multiplies the gradient: the first steps drown out all others",
            "--max_grad_norm 1, --init orthogonal, or shorter sequences (--max_seq_len)",
            "likely",
        )


def find_constant_clipping(e: Evidence) -> Iterator[Finding]:
    threshold, norms = e.config["max_grad_norm"], e.of("grad_norm")
    if not threshold or e.steps < ENOUGH_STEPS:
        return
    share = sum(norm > threshold for norm in norms) / len(norms)
    median = statistics.median(norms)
    if share >= ALWAYS:
        yield Finding(
            "gradient-always-clipped",
            f"{share:.0%} of the logged gradient norms exceed {threshold:g} (median {median:.2g})",
            "clipping is meant for rare large gradients; here it sets the size of every update",
            f"--max_grad_norm {_round(10 * median):g} (ten times the median), or 0",
        )


def find_small_updates(e: Evidence) -> Iterator[Finding]:
    ratio = max(e.of("update_ratio"), default=None)
    if e.failed_to_learn and ratio is not None and ratio < SLOW_UPDATE:
        yield Finding(
            "learning-rate-too-low",
            f"no logged update moved weights by more than {ratio:.1e} of their size, {_outcome(e)}",
            "at this pace the weights hardly move from their first values",
            f"--lr {_round(e.config['lr'] * 10 * SLOW_UPDATE / max(ratio, 1e-12)):g}",
            "likely",
        )


def find_vanishing_gradient(e: Evidence) -> Iterator[Finding]:
    if not e.failed_to_learn or not e.states or len(e.states.gradient_norms[0]) < FAR:
        return
    lowest = e.states.gradient_norms[0]
    reach = lowest[0] / _last_gradient(e)
    if reach < VANISHED:
        yield Finding(
            "vanishing-gradient",
            f"the gradient at the first of {len(lowest)} states is {reach:.1e} times that at the "
            f"last, {_outcome(e)}",
            "the answer cannot teach the network what to do with the first tokens",
            "shorter sequences (--min_seq_len 1), --init orthogonal or --cell lstm --forget_bias 3",
            "likely",
        )


def find_missing_lengths(e: Evidence) -> Iterator[Finding]:
    shortest, has_rule = e.config["min_seq_len"], e.task is not None and e.task.machine is not None
    if shortest > 1 and has_rule and (e.failed_to_learn or _is_unstable(e)):
        yield Finding(
            "missing-short-lengths",
            f"the shortest training sequence has {shortest} tokens, {_outcome(e)}",
            "the label of a single token names the state that it leads to; without such sequences "
            "each state is seen only through others, and may never become one stable state",
            "--min_seq_len 1",
            "likely" if e.accuracies and e.skill < 1 - AT_CHANCE else "possible",
        )


def find_chance(e: Evidence) -> Iterator[Finding]:
    if e.failed_to_learn and e.final_loss >= AT_CHANCE * e.chance_loss:
        yield Finding(
            "loss-at-chance",
            f"loss after {e.steps:,} updates: {e.final_loss:.3f}; guessing: {e.chance_loss:.3f}",
            "nothing was learned, and no other check says why: suspect data and labels",
            "python -m rnn_tutorial.diagnose --data on your loader; can it fit a single batch?",
        )


def find_jumps(e: Evidence) -> Iterator[Finding]:
    if e.failed_to_learn:
        return
    late = e.accuracies[len(e.accuracies) // 2 :]
    drops = [before - after for before, after in itertools.pairwise(late)]
    num_swings = sum(drop > SWING for drop in drops)
    if num_swings >= 2:  # such a run has spikes too
        yield Finding(
            "oscillating-loss",
            f"in the second half of training the accuracy fell {num_swings} times by more than "
            f"{SWING:.0%} from one evaluation to the next, once by {max(drops):.0%}",
            "the updates are too large to settle: it is chance where training ends",
            ("a lower --min_lr, or " if _falls(e) else "")
            + f"{_lower_rate(e, 3)} (a third), --max_grad_norm 1, a larger --batch_size",
            "likely",
        )
        return
    losses = e.of("loss")
    jumps = [_jump(losses[i - BEFORE : i], losses[i]) for i in range(BEFORE, len(losses))]
    if num_spikes := sum(jump > SPIKE * e.chance_loss for jump in jumps):
        yield Finding(
            "loss-spikes",
            f"{num_spikes} of {len(losses)} logged losses jump above the {BEFORE} before them, "
            f"one by {max(jumps):.2f}",
            "single updates throw the network far back",
            "--max_grad_norm 1, or a lower --lr",
            "likely",
        )


def find_idle_clipping(e: Evidence) -> Iterator[Finding]:
    threshold, norms = e.config["max_grad_norm"], e.of("grad_norm")
    if threshold and e.steps >= ENOUGH_STEPS and threshold >= NEVER * max(norms):
        yield Finding(
            "gradient-never-clipped",
            f"--max_grad_norm {threshold:g}, and no logged gradient norm exceeds {max(norms):.2g}",
            "the threshold does nothing, not even for a gradient a hundred times the largest",
            f"--max_grad_norm {_round(max(norms)):g}, or 0 if you want no clipping",
        )


def find_small_evaluation(e: Evidence) -> Iterator[Finding]:
    if e.evaluation and not e.evaluation["exact"]:
        low, high = e.evaluation["low"], e.evaluation["high"]
        if high - low >= WIDE_INTERVAL:
            yield small_evaluation(e.evaluation["num_inputs"], f"[{low:.0%}, {high:.0%}]")


def find_unstable_states(e: Evidence) -> Iterator[Finding]:
    if _is_unstable(e):
        shown = ", ".join(f"{margin:.1f} at {n} ({right:.0%})" for n, right, margin in e.margins)
        yield Finding(
            "unstable-at-length",
            f"smallest margin of the right answer (and accuracy) over {LONG_SEQUENCES} sequences: "
            f"{shown}; trained up to {e.config['max_seq_len']}",
            "the states drift with every step until they are mistaken for their neighbours",
            "--embed_noise 0.3 --weight_decay 0.5 make the states stable, --contraction 1 more so",
        )


def _is_unstable(e: Evidence) -> bool:
    """True if some answers are wrong at the asked length."""
    return bool(e.asked_length and e.model and e.margins[-1][1] < 1)


def _outcome(e: Evidence) -> str:
    """How bad the result is, as the end of a sentence."""
    if e.failed_to_learn:
        return f"and after {e.steps:,} updates {e.accuracies[-1]:.0%} of the answers are right"
    return f"and at length {e.asked_length} {e.margins[-1][1]:.0%} of the answers are right"


def _last_gradient(e: Evidence) -> float:
    """Gradient norm at the last state of the last layer."""
    return max(e.states.gradient_norms[-1][-1], 1e-30)


def _jump(before: list[float], loss: float) -> float:
    """How far a loss lies above those before it, beyond five times their usual deviation."""
    median = statistics.median(before)
    return loss - median - 5 * statistics.median(abs(x - median) for x in before)


def _lower_rate(e: Evidence, divisor: int) -> str:
    """The flags for a learning rate so many times smaller, which min_lr may not exceed."""
    lr = float(f"{e.config['lr'] / divisor:.2g}")
    return f"--lr {lr:g}" + (" --min_lr 0" if _falls(e) and lr < e.config["min_lr"] else "")


def _falls(e: Evidence) -> bool:
    """True if the learning rate falls after the warmup."""
    return e.config.get("scheduler") != "constant"


def _round(value: float) -> float:
    """One significant digit."""
    return float(f"{value:.1g}")


# From cause to consequence: each finding explains those after it.
CAUSES = (
    find_divergence, find_large_updates, find_bad_states, find_constant_clipping,
    find_small_updates, find_vanishing_gradient, find_missing_lengths, find_chance,
)  # fmt: skip
# Faults of a run that learned; all that are seen are reported.
OTHERS = (find_jumps, find_idle_clipping, find_small_evaluation, find_unstable_states)


def check_run(evidence: Evidence) -> list[Finding]:
    """The findings of a run: the first of the causes, or else whatever the other checks see.

    What is wrong with the files that it learned from comes first.
    """
    of_data = [*evidence.files.findings] if evidence.files else []
    known = {finding.name for finding in of_data}
    if "shifted-labels" in known:
        return of_data
    if cause := next((finding for check in CAUSES for finding in check(evidence)), None):
        return [*of_data, cause]
    others = (finding for check in OTHERS for finding in check(evidence))
    return of_data + [finding for finding in others if finding.name not in known]


def describe_run(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """The findings of a run for a person; without any, also whether that means something."""
    if findings or evidence.has_learned or evidence.failed_to_learn:
        return describe(findings)
    return (
        f"{describe(findings)} But after {evidence.steps:,} updates that says little: whether a "
        f"run learns is judged by its evaluation after {evidence.enough_steps:,} updates or more."
    )


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
        """A line for each finding that the metrics alone show for the first time."""
        self._latest = read_evidence(self._folder, with_network=False, before=self._latest)
        new = [f for f in check_run(self._latest) if f.name not in self._reported]
        self._reported |= {finding.name for finding in new}
        return [f"doctor, so far: {f.name}: {f.seen}; try {f.advice}" for f in new]

    def report(self) -> None:
        """Print the findings as `python -m rnn_tutorial.diagnose` does."""
        try:
            evidence = read_evidence(self._folder, before=self._latest)
        except ValueError as error:  # stopped before anything was logged
            print(f"\nDoctor: {shown(error)}")
        else:
            print(f"\nDoctor: {describe_run(evidence, check_run(evidence))}")
