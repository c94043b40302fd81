"""Findings: how they read."""

from rnn_tutorial.doctor.findings import Finding, describe


def test_a_finding_tells_what_was_seen_what_it_means_and_what_to_try():
    finding = Finding("no-loss", "a loss of 0", "it is solved", "--total_steps 1", "likely")
    assert describe([finding, finding]).splitlines() == 2 * [
        "no-loss (likely)",
        "  seen: a loss of 0",
        "  means: it is solved",
        "  try: --total_steps 1",
    ]


def test_health_is_one_sentence():
    assert describe([]) == "No findings."
