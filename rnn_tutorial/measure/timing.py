"""Measuring times side by side on noisy machines: candidates take turns, round after round.

What is reported is the median over rounds with minimum and maximum, and the ratio to a reference
in each round.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm


def measure_in_turns(
    rounds: int, candidates: dict[str, Callable[[], float]]
) -> dict[str, list[float]]:
    """Let the candidates take turns; each returns its time per unit of work.

    Returns:
        The times of each candidate, one a round. The order turns too, so that none is always first.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in tqdm(range(rounds), leave=False, disable=not sys.stderr.isatty()):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(candidates[name]())
    return times


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum, maximum and count."""
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high, "n": len(values)}


def compare_to(times: dict[str, list[float]], reference: str) -> dict[str, Any]:
    """Each candidate's times, and how many times faster than the reference it was, by round."""
    return {
        name: {
            "seconds": summarize(seconds),
            "speedup": summarize([r / t for r, t in zip(times[reference], seconds, strict=True)]),
        }
        for name, seconds in times.items()
    }


def seconds_per_update(steps: Iterator[int], seconds: float) -> Callable[[], float]:
    """A candidate: seconds per update, over about as many as fill the given seconds, at least one.

    Args:
        steps: makes updates, or does other work again and again, and yields its number so far.
        seconds: that one measurement takes.
    """
    reached = next(steps)  # whatever is done once, such as loading compiled code, is done now

    def measure(duration: float = seconds) -> float:
        nonlocal reached
        before, started = reached, time.perf_counter()
        while reached == before or time.perf_counter() - started < duration:
            reached = next(steps)
        return (time.perf_counter() - started) / (reached - before)

    measure(seconds / 4)
    return measure


def seconds_per_unit(work: Callable[[], Any], units: int = 1) -> Callable[[], float]:
    """A candidate: the seconds that a piece of work takes, divided by its units."""

    def measure() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / units

    return measure


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function, which a new process can import by its name, returns there."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def peak_mebibytes() -> float | None:
    """The most memory that this process has had in use; None where the system does not tell.

    Linux tells it in /proc; getrusage there counts the parent's too, before the process began.
    """
    with contextlib.suppress(OSError, ImportError):
        if sys.platform == "linux":
            found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
            return float(found[1]) / 2**10 if found else None
        import resource  # POSIX only

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, else KiB
    return None


def show_mebibytes(peak: float | None) -> str:
    """As in the tables; a dash where it is not known."""
    return "–" if peak is None else f"{peak:,.0f}"


def print_comparison(title: str, results: dict[str, Any], unit: str, scale: float) -> None:
    """A table: a row for each candidate, medians with [minimum, maximum]."""
    print(f"\n{title} ({unit}; speed-up over the first, round by round)")
    for group, rows in results.items():
        for name, row in rows.items():
            cost, ratio = row["seconds"], row["speedup"]
            print(
                f"  {group:<2} {name:<34} {cost['median'] * scale:>10,.1f} "
                f"[{cost['min'] * scale:,.1f}, {cost['max'] * scale:,.1f}]  "
                f"x {ratio['median']:.1f} [{ratio['min']:.1f}, {ratio['max']:.1f}]  n={cost['n']}"
            )
