"""The corpus of the gallery: whole files are held out, and bad files are refused by name."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_tutorial.gallery.corpus import Alphabet, TextFile, read_corpus, read_text


@pytest.fixture(scope="module")
def library():
    return read_corpus()


def test_the_standard_library_is_split_by_whole_files(library):
    train, held_out = ({file.name for file in part} for part in (library.train, library.held_out))
    assert {"argparse.py", "json/decoder.py"} <= train | held_out
    assert train.isdisjoint(held_out) and len(held_out) == len(train | held_out) // 20
    folders = {folder for name in train | held_out for folder in name.split("/")[:-1]}
    assert folders.isdisjoint({"test", "tests", "encodings", "pydoc_data"}) and "json" in folders
    assert sum(len(file.text) for file in library.train) > 5_000_000
    assert re.fullmatch(r"the standard library of Python 3\.\d+", library.source)


def test_few_files_hold_out_the_end_of_each(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_bytes(f"{name}1\r\n".encode() * 100)
    names = [str(tmp_path / f"{name}.txt") for name in "ab"]
    corpus = read_corpus(names)
    assert [file.text for file in corpus.held_out] == ["a1\n" * 5, "b1\n" * 5]
    assert [file.text for file in corpus.train] == ["a1\n" * 95, "b1\n" * 95]
    assert corpus.source == "2 files"
    same = read_corpus(text_dir=str(tmp_path))
    assert [file.text for file in same.train] == [file.text for file in corpus.train]
    (tmp_path / "a.txt").write_text("b")
    assert read_corpus(names).fingerprint != corpus.fingerprint


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "there is no text"), (b"a\xff\n", "byte 1 is 0xff"), (b"a\0b", "NUL characters")],
)
def test_a_file_without_text_is_refused(tmp_path, content, reason):
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"--text_file .*{reason}"):
        read_corpus([str(path)])
    with pytest.raises(ValueError, match=f"--text_dir .*{reason}"):
        read_corpus((), str(tmp_path))


def test_the_name_of_a_file_may_be_no_utf_8(tmp_path):
    for byte in (b"\xfe", b"\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + byte + b".txt")).write_text("a text\n" * 30)
    assert len(read_corpus((), str(tmp_path)).fingerprint) == 64


def test_a_folder_is_read_past_folders_and_broken_links(tmp_path):
    (tmp_path / "x.py").mkdir()
    (tmp_path / ".#a.py").symlink_to("nowhere")
    (tmp_path / "a.py").write_text("a = 1\n" * 30)
    assert [file.name for file in read_corpus((), str(tmp_path)).train] == ["a.py"]


@pytest.mark.parametrize(
    ("cookie", "byte", "expected"),
    [("latin-1", b"\xe9", "é"), ("cp1251", b"\xe9", "й"), ("utf-8", "é".encode(), "é")],
)
def test_a_python_file_is_read_as_it_declares(tmp_path, cookie, byte, expected):
    path = tmp_path / "old.py"
    path.write_bytes(f"# -*- coding: {cookie} -*-\r\nx = '".encode() + byte + b"'\r\n")
    assert read_text(path) == f"# -*- coding: {cookie} -*-\nx = '{expected}'\n"


@pytest.mark.parametrize("cookie", ["rot13", "no_such_encoding", "utf-8"])
def test_a_python_file_that_declares_what_it_is_not_is_refused(tmp_path, cookie):
    path = tmp_path / "odd.py"
    path.write_bytes(f"# coding: {cookie}\nx = '".encode() + b"\xe9'\n")
    with pytest.raises(ValueError, match=r"odd.py' is not UTF-8 text: byte \d+ is 0xe9"):
        read_text(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(200_000_001)  # sparse: it takes no room on the disk
    with pytest.raises(ValueError, match=r"huge.txt' has 200,000,001 bytes, more than 200,000,000"):
        read_corpus([str(path)])


def test_folders_and_files_that_are_not_there_are_refused(tmp_path):
    for arguments, reason in (
        (([str(tmp_path / "none.txt")],), "^--text_file '.*none.txt.*No such file"),
        (((), str(tmp_path / "none")), "--text_dir .*none' is not a folder"),
        (((), str(tmp_path)), r"has no \*\.py, \*\.txt or \*\.md files"),
        ((["a"], "b"), "--text_file cannot be combined with --text_dir"),
        (([str(tmp_path)],), "is not a regular file"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_corpus(*arguments)


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_an_alphabet_gives_back_what_it_knows(text, characters):
    alphabet = Alphabet(sorted(set(characters)))
    expected = "".join(char if char in characters else "\N{REPLACEMENT CHARACTER}" for char in text)
    ids = alphabet.encode(text)
    assert alphabet.decode(ids) == expected and len(ids) == len(text)
    assert all(0 <= i < len(alphabet) for i in ids)


def test_rare_characters_of_a_long_text_have_no_id_of_their_own():
    text = "ab" * 200_000 + "é" * 19 + "ö" * 20
    assert Alphabet.of([TextFile("a", text)]).characters == "abö"
    assert Alphabet.of([TextFile("a", "ab\né")]).characters == "\nabé"
