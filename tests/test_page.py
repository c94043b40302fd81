"""The page to play with: what it refuses, and what a browser makes of it."""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, run_here, status_of

import train_cls_rnn
from rnn_tutorial import page
from rnn_tutorial.evaluation.scorer import Scorer
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.runs.saved_run import load_run
from rnn_tutorial.tasks.choose import load_task

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
NETWORKS = {
    "two-layers": ("--num_layers", "2", "--dropout", "0.5"),
    "large-sum": ("--max_number", "999"),
    "relu": ("--nonlinearity", "relu", "--init", "identity"),
    "gru": ("--cell", "gru"),
    "lstm": ("--cell", "lstm"),
    "cycle": ("--task", "cycle_navigation"),
    "other": ("--task", "cycle_navigation", "--cell", "lstm", "--num_layers", "2"),
    "both-ways": ("--bidirectional",),
    "pooled": ("--pooling", "mean"),
    "normed": ("--num_layers", "2", "--layer_norm"),
    "wide": ("--hidden_dim", "512"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of small runs, trained for a few updates."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in NETWORKS.items():
        arguments = ("--save_dir", folder, "--run_name", name, "--engine", "autograd", *flags)
        few = ("--total_steps", 5, "--warmup_step", 0, "--tracker", "disabled", "--device", "cpu")
        assert run_here("train_cls_rnn.py", *arguments, *few, cwd=folder).returncode == 0
    return folder


def browse(text, script, tmp_path, *flags):
    """What a script returns that is run in a page: JSON; no error may be on its console."""
    head, body = text.split("<head>")
    watch = """<head><script>
      const errors = [];
      addEventListener("error", (event) => errors.push(event.message));
    </script>"""
    ask = f"""<pre id="returned"></pre><script>
      const returned = (() => {{ {script} }})();
      element("returned").textContent = JSON.stringify([returned, errors]);
    </script>"""
    (tmp_path / "browsed.html").write_text(head + watch + body + ask, "utf-8")
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags),
            "--disable-dev-shm-usage",
            *("--virtual-time-budget=5000", "--enable-logging=stderr", "--hide-scrollbars"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'browsed.html'}"),
        ],
        capture_output=True,
        check=True,
        timeout=100,
        encoding="utf-8",
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="returned">(.*?)</pre>', done.stdout, re.DOTALL)
    result, errors = json.loads(unescape(found[1]))
    assert errors == []
    return result


def test_the_dots_are_states_after_sequences_of_every_length(runs):
    checkpoint = load_run(runs / "two-layers")
    task = load_task(checkpoint)
    batches = task.dataset.draw_batches(first=0, count=1, batch_size=2000)
    clusters = page._find_clusters(load_model(checkpoint), task)
    assert len(clusters["points"]) == len(clusters["states"]) == 400
    answers = batches.targets[0, ::5].tolist()  # of a sum, they are the machine's states
    assert clusters["states"] == answers


@needs_browser
@pytest.mark.parametrize("names", [("two-layers", "lstm"), ("relu", "gru"), ("cycle", "other")])
def test_a_browser_answers_1_000_sequences_as_pytorch_does(names, runs, tmp_path):
    checkpoints = [load_run(runs / name) for name in names]
    generator = np.random.default_rng(0)
    num_tokens = 3 if names[0] == "cycle" else 10
    sequences = [generator.integers(0, num_tokens, generator.integers(1, 30)) for _ in range(1000)]
    script = f"""
      const sequences = {json.dumps([sequence.tolist() for sequence in sequences])};
      const answers = views.map(({{ network }}) => sequences.map((ids) => network.answer(ids)));
      const state = [3, 1, 2].map((id) => id % TOKENS.length).reduce(
        (state, id) => views[0].network.advance(state, id), views[0].network.start());
      return {{ answers, scores: Array.from(views[0].network.scores(state)) }};
    """
    seen = browse(page.make_page(checkpoints), script, tmp_path)
    flat, lengths = np.concatenate(sequences), np.array(list(map(len, sequences)))
    for checkpoint, answers in zip(checkpoints, seen["answers"], strict=True):
        expected, _ = Scorer(load_model(checkpoint)).classify(flat, lengths)
        np.testing.assert_array_equal(answers, expected)
    model = load_model(checkpoints[0])
    with torch.no_grad():
        ids = torch.tensor([[3, 1, 2]]) % num_tokens
        scores = model(ids, torch.tensor([3]))[0].numpy()
    np.testing.assert_allclose(seen["scores"], scores, rtol=1e-5, atol=1e-6)


USED = """
  const press = (key) => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true }));
  const count = () => element("count").textContent;
  const seen = { at_first: count(), wide: document.documentElement.scrollWidth <= innerWidth };
  press("ArrowLeft"); press("ArrowLeft");
  seen.after_two_back = count();
  press("Home"); press("ArrowLeft");
  seen.at_the_start = count();
  seen.nothing_read = document.querySelector(".verdict").textContent;
  const type = (text) => {
    element("sequence").value = text;
    element("typed").requestSubmit();
  };
  const refusal = (text) => {
    type(text);
    return element("refusal").textContent;
  };
  seen.refused = ["12 <b>x", " , "].map(refusal);
  seen.kept = page.sequence.length;
  type("9,9 0");
  seen.typed = [count(), element("refusal").textContent, element("said").textContent];
  seen.focus = document.activeElement.id;
  seen.right = MACHINE.outputs[page.right.at(-1)];
  element("more").lastElementChild.click();
  seen.long = [count(), document.querySelectorAll("#tokens span").length];
  seen.wrong = document.querySelector(".verdict").textContent;
  seen.ground = getComputedStyle(document.body).backgroundColor;
  const pixels = document.querySelector(".hidden canvas");
  const { data } = pixels.getContext("2d").getImageData(0, 0, pixels.width, pixels.height);
  seen.drawn = new Set(data).size;
  seen.unnamed = [...document.querySelectorAll("button, input, canvas, svg")].filter(
    (each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length),
  ).length;
  return seen;
"""


@needs_browser
@pytest.mark.parametrize(
    ("width", "scheme", "ground"),
    [(400, 1, "rgb(255, 255, 255)"), (1280, 0, "rgb(13, 17, 23)")],
    ids=["telephone, light", "desk, dark"],
)
def test_a_page_is_used_by_keys_and_typing(width, scheme, ground, runs, tmp_path):
    checkpoints = [load_run(runs / name) for name in ("two-layers", "lstm")]
    settings = f"--window-size={width},900", f"--blink-settings=preferredColorScheme={scheme}"
    seen = browse(page.make_page(checkpoints), USED, tmp_path, *settings)
    assert seen["wide"], "the page is wider than the window"
    assert seen["at_first"] == "8 of 8 read" and seen["after_two_back"] == "6 of 8 read"
    assert seen["at_the_start"] == "0 of 8 read"
    assert seen["nothing_read"] == "Nothing is read yet: the hidden state is zero."
    unknown = "“12” is not one of the tokens 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."
    assert seen["refused"] == [unknown, "Type at least one token."]
    assert seen["kept"] == 8
    said = "Token 3 is 0; the right answer is now 8."
    assert seen["typed"] == ["3 of 3 read", "", said] and seen["right"] == 8
    assert seen["focus"] == "position"  # the arrow keys go on from there
    assert seen["long"] == ["1,000 of 1,000 read", 31]
    assert re.search(r"First wrong at token \d+; wrong at [\d,]+ of 1,000", seen["wrong"])
    assert seen["ground"] == ground and seen["drawn"] > 10 and seen["unnamed"] == 0


@needs_browser
def test_a_network_overflows_where_pytorchs_does(runs, tmp_path):
    checkpoint = load_run(runs / "relu")
    checkpoint.weights["rnn.weight_hh_l0"].mul_(100)
    ids = torch.tensor([3, 9, 4] * 20)
    with torch.no_grad():
        model = load_model(checkpoint)
        scores = [model(ids[None, :n], torch.tensor([n])) for n in range(1, len(ids) + 1)]
    overflown = [not bool(each.isfinite().all()) for each in scores]
    assert True in overflown and not overflown[0]
    script = f"""
      take({ids.tolist()}, 0);
      const finite = views[0].scores.slice(1).map((each) => each.every(Number.isFinite));
      move(page.sequence.length);
      return [finite, document.querySelector(".verdict").textContent];
    """
    finite, verdict = browse(page.make_page([checkpoint]), script, tmp_path)
    assert abs(finite.index(False) - overflown.index(True)) <= 1
    assert verdict.startswith("The network overflows: its scores are not numbers. First wrong at")


@needs_browser
def test_a_network_whose_units_are_all_dead_is_shown(runs, tmp_path):
    checkpoint = load_run(runs / "relu")
    checkpoint.weights["rnn.bias_ih_l0"].fill_(-1e3)
    script = "take([7], 1); return views[0].states[1][0].h.every((unit) => unit === 0);"
    assert browse(page.make_page([checkpoint]), script, tmp_path)


def test_the_page_is_one_small_file_without_connections(runs, capsys):
    assert page.main([str(runs / "lstm")]) == 0
    path = runs / "lstm/page.html"
    assert capsys.readouterr().out == f"Wrote {path}. Open it in a browser.\n"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1_000_000 and "{{" not in text
    assert "default-src 'none'" in text  # the browser itself refuses every connection
    assert set(re.findall(r"https?://[^\"'` ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_page_is_the_same_each_time_and_has_the_name_of_its_folder(runs, monkeypatch):
    text = page.make_page([load_run(runs / "two-layers")])
    monkeypatch.chdir(runs / "two-layers")
    assert page.make_page([load_run(".")]) == text and "<title>Watch two-layers read" in text


def test_weights_that_are_no_numbers_are_refused(runs):
    checkpoint = load_run(runs / "lstm")
    checkpoint.weights["fc.bias"][0] = float("nan")
    with pytest.raises(ValueError, match="has weights that are not finite numbers"):
        page.make_page([checkpoint])


def test_names_cannot_leave_the_data_of_a_page(tmp_path):
    machine = {
        "tokens": ["</script><script>alert(1)</script>", "b"],
        "classes": ["<!--", "{{page.js}}"],
        "start": "s",
        "states": {
            "s": {"class": "<!--", "next": {"</script><script>alert(1)</script>": "t", "b": "s"}},
            "t": {
                "class": "{{page.js}}",
                "next": {"</script><script>alert(1)</script>": "s", "b": "t"},
            },
        },
    }
    (tmp_path / "odd.json").write_text(json.dumps(machine))
    flags = ("--task", tmp_path / "odd.json", "--total_steps", 2, "--engine", "autograd")
    few = ("--warmup_step", 0, "--save_dir", tmp_path, "--run_name", "odd", "--tracker", "disabled")
    done = run_here("train_cls_rnn.py", *flags, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = page.make_page([load_run(tmp_path / "odd")])
    assert (
        '"{{page.js}}"' in text
        and "alert(1)" in text
        and "<script>alert" not in text
        and "<!--" not in text
    )


@pytest.mark.parametrize(
    ("names", "flags", "message"),
    [
        (["both-ways"], [], "cannot be shown step by step: a page computes stacks of nn.RNN"),
        (["pooled"], [], "cannot be shown step by step"),
        (["normed"], [], "cannot be shown step by step"),
        (["lstm", "cycle"], [], "was trained on a different task from"),
        (["wide"], [], "at most 1,000,000 are allowed"),
        (["large-sum"], [], "the table of the machine, and one of 1,000 states and 1,000 tokens"),
        (["missing"], [], "there is no folder"),
        (["lstm"], ["--output", "model_step_4.pt"], "'model_step_4.pt' does not end in .html"),
        (["lstm"], ["--output", "nowhere/page.html"], "--output 'nowhere/page.html': there is no"),
    ],
)
def test_what_is_refused(names, flags, message, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert status_of(page.main, *(runs / name for name in names), *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_labelled_examples_have_no_machine_to_show(tmp_path, capsys):
    folder = REPOSITORY / "rnn_tutorial/data_examples"
    flags = ("--train_file", str(folder / "who_did_it.train.tsv"), "--save_dir", str(tmp_path))
    few = ("--total_steps", "2", "--warmup_step", "0", "--tracker", "disabled")
    assert train_cls_rnn.main([*flags, *few, "--engine", "autograd", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert status_of(page.main, tmp_path) == 2
    assert "a page needs a rule that gives every sequence its" in capsys.readouterr().err
