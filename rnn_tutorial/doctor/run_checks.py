"""What can be wrong with a training run, as its files show it.

A finding is a fault of training: a reason why the network did not learn what it was trained on, or
a figure that says nothing. "Learned" means a skill of at least LEARNED, see `Evidence.skill`; a run
that learned is healthy, although it may not be perfect. So the published `sota_warmup` is healthy,
which gets 52 to 100 % of its inputs right and fails on long ones: it lacks what it was not asked to
learn, single digits and stable states. Who asks for a length that it cannot answer
(`asked_length`) gets these as findings.

One cause has many symptoms. The checks run from cause to consequence, and a finding suppresses the
checks of what it explains.

Thresholds without another source separate the recipes of this project from faults put into them,
see `diagnose --self_test`.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence

from rnn_tutorial.doctor.data_checks import WIDE_INTERVAL, small_evaluation
from rnn_tutorial.doctor.evidence import ENOUGH_STEPS, LONG_SEQUENCES, Evidence
from rnn_tutorial.doctor.findings import Finding, describe
from rnn_tutorial.doctor.probe import SATURATED, Probe

AT_CHANCE = 0.95  # of ln C
FAR_ABOVE_CHANCE = 1.5  # times ln C: a network this wrong is also sure of it
FAST_UPDATE = 0.025  # update_ratio; it peaks at 0.009 in solved, at 0.021 in sota_warmup
SLOW_UPDATE = 5e-4  # update_ratio at its peak; half of the usual 1e-3, see optimizer.py
MANY_SATURATED = 0.9  # share of the states; recipes that learn end with 0.3 to 0.85
MANY_IDLE = 0.5  # share of the units
FAR = 10  # steps; over fewer a gradient cannot vanish by the length alone
VANISHED, EXPLODED = 1e-3, 1e3  # gradient at the first step, relative to the last
ALWAYS, NEVER = 0.95, 100.0  # share of updates clipped; threshold over the largest norm seen
SPIKE = 0.25  # of ln C that a loss jumps above the median before it; recipes jump by 0.14 at most
BEFORE = 10  # losses that the next is compared with; of fewer the usual deviation is not known
SWING = 0.05  # accuracy lost between two evaluations; late in training recipes lose 0.02 at most


def find_not_finite(e: Evidence) -> Finding | None:
    if not e.metrics or e.metrics[-1].get("loss", 0) is not None:
        return None
    norms = e.of("grad_norm")
    last = f"; the last logged gradient norm is {norms[-1]:.3g}" if norms else ""
    return Finding(
        "not-finite-loss",
        f"the loss or its gradient is no finite number at step {e.steps:,}{last}",
        "the updates overshot further and further until the numbers overflowed",
        f"{_lower_rate(e, 10)} (a tenth), --max_grad_norm 1, or a --warmup_step",
        "certain",
    )


def find_missing_warmup(e: Evidence) -> Finding | None:
    ratios = e.of("update_ratio")
    if not (e.is_stuck and ratios and e.config["num_layers"] > 1):
        return None
    if e.config["warmup_step"] or ratios[0] < FAST_UPDATE:
        return None
    return Finding(
        "missing-warmup",
        f"{e.config['num_layers']} layers, no warmup; the first update moved the weights by "
        f"{ratios[0]:.1%}, and {_outcome(e)}",
        "Adam's first updates have full size while its averages know one batch: they throw a deep "
        "net where it cannot learn",
        f"--warmup_step {max(1, e.config['total_steps'] // 10)}",
        "likely",
    )


def find_high_rate(e: Evidence) -> Finding | None:
    ratio = e.fastest_update or 0.0
    is_worse_than_guessing = e.is_stuck and e.final_loss > FAR_ABOVE_CHANCE * e.chance_loss
    if not e.is_stuck or not (is_worse_than_guessing or ratio >= FAST_UPDATE):
        return None
    seen = f"one update moved the weights by {ratio:.1%}"
    if is_worse_than_guessing:
        seen = f"the loss ends at {e.final_loss:.1f}; guessing gives {e.chance_loss:.2f}"
    return Finding(
        "learning-rate-too-high",
        f"{seen}, and {_outcome(e)}",
        "the updates jump over what they should find",
        f"{_lower_rate(e, 10)} (a tenth)",
        "likely" if is_worse_than_guessing or ratio >= 5 * FAST_UPDATE else "possible",
    )


def find_saturated(e: Evidence) -> Finding | None:
    if not e.is_stuck or not e.probe or e.probe.saturated < MANY_SATURATED:
        return None
    return Finding(
        "saturated-units",
        f"{e.probe.saturated:.0%} of the hidden states are beyond ±{SATURATED}, and {_outcome(e)}",
        "tanh is flat there: hardly any gradient comes through",
        "smaller first weights (--init orthogonal or default), a lower --lr, --weight_decay 0.1",
        "likely",
    )


def find_dead(e: Evidence) -> Finding | None:
    if not e.is_stuck or not e.probe or e.probe.idle < MANY_IDLE:
        return None
    return Finding(
        "dead-units",
        f"{e.probe.idle:.0%} of the hidden units are the same at every step of every sequence, and "
        f"{_outcome(e)}",
        "a unit that never changes carries nothing and gets no gradient",
        "a lower --lr, less --weight_decay, other first weights (--init); tanh instead of ReLU",
        "likely",
    )


def find_exploding(e: Evidence) -> Finding | None:
    if not e.is_stuck or not e.probe:
        return None
    growth = max(max(chain) for chain in e.probe.gradient_norms) / _last_gradient(e.probe)
    if growth < EXPLODED:
        return None
    return Finding(
        "exploding-gradient",
        f"the gradient of the loss with respect to an early state is {growth:.1e} times that of "
        f"the last state, and {_outcome(e)}",
        "every step back multiplies the gradient: the first steps drown all others",
        "--max_grad_norm 1, --init orthogonal, or shorter sequences (--max_seq_len)",
        "likely",
    )


def find_always_clipped(e: Evidence) -> Finding | None:
    threshold, norms = e.config["max_grad_norm"], e.of("grad_norm")
    if not threshold or e.steps < ENOUGH_STEPS:
        return None
    share = sum(norm > threshold for norm in norms) / len(norms)
    if share < ALWAYS:
        return None
    median = statistics.median(norms)
    return Finding(
        "gradient-always-clipped",
        f"{share:.0%} of the logged gradients are longer than {threshold:g}; their median is "
        f"{median:.2g}",
        "clipping is to cut off the rare; here it sets the length of every update",
        f"--max_grad_norm {_round(10 * median):g} (ten times the median), or 0",
        "certain",
    )


def find_low_rate(e: Evidence) -> Finding | None:
    ratio = e.fastest_update
    if not e.is_stuck or ratio is None or ratio >= SLOW_UPDATE:
        return None
    return Finding(
        "learning-rate-too-low",
        f"no logged update moved the weights by more than {ratio:.1e} of their size, and "
        f"{_outcome(e)}",
        "at this pace the weights hardly leave where they began",
        f"--lr {_round(e.config['lr'] * 10 * SLOW_UPDATE / max(ratio, 1e-12)):g}",
        "likely",
    )


def find_vanishing(e: Evidence) -> Finding | None:
    if not e.is_stuck or not e.probe or len(e.probe.gradient_norms[0]) < FAR:
        return None
    lowest = e.probe.gradient_norms[0]
    reach = lowest[0] / _last_gradient(e.probe)
    if reach >= VANISHED:
        return None
    return Finding(
        "vanishing-gradient",
        f"the gradient of the loss with respect to the first of {len(lowest)} states is {reach:.1e}"
        f" times that of the last, and {_outcome(e)}",
        "what the first tokens should have done cannot be learned from the answer",
        "begin with shorter sequences (--min_seq_len 1), --init orthogonal, or "
        "--cell lstm --forget_bias 3",
        "likely",
    )


def find_missing_lengths(e: Evidence) -> Finding | None:
    shortest = e.config["min_seq_len"]
    wrong_when_long = e.asked_length and e.model and e.margins[-1][1] < 1
    if shortest == 1 or not e.is_about_digits or not (e.is_stuck or wrong_when_long):
        return None
    return Finding(
        "missing-short-lengths",
        f"the shortest training sequence has {shortest} tokens, and {_outcome(e)}",
        "a single token names the state that it leads to; without such sequences each state is "
        "seen only through others, and may never become one stable state",
        "--min_seq_len 1",
        "likely" if e.accuracies and e.skill < 1 - AT_CHANCE else "possible",
    )


def find_chance(e: Evidence) -> Finding | None:
    if not e.is_stuck or e.final_loss < AT_CHANCE * e.chance_loss:
        return None
    return Finding(
        "loss-at-chance",
        f"after {e.steps:,} updates the loss is {e.final_loss:.3f}; "
        f"guessing gives {e.chance_loss:.3f}",
        "nothing was learned, and no other check says why: suspect data and labels",
        "python -m rnn_tutorial.diagnose --data on your loader; can it fit a single batch?",
        "certain",
    )


def find_oscillation(e: Evidence) -> Finding | None:
    late = e.accuracies[len(e.accuracies) // 2 :]
    drops = [before - after for before, after in itertools.pairwise(late)]
    if e.is_stuck or sum(drop > SWING for drop in drops) < 2:
        return None
    return Finding(
        "oscillating-loss",
        f"in the second half of training the accuracy fell {sum(d > SWING for d in drops)} times by"
        f" more than {SWING:.0%} from one evaluation to the next, once by {max(drops):.0%}",
        "the updates are too long to settle: where training ends is chance",
        ("a lower --min_lr, or " if _falls(e) else "")
        + f"{_lower_rate(e, 3)} (a third), --max_grad_norm 1, a larger --batch_size",
        "likely",
    )


def find_spikes(e: Evidence) -> Finding | None:
    losses = e.of("loss")
    jumps = [_jump(losses[i - BEFORE : i], losses[i]) for i in range(BEFORE, len(losses))]
    spikes = sum(jump > SPIKE * e.chance_loss for jump in jumps)
    if e.is_stuck or not spikes:
        return None
    return Finding(
        "loss-spikes",
        f"{spikes} of {len(losses)} logged losses jump out of the {BEFORE} before them, one by "
        f"{max(jumps):.2f}",
        "single updates throw the network far back",
        "--max_grad_norm 1, or a lower --lr",
        "likely",
    )


def _jump(before: list[float], loss: float) -> float:
    """How far a loss lies above those before it, beyond five times their usual deviation."""
    median = statistics.median(before)
    return loss - median - 5 * statistics.median(abs(x - median) for x in before)


def find_never_clipped(e: Evidence) -> Finding | None:
    threshold, norms = e.config["max_grad_norm"], e.of("grad_norm")
    if not threshold or e.steps < ENOUGH_STEPS or threshold < NEVER * max(norms):
        return None
    return Finding(
        "gradient-never-clipped",
        f"--max_grad_norm {threshold:g}, and no logged gradient is longer than {max(norms):.2g}",
        "the threshold does nothing, not even for a gradient a hundred times the largest",
        f"--max_grad_norm {_round(max(norms)):g}, or 0 to say that it is not wanted",
        "certain",
    )


def find_small_evaluation(e: Evidence) -> Finding | None:
    evaluation = e.evaluation
    if not evaluation or evaluation["exact"]:
        return None
    low, high = evaluation["low"], evaluation["high"]
    if high - low < WIDE_INTERVAL:
        return None
    return small_evaluation(evaluation["num_inputs"], f"[{low:.0%}, {high:.0%}]")


def find_unstable(e: Evidence) -> Finding | None:
    if not e.asked_length or not e.model or e.margins[-1][1] == 1:
        return None
    shown = ", ".join(
        f"{margin:.1f} at {length} ({accuracy:.0%})" for length, accuracy, margin in e.margins
    )
    return Finding(
        "unstable-at-length",
        f"smallest margin of the right answer (and accuracy) over {LONG_SEQUENCES} sequences: "
        f"{shown}; trained up to {e.config['max_seq_len']}",
        "the states drift with every step until they are taken for their neighbours",
        "--embed_noise 0.3 --weight_decay 0.5 make the states stable, --contraction 1 more so",
        "certain",
    )


def _outcome(e: Evidence) -> str:
    """What came of it, in a few words."""
    if e.is_stuck:
        return f"after {e.steps:,} updates {e.accuracies[-1]:.0%} of the answers are right"
    return f"at length {e.asked_length} {e.margins[-1][1]:.0%} of the answers are right"


def _last_gradient(seen: Probe) -> float:
    """Gradient norm at the last state of the last layer."""
    return max(seen.gradient_norms[-1][-1], 1e-30)


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


# From cause to consequence: each of these explains those after it.
CAUSES: dict[str, Callable[[Evidence], Finding | None]] = {
    "not-finite-loss": find_not_finite,
    "missing-warmup": find_missing_warmup,
    "learning-rate-too-high": find_high_rate,
    "saturated-units": find_saturated,
    "dead-units": find_dead,
    "exploding-gradient": find_exploding,
    "gradient-always-clipped": find_always_clipped,
    "learning-rate-too-low": find_low_rate,
    "vanishing-gradient": find_vanishing,
    "missing-short-lengths": find_missing_lengths,
    "loss-at-chance": find_chance,
}
# Of a run that learned, each for itself; one that swings has spikes too.
OTHERS: dict[str, Callable[[Evidence], Finding | None]] = {
    "oscillating-loss": find_oscillation,
    "loss-spikes": find_spikes,
    "gradient-never-clipped": find_never_clipped,
    "small-evaluation": find_small_evaluation,
    "unstable-at-length": find_unstable,
}


def check_run(evidence: Evidence) -> list[Finding]:
    """The findings of a run: the first of the causes, or else whatever the other checks see.

    What is wrong with the files that it learned from comes first.
    """
    of_data = [*evidence.files.findings] if evidence.files else []
    if any(finding.name == "shifted-labels" for finding in of_data):
        return of_data
    known = {finding.name for finding in of_data}
    for find in CAUSES.values():
        if finding := find(evidence):
            return [*of_data, finding]
    found = {name: finding for name, find in OTHERS.items() if (finding := find(evidence))}
    if "oscillating-loss" in found:
        found.pop("loss-spikes", None)
    return of_data + [finding for name, finding in found.items() if name not in known]


def describe_run(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """The findings of a run for a person; without any, also whether that says something."""
    if findings or evidence.has_learned or evidence.is_stuck:
        return describe(findings)
    return (
        f"{describe(findings)} But after {evidence.steps:,} updates that says little: whether a "
        f"run learns is judged by its evaluation after {evidence.enough_steps:,} updates or more."
    )
