"""Findings: how they read, how they are ranked, and whether their tables are complete."""

import fnmatch
import re
from pathlib import Path

import pytest

from rnn_tutorial.doctor import data_findings, loop_findings, module_findings, run_findings
from rnn_tutorial.doctor.findings import Finding, FindingTable, describe, rank, user_error

ROOT = Path(__file__).parent.parent.parent
TABLES = {
    "data": data_findings.TABLE,
    "loops": loop_findings.TABLE,
    "modules": module_findings.TABLE,
    "runs": run_findings.TABLE,
}


def test_a_finding_tells_what_was_seen_what_it_means_what_to_try_and_where_to_read_on():
    finding = Finding("no-loss", "a loss of 0", "it is solved", "--lr 1", "likely", "README.md")
    assert describe([finding, finding]).splitlines() == 2 * [
        "no-loss (likely)",
        "  seen: a loss of 0",
        "  means: it is solved",
        "  try: --lr 1",
        "  see: README.md",
    ]


def test_health_is_followed_by_what_was_looked_at():
    assert describe([]) == "No findings."
    assert describe([], ["8 rows"], ["the tokens"]).splitlines() == [
        "No findings.", "Looked at:", "  8 rows", "Not asked:", "  the tokens"
    ]  # fmt: skip


def test_a_table_is_read_with_its_lessons_and_long_lines():
    table = FindingTable("""
[a.md]
one: it means
    this
  try {what}
    or {less}
  explains: two, three
[b.md#c]
two: that
  {"braces"}
""")
    assert table.found("one", "seen", "likely", what="more", less="less") == Finding(
        "one", "seen", "it means this", "try more or less", "likely", "a.md", ("two", "three")
    )
    assert table.found("two", "seen") == Finding(
        "two", "seen", "that", '{"braces"}', lesson="b.md#c"
    )


def test_of_two_findings_that_explain_each_other_the_first_stays():
    def made(name, explains):
        return Finding(name, "", "", "", "likely", explains=(explains,))

    found = [made("saturated", "exploding"), made("exploding", "saturated"), made("slow", "none")]
    assert [finding.name for finding in rank(found)] == ["saturated", "slow"]


def test_the_surest_comes_first_and_a_cause_hides_only_what_is_no_surer():
    def made(name, confidence, *explains):
        return Finding(name, "", "", "", confidence, explains=explains)

    cause = made("cause", "likely", "*u*", "weak")  # itself, too, by this pattern
    others = [made("weak", "possible"), made("equal", "likely"), made("sure", "certain")]
    assert [f.name for f in rank([*others, cause])] == ["sure", "cause"]
    assert rank([made("twice", "possible"), made("twice", "certain")])[0].confidence == "certain"
    assert len(rank([made("a", "likely"), made("a", "likely")])) == 1


@pytest.mark.parametrize("area", TABLES)
def test_every_finding_has_an_advice_and_a_lesson_that_exists(area):
    names = set(TABLES[area])
    for finding in TABLES[area].values():
        assert finding.meaning and finding.advice, finding.name
        for pattern in finding.explains:
            assert fnmatch.filter(names - {finding.name}, pattern), pattern
        path, _, anchor = finding.lesson.partition("#")
        heads = re.findall(r"^#+ (.+)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\s-]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in slugs, finding.lesson


def test_an_error_of_a_worker_is_told_with_the_place_in_the_users_file():
    error = KeyError(
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "/x/site-packages/torch/fetch.py", line 5\n  File "/home/me/set.py", line '
        "7, in __getitem__\n    self.x[i]\nKeyError: 3\n"
    )
    assert str(user_error(error)).startswith("/home/me/set.py:7: KeyError: 3")


def test_an_error_of_syntax_is_told_with_its_line(tmp_path):
    try:
        compile("x = 1\ny = = 2\n", str(tmp_path / "mine.py"), "exec")
    except SyntaxError as error:
        told = str(user_error(error))
    assert told == f"{tmp_path / 'mine.py'}:2: SyntaxError: invalid syntax"
