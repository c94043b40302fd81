"""Why a run did not learn: its settings, its schedule, its updates, its states.

Part of `run_checks`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rnn_tutorial.doctor.evidence import ENOUGH_STEPS, Evidence
from rnn_tutorial.doctor.findings import Finding
from rnn_tutorial.doctor.run_findings import found
from rnn_tutorial.doctor.states import SATURATED

AT_CHANCE = 0.95  # of the loss of guessing
NO_SKILL = 0.05
ABOVE_CHANCE = 1.2  # times the loss of guessing: a network this wrong is also sure of it
RISE = 0.2  # of the loss of guessing, above the lowest before
# By optimizer: a learning rate that learns, and one at which updates jump.
USUAL_RATE = {"sgd": 0.3, "adam": 0.005, "adamw": 0.005, "rmsprop": 0.002}
LARGE_RATE = {"sgd": 2.0, "adam": 0.02, "adamw": 0.02, "rmsprop": 0.02}
SMALL_RATE = {"sgd": 0.01, "adam": 1e-4, "adamw": 1e-4, "rmsprop": 1e-4}
FAST_UPDATE = 0.025  # update_ratio of a first update, and later; recipes: 0.021 at first
SLOW_UPDATE = 5e-4  # update_ratio at its peak; half of the usual 1e-3, see optimizer.py
FALLEN = 0.01  # of the highest learning rate
MUCH_DROPOUT, MUCH_DECAY, MUCH_NOISE, SHUT = 0.8, 0.01, 1.0, 5.0
FEW_UNITS, FEW_ROWS = 3, 2  # of a hidden state, and of a batch
STILL_FALLING = 0.03  # of the loss of guessing, over the last fifth
STILL_LEARNING = 0.05  # of the highest learning rate; later in a schedule a loss falls by itself
MANY_SATURATED = 0.9  # share of the states; recipes that learn end with 0.3 to 0.85
MANY_IDLE = 0.5  # share of the units
FAR = 10  # steps; over fewer, length alone cannot make a gradient vanish
VANISHED, EXPLODED = 1e-3, 1e3  # gradient at an early step, relative to the last


def find_divergence(e: Evidence) -> Iterator[Finding]:
    if e.metrics[-1].get("loss", 0) is None:
        norms = e.of("grad_norm")
        seen = f"the loss or its gradient is NaN or infinite at step {e.steps:,}"
        seen += f"; the last logged gradient norm is {norms[-1]:.3g}" if norms else ""
        yield found("not-finite-loss", seen, rate=lower_rate(e))


def find_settings(e: Evidence) -> Iterator[Finding]:
    """What the configuration alone says of a run that did not learn."""
    c, num_classes = e.config, len(e.label_shares)
    hidden_dim, longest = c["hidden_dim"] * (1 + c["bidirectional"]), c["max_seq_len"]
    # Decoupled decay is scaled by the learning rate; one that is too high is another finding.
    scale = min(c["lr"], USUAL_RATE["adamw"]) if c["optimizer"] == "adamw" else 1.0
    decay, is_flat = c["weight_decay"] * scale, e.final_loss > AT_CHANCE * e.chance_loss
    bias = c["forget_bias"] if c["cell"] == "lstm" else 0.0
    width = min(hidden_dim, c["embed_dim"] + 1)
    rows = [  # name, is it found, is it likely, what is seen
        ("network-too-small", width <= FEW_UNITS < num_classes, hidden_dim <= FEW_UNITS,
         f"--hidden_dim {c['hidden_dim']} --embed_dim {c['embed_dim']}, {num_classes} classes"),
        ("too-much-dropout", c["dropout"] >= MUCH_DROPOUT, True,
         f"--dropout {c['dropout']:g} leaves {1 - c['dropout']:.0%} of the values"),
        ("too-much-weight-decay", decay >= MUCH_DECAY, is_flat or decay >= 10 * MUCH_DECAY,
         f"{c['optimizer']}, --lr {c['lr']:g} --weight_decay {c['weight_decay']:g}"),
        ("too-much-noise", c["embed_noise"] >= MUCH_NOISE, True,
         f"--embed_noise {c['embed_noise']:g}; embeddings begin with a size of 1"),
        ("truncated-too-short", 0 < c["bptt_steps"] < longest, 2 * c["bptt_steps"] <= longest,
         f"--bptt_steps {c['bptt_steps']} for sequences of up to {longest}"),
        ("shut-gates", abs(bias) >= SHUT, bias < 0,
         f"--forget_bias {bias:g}: forget gates begin at {int(bias > 0)}"),
        ("batch-too-small", c["batch_size"] * c["accumulate_steps"] <= FEW_ROWS, True,
         f"--batch_size {c['batch_size']}, --lr {c['lr']:g}"),
    ]  # fmt: skip
    short = " --min_seq_len 1" if c["min_seq_len"] > 1 and e.has_rule else ""
    enough = {"hidden_dim": 48, "embed_dim": 16}
    wider = " ".join(f"--{flag} {size}" for flag, size in enough.items() if c[flag] < size)
    for name, is_found, is_likely, seen in rows:
        if is_found and e.is_stuck:
            yield _cause(
                e, name, seen, "likely" if is_likely else "possible", short=short, wider=wider
            )


def find_schedule(e: Evidence) -> Iterator[Finding]:
    """Where the learning rate was when, and whether the run ended too early."""
    c = e.config
    if e.falls_short and e.steps >= ENOUGH_STEPS and 2 * c["warmup_step"] >= e.steps:
        seen = f"--warmup_step {c['warmup_step']:,} of {e.steps:,} updates made; the learning rate"
        seen += f" came to {max(e.of('current_lr'), default=0):.2g} of {c['lr']:g}"
        warmup = max(1, min(e.steps, c["total_steps"]) // 10)
        yield found("warmup-too-long", seen, "likely", warmup=warmup)
    patience, best = c["early_stopping_patience"], max(e.accuracies, default=0.0)
    since_best = len(e.accuracies) - 1 - e.accuracies.index(best) if e.accuracies else 0
    if e.falls_short and 0 < patience <= since_best and e.steps < c["total_steps"]:
        seen = f"--early_stopping_patience {patience} ended the run after {e.steps:,} of "
        yield _cause(e, "stopped-too-early", f"{seen}{c['total_steps']:,} updates")
    low = [m["step"] for m in e.metrics if m.get("current_lr", c["lr"]) < FALLEN * c["lr"]]
    low = [step for step in low if step > c["warmup_step"]]
    if e.is_stuck and low and 2 * low[0] < e.steps:
        seen = f"--scheduler {c['scheduler']}: below {FALLEN:.0%} of --lr {c['lr']:g} since update "
        seen += f"{low[0]:,} of {e.steps:,}"
        slower = {
            "step": f"--lr_step_every {max(1, c['total_steps'] // 3)}",
            "plateau": f"--plateau_patience {10 * c['plateau_patience']}",
        }
        schedule = slower.get(c["scheduler"], "--scheduler constant")
        sure = "likely" if 4 * low[0] < e.steps else "possible"
        yield _cause(e, "learning-rate-falls-too-early", seen, sure, schedule=schedule)
    parts = e.loss_by_part
    fell = parts[-1 - len(parts) // 4] - parts[-1] if parts else 0.0
    if (e.is_stuck or e.is_unfinished) and fell > STILL_FALLING * e.chance_loss:
        seen = f"over the last fifth of {e.steps:,} updates the loss fell by {fell:.2f}"
        rate = e.metrics[-1].get("current_lr", c["lr"])
        is_sure = parts[-1] == min(parts) and rate >= STILL_LEARNING * c["lr"]
        is_sure = is_sure and c["lr"] / (1 - c["momentum"]) < LARGE_RATE[c["optimizer"]]
        sure = "likely" if is_sure else "possible"
        yield _cause(e, "too-few-steps", seen, sure, steps=max(4 * e.steps, c["total_steps"]))


def find_learning_rate(e: Evidence) -> Iterator[Finding]:
    """Updates that are too large, at first or throughout, or too small."""
    c, ratios, parts = e.config, e.of("update_ratio"), e.loss_by_part
    usual, large = USUAL_RATE[c["optimizer"]], LARGE_RATE[c["optimizer"]]
    rate = c["lr"] / (1 - c["momentum"])  # what an update comes to, if gradients stay the same
    if not (e.is_stuck or (e.is_unfinished and rate >= large and parts)):
        return
    of_rate = f"{c['optimizer']}, --lr {c['lr']:g}"
    of_rate += f" --momentum {c['momentum']:g}" if c["momentum"] else ""
    first, later = (ratios[0] if ratios else 0.0), statistics.median(ratios[1:] or [0.0])
    signs = []
    if max(parts) > ABOVE_CHANCE * e.chance_loss:
        signs.append(f"the loss came to {max(parts):.3g}, guessing gives {e.chance_loss:.3g}")
    elif max(parts[-3:]) > min(parts) + RISE * e.chance_loss:
        signs.append(f"the loss rose from {min(parts):.2f} to {max(parts[-3:]):.2f}")
    if later >= FAST_UPDATE:
        signs.append(f"a usual update moves the weights by {later:.1%}")
    if rate >= large or (signs and 4 * rate >= large):
        is_seen = signs or e.final_loss > AT_CHANCE * e.chance_loss
        sure = "likely" if rate >= large and is_seen else "possible"
        momentum = " --momentum 0.9" if c["momentum"] > 0.95 else ""
        words = {"rate": lower_rate(e), "momentum": momentum}
        yield _cause(e, "learning-rate-too-high", ", ".join([of_rate, *signs]), sure, **words)
    is_deep = c["num_layers"] > 1 or c["cell"] == "transformer"
    if is_deep and not c["warmup_step"] and first >= FAST_UPDATE:
        seen = f"{c['num_layers']} layers, no warmup; update 1 moved the weights by {first:.1%}"
        sure = "possible" if rate >= large else "likely"
        flags = {"warmup": max(1, c["total_steps"] // 10), "rate": _rate(e, min(c["lr"], usual))}
        yield _cause(e, "missing-warmup", seen, sure, **flags)
    peak = max(ratios, default=1.0)
    if peak < SLOW_UPDATE or rate <= SMALL_RATE[c["optimizer"]]:
        moved = f"; no logged update moved the weights by more than {peak:.1e} of their size"
        seen = f"{of_rate}{moved if ratios else ''}"
        flags = _rate(e, usual * (1 - c["momentum"]))
        yield _cause(e, "learning-rate-too-low", seen, rate=flags)


def find_bad_states(e: Evidence) -> Iterator[Finding]:
    if not e.is_stuck or not e.states:
        return
    c, states = e.config, e.states
    is_plain = c["cell"] == "rnn" and c["nonlinearity"] == "tanh"
    if states.saturated >= MANY_SATURATED:
        seen = f"{states.saturated:.0%} of the hidden states are beyond ±{SATURATED}"
        yield _cause(e, "saturated-units", seen)
    if states.idle >= MANY_IDLE:
        seen = f"{states.idle:.0%} of the hidden units have one value at every step"
        flags = "--nonlinearity tanh" if c["nonlinearity"] == "relu" else "--init orthogonal"
        yield _cause(e, "dead-units", seen, flags=flags)
    norms = states.gradient_norms
    last = max(norms[-1], 1e-30)
    if (growth := max(norms) / last) >= EXPLODED:
        seen = f"the gradient at an early step is {growth:.1e} times the last step's"
        yield _cause(e, "exploding-gradient", seen)
    if len(norms) >= FAR and (reach := norms[0] / last) < VANISHED:
        seen = f"the gradient at the first of {len(norms)} steps is {reach:.1e} times that at the"
        flags = "--cell gru" if is_plain else "--init orthogonal"
        short = " (--min_seq_len 1)" if e.has_rule else ""
        yield _cause(e, "vanishing-gradient", f"{seen} last", flags=flags, short=short)


def find_missing_lengths(e: Evidence) -> Iterator[Finding]:
    shortest = e.config["min_seq_len"]
    if shortest > 1 and e.has_rule and (e.failed_to_learn or is_unstable(e)):
        seen = f"the shortest training sequence has {shortest} tokens"
        sure = "likely" if e.accuracies and e.skill < NO_SKILL else "possible"
        yield _cause(e, "missing-short-lengths", seen, sure)


def is_unstable(e: Evidence) -> bool:
    """True if some answers are wrong at the asked length."""
    return bool(e.asked_length and e.model and e.margins[-1][1] < 1)


def _cause(
    e: Evidence, name: str, seen: str, confidence: str = "likely", **words: object
) -> Finding:
    """The finding of a cause: what was seen, and how bad the result is."""
    when, right = f"after {e.steps:,} updates", e.accuracies[-1:]
    if e.asked_length is not None and e.model and not e.failed_to_learn:
        when, right = f"at length {e.asked_length}", [e.margins[-1][1]]
    share = f"{right[0]:.0%} of the answers are right" if right else "it ended"
    return found(name, f"{seen}, and {when} {share}", confidence, **words)


def lower_rate(e: Evidence, divisor: int = 10) -> str:
    """The flags for a learning rate so many times lower, or for a usual one if that is lower."""
    usual = USUAL_RATE[e.config["optimizer"]] * (1 - min(e.config["momentum"], 0.9))
    return _rate(e, min(e.config["lr"] / divisor, usual))


def _rate(e: Evidence, rate: float) -> str:
    """The flags for a learning rate, which min_lr may not exceed."""
    rate = float(f"{rate:.2g}")
    falls = e.config["scheduler"] != "constant"
    return f"--lr {rate:g}" + (" --min_lr 0" if falls and rate < e.config["min_lr"] else "")


# What a run that did not learn is asked.
CAUSES = (
    find_divergence, find_settings, find_schedule, find_learning_rate, find_bad_states,
    find_missing_lengths,
)  # fmt: skip
