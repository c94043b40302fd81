"""The text task: its batches, its measures, sampling, the lossless coder, and its commands."""

import bz2
import gzip
import json
import math
import random
import re
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import cut_short, refusal, status_of
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_tutorial.gallery import coder, text, text_measures
from rnn_tutorial.gallery.coder import Network, compress, decompress
from rnn_tutorial.gallery.compressors import compressed_sizes
from rnn_tutorial.gallery.corpus import Alphabet, TextFile
from rnn_tutorial.gallery.text import CharacterModel, Pieces, TextConfig
from rnn_tutorial.gallery.text_measures import (
    bits_by_position,
    character_losses,
    functions_in,
    parsed_shares,
)
from rnn_tutorial.gallery.text_sampling import SampleSettings, draw

TINY = (
    *("--text_file", "novel.txt", "--embed_dim", 4, "--hidden_dim", 8, "--batch_size", 4),
    *("--seq_len", 16, "--warmup_step", 5, "--tracker", "disabled"),
)
TRAIN = (*TINY, "--total_steps", 60, "--eval_every", 30, "--save_every", 30)


def write_novel(folder):
    words = ["the", "old", "sea", "gave", "up", "its", "boat,", "nobody", "asked", "why\n"]
    source = random.Random(0)
    (folder / "novel.txt").write_text(" ".join(source.choices(words, k=4000)), encoding="utf-8")


def call(*arguments):
    return status_of(text.main, *arguments)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a text and a run that has learned a little of it. Read only."""
    folder = tmp_path_factory.mktemp("text")
    write_novel(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call("train", *TRAIN) == 0
    return folder


@pytest.fixture
def run_command(run_script):
    """Run the command to its end, as a user does."""
    return partial(run_script, "rnn_tutorial.gallery.text")


@pytest.fixture
def in_trained(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def make_network(characters="abcdefgh \n", hidden_dim=6, seed=0, cell="lstm", scale=4.0):
    """A network with random weights, large enough that its probabilities differ much."""
    torch.manual_seed(seed)
    alphabet = Alphabet(characters)
    model = CharacterModel(TextConfig(cell=cell, embed_dim=3, hidden_dim=hidden_dim), len(alphabet))
    with torch.no_grad():
        model.fc.weight *= scale
    return Network(model.eval(), alphabet)


def random_text(length, characters="abcdefgh \n", seed=0):
    return "".join(random.Random(seed).choices(characters, k=length))


# ---- batches ----


def make_pieces(size=1000, **changes):
    config = TextConfig(**{"batch_size": 4, "seq_len": 16, **changes})
    return Pieces(torch.arange(size), config)


def test_sequential_pieces_go_on_where_the_last_ones_ended_and_cover_the_text():
    pieces = make_pieces()
    round_ = [pieces.batch(step) for step in range(1000 // 4 // 16)]
    assert [is_first for *_, is_first in round_] == [True] + [False] * (len(round_) - 1)
    for (_, before, _), (x, targets, _) in pairwise(round_):
        assert (before[:, -1] == x[:, 0]).all() and ((x + 1) % 1000 == targets).all()
    seen = torch.cat([targets.flatten() for _, targets, _ in round_])
    assert len(seen.unique()) == len(seen) == 4 * 16 * 15
    assert pieces.batch(15)[2] and pieces.batch(15)[0][0, 0] != pieces.batch(0)[0][0, 0]


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_a_batch_is_a_function_of_seed_and_step(sampling):
    x, targets, _ = make_pieces(sampling=sampling).batch(33)
    again = make_pieces(sampling=sampling).batch(33)
    other = make_pieces(sampling=sampling, seed=1).batch(33)
    assert (x == again[0]).all() and (targets == again[1]).all()
    assert (x != other[0]).any()


def test_random_pieces_begin_anywhere_with_a_state_of_zeros():
    pieces = make_pieces(sampling="random")
    batches = [pieces.batch(step) for step in range(100)]
    assert all(is_first for *_, is_first in batches)
    starts = torch.cat([x[:, 0] for x, *_ in batches]).float()
    assert starts.min() < 50 and starts.max() > 950 and abs(starts.mean() - 500) < 60


def test_a_text_shorter_than_a_batch_is_refused():
    assert make_pieces(size=64).batch(0)
    with pytest.raises(ValueError, match=r"--batch_size 4 .* --seq_len 16 .* 64 .* has 63"):
        make_pieces(size=63)


# ---- model and measures ----


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_carried_state_continues_the_text(cell):
    model = make_network(cell=cell).model
    x = torch.randint(11, (3, 20))
    whole, last = model(x)
    first, state = model(x[:, :8])
    second, after = model(x[:, 8:], state)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-5)
    assert torch.allclose(after, last, atol=1e-5)


@torch.inference_mode()
def losses_of_one_pass(model, ids):
    """The definition: the whole text at once, the first character after an unknown one."""
    logits, _ = model(torch.cat([torch.zeros(1, dtype=torch.int64), ids[:-1]])[None])
    return -logits[0].double().log_softmax(1)[torch.arange(len(ids)), ids].numpy()


@pytest.mark.parametrize("size", [1, 300, 16_007])
def test_losses_are_those_of_one_pass(size):
    network = make_network()
    ids = torch.from_numpy(network.alphabet.encode(random_text(size)))
    expected = losses_of_one_pass(network.model, ids)
    assert np.abs(character_losses(network.model, ids).numpy() - expected).max() < 1e-3


def test_bits_by_position_are_those_of_pieces():
    network = make_network()
    ids = torch.from_numpy(network.alphabet.encode(random_text(600)))
    figures = bits_by_position(network.model, ids)
    carried = losses_of_one_pass(network.model, ids)[1:513].reshape(2, 256).mean(0) / math.log(2)
    assert np.allclose(figures["bits_by_position_state_carried"], carried, atol=1e-4)
    zeros = []
    with torch.inference_mode():
        for start in (0, 256):
            logits = network.model(ids[None, start : start + 256])[0][0].log_softmax(-1)
            zeros.append(-logits[torch.arange(256), ids[start + 1 : start + 257]] / math.log(2))
    expected = torch.stack(zeros).mean(0).tolist()
    assert np.allclose(figures["bits_by_position_state_zero"], expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"--by_position needs .* more than 256 .* has 256"):
        bits_by_position(network.model, ids[:256])


def test_a_function_that_does_not_end_is_found_out_at_once():
    assert functions_in("def endless():\n" + 500 * "        pass\n") == []


def test_functions_are_found_and_parsed():
    source = (
        "import x\ndef good(a):\n    if a:\n\n        return 1\n\n@d\ndef bad(:\n    x = = 1\n\n"
        "class C:\n    def method(self):\n        pass\ndef unfinished():\n    pas"
    )
    good, bad = functions_in(source)
    assert good == "def good(a):\n    if a:\n\n        return 1\n\n"
    assert bad == "def bad(:\n    x = = 1\n\n"
    assert parsed_shares([good, bad]) == (1 / 2, 3 / 5)
    assert parsed_shares([]) == (0.0, 0.0)


def test_other_compressors_are_the_programs_themselves():
    train = random_text(30_000, seed=1).encode()
    held_out = train[5_000:9_000] + random_text(2_000, seed=2).encode()
    sizes = compressed_sizes(train, held_out)
    assert sizes["gzip"] == len(gzip.compress(held_out, 9))
    assert sizes["bz2"] == len(bz2.compress(held_out, 9))
    # Two thirds of it are in the training text.
    for name in ("xz_after_training", "zstd_with_dictionary"):
        assert sizes["xz"] / 4 < sizes[name] < sizes["xz"] / 2, name


# ---- sampling ----


def test_temperature_zero_and_top_1_take_the_likeliest():
    network = make_network()
    prompt = torch.from_numpy(network.alphabet.encode("ab"))
    expected = [0, *prompt.tolist()]
    with torch.inference_mode():
        for _ in range(30):
            expected.append(int(network.model(torch.tensor([expected]))[0][0, -1, 1:].argmax()) + 1)
    for how in (SampleSettings(temperature=0), SampleSettings(top_k=1, temperature=2)):
        drawn = [int(ids[1]) for ids in islice(draw(network.model, prompt, 2, how), 30)]
        assert drawn == expected[3:]


@pytest.mark.parametrize(("temperature", "top_k"), [(0.5, 0), (1.0, 4), (2.0, 0), (1e-310, 3)])
def test_characters_are_drawn_as_often_as_they_are_likely(temperature, top_k):
    network = make_network()
    prompt = torch.from_numpy(network.alphabet.encode("hb"))
    how = SampleSettings(temperature=temperature, top_k=top_k, num_chars=1, seed=3)
    (drawn,) = draw(network.model, prompt, 20_000, how)
    counts = np.bincount(drawn, minlength=11) / 20_000
    with torch.inference_mode():
        scores = network.model(torch.cat([torch.zeros(1, dtype=torch.int64), prompt])[None])[0]
    scores = scores[0, -1].double().numpy()
    scores[0] = -np.inf  # unknown characters are never drawn
    if top_k:
        scores[np.argsort(scores)[:-top_k]] = -np.inf
    likely = np.exp((scores - scores.max()) / max(temperature, 1e-9))
    assert np.abs(counts - likely / likely.sum()).max() < 0.015
    again = next(draw(network.model, prompt, 20_000, how))
    assert (drawn == again).all()


# ---- compression ----


@settings(max_examples=30)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode)))
def test_whatever_bytes_are_compressed_come_back(content):
    network = make_network("aé\n \r0")
    assert decompress(compress(content, network), network) == content


@pytest.mark.parametrize(("cell", "ending"), [("rnn", "\n"), ("gru", "\r\n"), ("lstm", "\r\n")])
def test_a_long_text_comes_back_and_takes_the_bits_that_the_network_says(cell, ending, monkeypatch):
    monkeypatch.setattr(coder, "FIRST_CHARACTERS", 100)
    monkeypatch.setattr(coder, "CHARACTERS_PER_LANE", 400)
    network = make_network(cell=cell)
    content = random_text(3_001).replace("\n", ending).encode() + b"\xff\xfe\x00"
    packed = compress(content, network)
    assert decompress(packed, network) == content
    ids = torch.from_numpy(network.alphabet.encode(content.decode("latin-1")))
    ideal = character_losses(network.model, ids).sum().item() / math.log(2) / 8
    assert abs(len(packed) - ideal) < 0.02 * ideal + 150


def test_lanes_cover_the_text_once():
    for count in (1_001, 5_096, 5_097, 9_193, 200_001):
        starts, lengths = coder._lanes(1_000, count)
        places = [place for s, n in zip(starts, lengths, strict=True) for place in range(s, s + n)]
        assert places == list(range(1_000, count))
        assert list(lengths) == sorted(lengths, reverse=True) and lengths[0] - lengths[-1] <= 1


def test_every_damage_is_refused():
    network = make_network()
    packed = compress("abc é\nhead".encode(), network)
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match=r"it (is damaged|was not written by)"):
            decompress(bytes(damaged), network)
        with pytest.raises(ValueError, match=r"it (is damaged|was not written by)"):
            decompress(packed[:place], network)
    with pytest.raises(ValueError, match="it is damaged"):
        decompress(packed + b"\0", network)


def test_files_of_another_network_or_arithmetic_are_refused():
    network, other = make_network(), make_network(seed=1)
    packed = compress(random_text(300).encode(), network)
    with pytest.raises(ValueError, match="compressed with another network"):
        decompress(packed, other)
    other.identity = network.identity  # as if the same weights gave other products
    with pytest.raises(ValueError, match="this machine or its PyTorch rounds differently"):
        decompress(packed, other)


def test_threads_are_as_they_were():
    network = make_network()
    torch.set_num_threads(2)
    try:
        packed = compress(b"abc" * 100, network)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert decompress(packed, network) == b"abc" * 100


# ---- the commands ----


def test_training_cut_and_resumed_gives_the_same_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_novel(tmp_path)
    flags = (*TINY, "--total_steps", 160, "--save_every", 40, "--eval_every", 80)
    assert call("train", *flags, "--dropout", 0.1, "--run_name", "whole") == 0
    whole = tmp_path / "output/gallery/whole"
    cut = cut_short(whole, whole.with_name("cut"))
    capsys.readouterr()
    assert call("train", "--resume", cut) == 0
    assert "resumed at step 40" in capsys.readouterr().out
    results = [json.loads((run / "result.json").read_text()) for run in (cut, whole)]
    assert results[0]["weights_hash"] == results[1]["weights_hash"]
    assert results[0]["figures"] == results[1]["figures"]


def test_quick_training_learns_from_the_standard_library(run_command, tmp_path):
    flags = ("--quick", "--total_steps", 30, "--warmup_step", 5, "--hidden_dim", 16)
    done = run_command("train", *flags, "--tracker", "disabled", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "characters of the standard library of Python" in done.stdout
    assert "bits per character: " in done.stdout
    assert done.stdout.splitlines()[-1] == (
        'Next: python -m rnn_tutorial.gallery.text sample --prompt "def " --run output/gallery/text'
    )


def test_a_file_compressed_by_one_process_is_restored_by_another(run_command, in_trained, tmp_path):
    content = (in_trained / "novel.txt").read_bytes()[:3_000].replace(b"\n", b"\r\n") + b"\xff"
    (tmp_path / "page.txt").write_bytes(content)
    run = in_trained / "output/gallery/text"
    done = run_command("compress", "page.txt", "--run", run, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    size = (tmp_path / "page.txt.rnn").stat().st_size
    share = f"{size / len(content):.1%} of its size"
    assert done.stdout == f"page.txt.rnn: {size:,} bytes for {len(content):,}, {share}\n"
    assert size < 0.6 * len(content)
    assert call("decompress", tmp_path / "page.txt.rnn", "--output", tmp_path / "copy") == 0
    assert (tmp_path / "copy").read_bytes() == content


def test_evaluation_is_json(in_trained, capsys, monkeypatch):
    monkeypatch.setattr(text_measures, "NUM_SAMPLES", 3)
    monkeypatch.setattr(text_measures, "MAX_FUNCTION", 20)
    assert call("evaluate", "--json", "--baselines", "--by_position", "--parse_share") == 0
    figures = json.loads(capsys.readouterr().out)
    novel = (in_trained / "novel.txt").read_text()
    held_out = novel[len(novel) - len(novel) // 20 :]
    assert figures["characters"] == len(held_out) and figures["step"] == 60
    assert math.isclose(figures["perplexity"], 2 ** figures["bits"])
    assert figures["bz2_bits"] == 8 * len(bz2.compress(held_out.encode())) / len(held_out)
    assert 0 < figures["compressed_bits"] - figures["bits"] < 8 * 60 / len(held_out) + 0.05
    network, *_ = text.load(None)
    ids = text.encode(network.alphabet, [TextFile("", held_out)])
    expected = losses_of_one_pass(network.model, ids).mean() / math.log(2)
    assert math.isclose(figures["bits"], expected, rel_tol=1e-4)
    assert len(figures["bits_by_position_state_zero"]) == 256
    assert {f"functions_parsed_at_{t}" for t in (0.3, 0.5, 0.7, 1.0)} <= figures.keys()
    recorded = json.loads((in_trained / "output/gallery/text/result.json").read_text())
    assert recorded["figures"]["bits"] == figures["bits"]
    assert call("evaluate", "--by_position") == 0
    assert capsys.readouterr().out.startswith("bits per character: ")


def test_a_prompt_is_continued_the_same_way_with_the_same_seed(in_trained, capsys):
    flags = ("sample", "--num_chars", 40, "--seed", 5, "--top_k", 5)
    outputs = []
    for prompt in ("the sea", "the sea", "the ☃ sea\x1b"):
        assert call(*flags, "--prompt", prompt) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1] and outputs[0].err == ""
    assert outputs[0].out.startswith("the sea") and len(outputs[0].out) == 7 + 40 + 1
    assert outputs[2].out.startswith("the ☃ sea\\x1b")  # the terminal does not obey it
    assert outputs[2].err.startswith("The network does not know \\x1b☃; ")


def test_several_files_are_learned(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_novel(tmp_path)
    (tmp_path / "more.txt").write_text("zebra " * 500)
    assert call("train", *TRAIN, "--text_file", "more.txt", "--sampling", "random") == 0
    assert "characters of 2 files" in capsys.readouterr().out
    config = json.loads((tmp_path / "output/gallery/text/config.json").read_text())
    assert config["text_file"] == ["novel.txt", "more.txt"]
    assert call("train", "--resume", "output/gallery/text") == 0
    assert "is finished" in capsys.readouterr().out
    assert call("evaluate") == 0


def refused(capsys, *arguments):
    """The sentence with which a command is refused."""
    return refusal(capsys, text.main, *arguments)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "'bad.txt' cannot be read: No such file"),
        (b"", "there is no text in it"),
        (b"short", "has 5"),
        (b"x" * 100, "need a text of 2,048 characters to learn from; this one has 95"),
        (b"text\0" * 1000, "'bad.txt' is not a text file: it contains NUL"),
        ("é".encode("latin-1") * 1000, "'bad.txt' .*UTF-8"),
    ],
)
def test_a_bad_text_is_refused(tmp_path, monkeypatch, capsys, content, reason):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    assert_matches(refused(capsys, "train", "--text_file", "bad.txt"), reason)
    assert not (tmp_path / "output").exists()


def assert_matches(sentence, reason):
    assert re.search(reason, sentence), sentence


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "--text_file", "novel.txt", "--text_dir", "."], "--text_file cannot be comb"),
        (["train", "--text_dir", "nowhere"], "--text_dir 'nowhere' is not a folder"),
        (["train", "--sampling", "any"], "--sampling 'any' is not one of sequential, random"),
        (["train", "--seq_len", 0], "--seq_len 0 is not a whole number from 1 to"),
        (["train", "--cell", "transformer"], "--cell 'transformer' is not one of rnn, gru, lstm"),
        (
            ["train", "--resume", "output/gallery/text", "--text_file", "notes.txt"],
            "--text_file notes.txt differs from the resumed run's",
        ),
        (["sample", "--temperature", -1], "--temperature -1.0 is not a number from 0 to 100"),
        (["sample", "--top_k", -1], "--top_k -1 is not a whole number from 0"),
        (["sample", "--num_chars", 0], "--num_chars 0 is not a whole number from 1"),
        (["sample", "--run", "nowhere"], "nowhere"),
        (["sample", "--run", "novel.txt"], "'novel.txt' is damaged or not a checkpoint"),
        (["compress", "nowhere"], "'nowhere' cannot be read"),
        (["compress", "no/where"], "'no/where' cannot be read"),
        (["compress", "."], "is not a regular file"),
        (["compress", "huge.bin"], f"'huge.bin' has {2**32:,} bytes, more than "),
        (["decompress", "huge.bin", "--output", "n"], f"'huge.bin' has {2**32:,} bytes"),
        (["compress", "novel.txt", "--output", ""], "--output '' is empty"),
        (["compress", "novel.txt", "--output", "novel.txt"], "'novel.txt' exists; name another"),
        (
            ["compress", "novel.txt", "--output", "no/where"],
            "'no/where': there is no folder 'no'",
        ),
        (["decompress", "novel.txt"], "'novel.txt' does not end in .rnn"),
        (["decompress", "novel.txt", "--output", "n"], "'novel.txt': it was not written by the co"),
    ],
)
def test_bad_requests_are_refused(in_trained, capsys, arguments, reason):
    with Path("huge.bin").open("wb") as huge:
        huge.truncate(2**32)  # a hole, four gigabytes on paper
    before = sorted(path.name for path in in_trained.iterdir())
    assert_matches(refused(capsys, *arguments), reason)
    assert sorted(path.name for path in in_trained.iterdir()) == before


def test_a_folder_whose_held_out_files_are_empty_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text("some text\n" * 500 * (number < 19))
    sentence = refused(capsys, "train", "--text_dir", ".")
    assert sentence.endswith("the files that are held out, or the twentieth of each, are empty")


def test_a_text_that_has_changed_is_not_evaluated_nor_learned_on(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "novel.txt").write_text("another text\n" * 500)
    run = trained / "output/gallery/text"
    assert_matches(refused(capsys, "evaluate", "--run", run), "has learned: it has changed since")
    assert_matches(refused(capsys, "train", "--resume", run), "the data have changed")


def test_a_refusal_as_a_user_sees_it(run_command, tmp_path):
    done = run_command("sample", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "python -m rnn_tutorial.gallery.text: error: there is no trained run of 'text' in "
        "'output/gallery'; train first: python -m rnn_tutorial.gallery.text train\n"
    )
