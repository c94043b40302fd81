"""The doctor beside a running training: what it suspects, and in the end what it finds."""

from __future__ import annotations

from pathlib import Path

from rnn_tutorial.doctor.evidence import Files, read_evidence
from rnn_tutorial.doctor.run_checks import check_run, describe_run


class Watch:
    """Reads the metrics of a run after each evaluation: some 20 µs for each logged line.

    The files of a run on labelled examples are looked at once.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: set[str] = set()
        self._files: Files | None = None

    def look(self) -> list[str]:
        """A line for each finding that the metrics alone show for the first time."""
        evidence = read_evidence(str(self._folder), with_network=False, files=self._files)
        self._files = evidence.files
        findings = check_run(evidence)
        new = [finding for finding in findings if finding.name not in self._said]
        self._said |= {finding.name for finding in new}
        return [f"doctor, so far: {f.name}: {f.seen}; try {f.advice}" for f in new]

    def report(self) -> None:
        """Print the findings as `python -m rnn_tutorial.diagnose` does."""
        try:
            evidence = read_evidence(str(self._folder), files=self._files)
        except ValueError as error:  # stopped before anything was logged
            print(f"\nDoctor: {error}")
        else:
            print(f"\nDoctor: {describe_run(evidence, check_run(evidence))}")
