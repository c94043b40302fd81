"""Sequence to sequence: the network, its training, and the command as a user types it."""

import json
import re
from dataclasses import replace

import pytest
import torch
from conftest import cut_short, run_here, status_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rnn_tutorial.gallery import addition_report
from rnn_tutorial.gallery.addition import AdditionConfig, main, make_translator
from rnn_tutorial.gallery.pairs import END, IGNORED, Batch, Pairs, describe_pairs
from rnn_tutorial.gallery.sums import choose_pairs, make_sums

SMALL = {"hidden_dim": 8, "embed_dim": 4, "device": "cpu", "num_threads": 1, "embed_noise": 0.0}
QUICKLY = (
    *("--quick", "--num_pairs", 200, "--hidden_dim", 8, "--total_steps", 80, "--warmup_step", 5),
    *("--save_every", 10, "--eval_every", 80, "--log_every", 40, "--batch_size", 16),
    *("--tracker", "disabled", "--device", "cpu", "--num_threads", 1),
)
PAIRS = Pairs(["535+61", "9+9", "0+100"], ["596", "18", "100"])


def make_small(**settings):
    """A translator with first weights, and its pairs as a batch."""
    config = AdditionConfig(**{**SMALL, **settings})
    torch.manual_seed(1)
    translator = make_translator(config, describe_pairs(PAIRS, PAIRS, config.units))
    translator.model.eval()
    return translator, Batch.of(PAIRS, translator.source_units, translator.target_units)


# ---- the network ----


@pytest.mark.parametrize("settings", [{"cell": "rnn"}, {"cell": "lstm", "num_layers": 2}, {}])
@pytest.mark.parametrize("num_heads", [0, 1, 2])
def test_padding_changes_nothing(settings, num_heads):
    translator, batch = make_small(num_heads=num_heads, **settings)
    together = translator.model(batch)
    for row, (source, target) in enumerate(zip(PAIRS.sources, PAIRS.targets, strict=True)):
        sides = translator.source_units, translator.target_units
        alone = translator.model(Batch.of(Pairs([source], [target]), *sides))[0]
        torch.testing.assert_close(together[row, : len(target) + 1], alone)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_one_call_of_the_decoder_is_many_steps_of_it(cell):
    translator, batch = make_small(cell=cell)
    model = translator.model
    memory = model.encode(batch.source, batch.lengths)
    state, read, logits = memory.state, torch.full((3, 1), END), []
    for t in range(batch.target.shape[1]):
        step_logits, state, _ = model.decode(read, state, memory)
        logits.append(step_logits)
        read = batch.target[:, t : t + 1].clamp(min=END)
    torch.testing.assert_close(model(batch), torch.cat(logits, dim=1))


def test_without_a_teacher_the_decoder_reads_what_it_has_written():
    translator, batch = make_small()
    is_taught = torch.tensor([True, False, False])
    taught = translator.model(batch)
    mixed = translator.model(replace(batch, is_taught=is_taught))
    torch.testing.assert_close(mixed[0], taught[0])
    own = Batch(batch.source, batch.lengths, mixed.argmax(-1), batch.is_taught)
    torch.testing.assert_close(translator.model(own)[1:], mixed[1:])
    assert not mixed[1:].allclose(taught[1:])


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_is_a_softmax_of_dot_products_over_the_units_of_the_source(num_heads):
    """Unit by unit, head by head; each head has every num_heads-th number of a state."""
    translator, batch = make_small(num_heads=num_heads)
    model = translator.model
    memory = model.encode(batch.source, batch.lengths)
    read = torch.tensor([[END, 1]] * 3)
    output, _ = model.decoder(model.embed_target(read), memory.state)
    logits, _, shares = model.decode(read, memory.state, memory)
    for row, length in enumerate(batch.lengths.tolist()):
        asked, offered = output[row], memory.outputs[row, :length]
        of_heads = [
            torch.softmax(asked[:, head::num_heads] @ offered[:, head::num_heads].T, dim=-1)
            for head in range(num_heads)
        ]
        torch.testing.assert_close(shares[row, :, :length], sum(of_heads) / num_heads)
        assert not shares[row, :, length:].any()
        seen = torch.empty_like(asked)
        for head, share in enumerate(of_heads):
            seen[:, head::num_heads] = share @ offered[:, head::num_heads]
        both = torch.cat([asked, seen], dim=-1)
        torch.testing.assert_close(logits[row], model.fc(model.combine(both).tanh()))


def test_noise_is_added_in_training_only():
    translator, batch = make_small(embed_noise=0.5)
    model = translator.model
    assert model(batch).equal(model(batch))
    model.train()
    assert not model(batch).equal(model(batch))


def test_attention_shows_the_steps_at_which_the_answer_was_written():
    translator, batch = make_small()
    memory = translator.model.encode(batch.source, batch.lengths)
    read = F.pad(batch.target[:, :-1], (1, 0), value=END).clamp(min=END)
    shares = translator.model.decode(read, memory.state, memory)[2]
    shown = torch.from_numpy(translator.attention("9+9", "18"))
    torch.testing.assert_close(shown, shares[1, :2, :3])


# ---- batches ----


@settings(max_examples=10)
@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**9), share=st.floats(0, 1))
def test_a_batch_is_a_function_of_seed_and_step(seed, step, share):
    _, batch = make_small()
    drawn, again = (batch.draw(seed, step, 5, share) for _ in range(2))
    assert drawn.source.equal(again.source) and drawn.is_taught.equal(again.is_taught)
    rows = {tuple(row) for row in batch.target.tolist()}
    assert {tuple(row) for row in drawn.target.tolist()} <= rows


def test_batches_differ_and_the_share_of_the_taught_is_as_asked():
    _, batch = make_small()
    drawn = [batch.draw(0, step, 1000, 0.3) for step in range(4)]
    assert len({tuple(part.lengths.tolist()) for part in drawn}) == 4
    share = torch.cat([part.is_taught for part in drawn]).float().mean().item()
    assert abs(share - 0.3) < 0.05


def test_targets_end_and_their_padding_is_ignored():
    _, batch = make_small()
    assert batch.lengths.tolist() == [6, 3, 5]
    assert batch.target[:, -1].tolist() == [END, IGNORED, END]
    assert batch.target[1, 2] == END


# ---- training ----


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which a tiny network was trained: output/gallery/addition. Read only."""
    folder = tmp_path_factory.mktemp("addition")
    flags = (*QUICKLY, "--teacher_forcing", 0.5)
    done = run_here("rnn_tutorial.gallery.addition", "train", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "evaluate --run output/gallery/addition" in done.stdout
    return folder


def test_a_run_that_was_cut_goes_on_as_if_nothing_had_happened(trained, tmp_path):
    whole = trained / "output/gallery/addition"
    cut = cut_short(whole, tmp_path / "cut")
    assert main(["train", "--resume", str(cut)]) == 0
    hashes = [
        json.loads((place / "result.json").read_text())["weights_hash"] for place in (cut, whole)
    ]
    assert hashes[0] == hashes[1]


def test_words_are_learned(tmp_path, monkeypatch, capsys):
    words = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four"}
    lines = [f"{a}  {b}\t{words[b]} {words[a]}\n" for a in words for b in words]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    flags = (
        *("--pairs_file", "pairs.tsv", "--units", "words", "--hidden_dim", "32", "--lr", "0.02"),
        *("--total_steps", "150", "--warmup_step", "10", "--batch_size", "16"),
        *("--tracker", "disabled", "--device", "cpu", "--num_threads", "1"),
    )
    assert main(["train", *flags]) == 0
    assert main(["evaluate", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["pairs"] == 16 and figures["trained"] == 15 and figures["wrong_trained"] == 0
    config = AdditionConfig(pairs_file="pairs.tsv", units="words")
    source, target = next(zip(*vars(choose_pairs(config)[0]).values(), strict=True))
    assert main(["ask", source, "--figure", "a.png"]) == 0
    lines_said = capsys.readouterr().out.splitlines()
    assert lines_said[0].startswith(f"{source} -> {target}  (")
    assert lines_said[-4].split() == source.split() and lines_said[-1] == "Wrote a.png"
    assert [line.split()[0] for line in lines_said[-3:-1]] == target.split()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["ask", "eins hundert"]) == 0
    assert "Training has not seen 'hundert'." in capsys.readouterr().out
    (tmp_path / "pairs.tsv").write_text("".join(lines[1:]), encoding="utf-8")
    assert status_of(main, "evaluate") == 2
    said = capsys.readouterr().err
    assert "--pairs_file 'pairs.tsv' is not what" in said and "it has changed since" in said


def test_sources_with_several_targets_are_said(tmp_path, monkeypatch, capsys):
    lines = ["ja\tyes", "nein\tno", "ja\tyes", "ja\tyeah", "gut\tgood", "gut\twell", "da\tthere"]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    flags = ("--pairs_file", "pairs.tsv", "--tracker", "disabled", "--device", "cpu")
    assert main(["train", *flags, "--total_steps", "2", "--hidden_dim", "4"]) == 0
    sentence, *_ = capsys.readouterr().out.splitlines()
    said = re.fullmatch(r"2 sources, such as '(ja|gut)', have several targets; .*", sentence)
    assert said, sentence


# ---- evaluate and ask ----


def test_the_score_of_all_sums_is_kept(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    trained_sums = choose_pairs(AdditionConfig(num_pairs=200))[0]
    asked = [trained_sums.take(range(10)), make_sums([(999, 999), (1, 998)])]
    monkeypatch.setattr(addition_report, "all_sums", lambda: asked)
    for _ in range(2):
        assert main(["evaluate", "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert (figures["pairs"], figures["trained"]) == (12, 10)
        asked.clear()
    assert main(["evaluate"]) == 0
    assert f"wrong: {figures['wrong']} of 12" in capsys.readouterr().out


def test_longer_numbers_are_a_sample(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(addition_report, "_SAMPLE", 50)
    assert main(["evaluate", "--digits", "4", "--beam", "2"]) == 0
    assert "50 sums of two numbers of 4 digits" in capsys.readouterr().out


def test_an_answer_with_its_probability_and_rivals(trained, run_script, tmp_path):
    run = trained / "output/gallery/addition"
    flags = ("535+61", "--run", run, "--beam", 3)
    done = run_script("rnn_tutorial.gallery.addition", "ask", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("535+61 -> ") and lines[0].endswith("%)")
    assert lines[1] in ("That is right.", "That is wrong: it is 596.")
    assert lines[2] == "Rivals in the beam:" and len(lines[3:5]) == 2


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["ask", "535+"], "'535+' is not a sum of two numbers"),
        (["ask", "５+6"], "is not a sum"),
        (["ask", ""], "0 characters"),
        (["ask", "1+" + "1" * 1000], "1,002 characters"),
        (["ask", "1+1", "--figure", "a.jpg"], "'a.jpg' does not end in one of .png, .svg, .pdf"),
        (["ask", "1+1", "--figure", ""], "--figure '' does not end in one of"),
        (["ask", "1+1", "--figure", "nowhere/a.png"], "there is no folder 'nowhere'"),
        (["ask", "1+1", "--beam", "0"], "'0' is not a whole number from 1 to 100"),
        (
            ["ask", "1+1", "--beam", "1", "--length_penalty", "0.6"],
            "--length_penalty 0.6 has no effect with --beam 1",
        ),
        (["ask", "1+1", "--length_penalty", "nan"], "'nan' is not a number from 0 to 1"),
        (["evaluate", "--digits", "19"], "'19' is not a whole number from 1 to 18"),
        (["ask", "1+1", "--run", "nowhere"], "'nowhere'"),
        (["train", "--units", "words"], "--units words needs a --pairs_file"),
        (["train", "--pairs_file", "a", "--num_pairs", "9"], "--num_pairs 9 is about sums"),
        (["train", "--pairs_file", "a", "--no-reversed"], "--no-reversed is about sums"),
        (["train", "--hidden_dim", "7"], "--hidden_dim 7 is odd"),
        (["train", "--num_heads", "3"], "--num_heads 3 does not divide --hidden_dim 128"),
        (["train", "--teacher_forcing", "1.5"], "--teacher_forcing 1.5"),
        (["train", "--pairs_file", "missing.tsv"], "'missing.tsv'"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(trained, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(trained)
    status = status_of(main, *arguments)
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert reason in captured.err and captured.err.count("\n") == 1
