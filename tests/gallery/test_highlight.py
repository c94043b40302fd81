"""Labelling Python source: truth, windows, network, scores, colours, and the command."""

import html.parser
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, cut_short, status_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_tutorial.gallery import colored_source, highlight
from rnn_tutorial.gallery.colored_source import as_page, for_terminal, visible, wants_color
from rnn_tutorial.gallery.corpus import Alphabet, Corpus, TextFile
from rnn_tutorial.gallery.highlight import HighlightConfig, Highlighter
from rnn_tutorial.gallery.label_scores import LabelScores, score_broken_source
from rnn_tutorial.gallery.pairs import IGNORED
from rnn_tutorial.gallery.source_classes import (
    CLASSES,
    LabelledFile,
    TokenizeGaveUp,
    label_corpus,
    label_source,
    likeliest_classes,
)
from rnn_tutorial.gallery.source_windows import RandomWindows, Reader

LETTERS = dict(zip("_nks#0:", CLASSES, strict=True))  # how these tests write a class
SETTINGS = (
    *("--hidden_dim", 16, "--embed_dim", 8, "--window", 32, "--batch_size", 16, "--lr", 0.02),
    *("--total_steps", 160, "--warmup_step", 5, "--log_every", 20, "--eval_every", 80),
    *("--save_every", 20, "--dropout", 0.1, "--tracker", "disabled", "--num_threads", 1),
)
BROKEN = 'def greet(name:\n\tprint("hello, + name  # \x1b[31mred\n   return None\n'


def classes_of(letters):
    """The classes that a string of LETTERS writes."""
    return np.array([CLASSES.index(LETTERS[letter]) for letter in letters], np.uint8)


# ---- the truth ----


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("", ""),
        ("if x:  # why\n", "kk_n:__#####_"),
        ("x = 1 + 0xFF - 1_0e-3j", "n_:_0_:_0000_:_0000000"),
        ("match = None", "nnnnn_:_kkkk"),
        ("a\\\n.b", "n__:n"),
        ("@f\ndef g(): ...", ":n_kkk_n:::_:::"),
        ("s = rb'#' ''", "n_:_sssss_ss"),
        ("f'{x!r:>{w}}' + y", "sssssssssssss_:_n"),
        ('f"a{f(1)}b" f"{{}}"', "s" * 11 + "_" + "s" * 7),
        ("'''a\n# b\n'''\n", "s" * 12 + "_"),
        ("é = 'ü😀'; ñ", "n_:_ssss:_n"),
        ("\tx\n\f\ny", "_n___n"),
        ("1if x else 2", "0kk_n_kkkk_0"),
        ("async def f(): await g", "kkkkk_kkk_n:::_kkkkk_n"),
        ("(y := [1,\n  2])", ":n_::_:0:___0::"),
    ],
)
def test_each_character_has_the_class_of_its_token(text, letters):
    assert label_source(text).tolist() == classes_of(letters).tolist()


TOKENS = st.one_of(
    st.tuples(st.sampled_from(["x", "match", "_", "print", "naïve"]), st.just("n")),
    st.tuples(st.sampled_from(["if", "None", "lambda", "is"]), st.just("k")),
    st.tuples(
        st.sampled_from(["''", 'r"\\d"', "b'#'", "'''\n'''", 'f"{x}"', 'f"""\n{x}"""']),
        st.just("s"),
    ),
    st.tuples(st.sampled_from(["1", "0b1", "1e9", ".5"]), st.just("0")),
    st.tuples(st.sampled_from(["+", "==", "->", ".", ",", "**="]), st.just(":")),
    st.tuples(st.sampled_from([" ", "\\\n", "\t"]), st.just("_")),
)


@given(st.lists(TOKENS), st.sampled_from(["", "# it's", "#"]))
def test_tokens_put_together_have_the_classes_that_they_were_made_of(tokens, comment):
    pieces = [piece for token in tokens for piece in (token, (" ", "_"))]
    pieces += [(comment, "#")]
    text = "".join(piece for piece, _ in pieces)
    letters = "".join(letter * len(piece) for piece, letter in pieces)
    assert label_source(f"({text}\n)").tolist() == classes_of(f":{letters}_:").tolist()


@pytest.mark.parametrize(
    "text",
    [
        "x = 'a\n",
        "'''a\n",
        "(\n",
        "if x:\n    a\n  b\n",
        "a = $\n",
        "a!\n",
        "`a`",
        "f(a, [\n",
        "x = f'''{y}",
    ],
)
def test_where_tokenize_gives_up_there_is_no_truth_but_a_line(text):
    with pytest.raises(TokenizeGaveUp, match=r"^line \d: "):
        label_source(text)


def test_the_end_of_a_file_is_labelled_as_the_end_of_that_file():
    begin, end = TextFile("a.py", "x = '''a\n"), TextFile("a.py", "if y'''\n")
    bad = TextFile("b.py", "(")
    corpus = Corpus("two files", [begin, bad], [end, TextFile("b.py", "(")], "")
    train, held_out, refused = label_corpus(corpus)
    assert train[0].classes.tolist() == classes_of("n_:_sssss").tolist()
    assert held_out[0].classes.tolist() == classes_of("sssssss_").tolist()
    assert len(train) == len(held_out) == 1 and "'b.py' in line" in refused[0]
    with pytest.raises(ValueError, match=r"one file: there is no Python source .*'b.py'"):
        label_corpus(Corpus("one file", [bad], [bad], ""))


# ---- windows ----


def make_files(*texts):
    """Files whose classes tell their characters apart."""
    return [
        LabelledFile(f"{number}.py", text, np.array([ord(char) % 7 for char in text], np.uint8))
        for number, text in enumerate(texts)
    ]


@given(st.integers(2, 12), st.integers(0, 50), st.integers(0, 3))
def test_a_row_is_a_stretch_of_one_file_with_its_classes(window, step, seed):
    files = make_files("abcdefghijklmnop", "", "QRS", "01234")
    alphabet = Alphabet.of(files, at_least=1)
    x, lengths, targets = RandomWindows(files, alphabet, window, seed).draw(step, 7)
    assert x.shape == targets.shape == (7, window) and lengths.min() >= 1
    for row, length, classes in zip(x, lengths.tolist(), targets.tolist(), strict=True):
        text = alphabet.decode(row[:length].tolist())
        assert any(text in file.text for file in files)
        is_cut_short = any(file.text.startswith(text) or file.text.endswith(text) for file in files)
        assert length == window or is_cut_short
        assert classes == [ord(char) % 7 for char in text] + [IGNORED] * (window - length)


def test_a_batch_is_a_function_of_seed_and_step():
    files = make_files("abcdefghijklmnopqrstuvwxyz" * 9)
    alphabet = Alphabet.of(files)

    def draw(seed, step):
        return RandomWindows(files, alphabet, 8, seed).draw(step, 16)[0].tolist()

    assert draw(0, 3) == draw(0, 3)
    assert len({str(draw(seed, step)) for seed in (0, 1) for step in (3, 4)}) == 4


def test_every_character_is_learned_equally_often():
    files = make_files("abcdefghij", "k", "lmno")
    alphabet = Alphabet.of(files)
    x, lengths, _ = RandomWindows(files, alphabet, 4, seed=0).draw(0, 40_000)
    counts = np.zeros(len(alphabet))
    for row, length in zip(x.numpy(), lengths.tolist(), strict=True):
        counts[row[:length]] += 1
    # 25 places, of which each character is in 4
    assert counts[1:] == pytest.approx(40_000 * 4 / (13 + 4 + 7) * np.ones(15), rel=0.05)


class Positions(nn.Module):
    """Instead of a network: the class of a character is its place in the window, modulo 7."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, lengths):
        return torch.eye(7)[torch.arange(x.shape[1]) % 7].expand(*x.shape, 7)


@given(st.integers(8, 40), st.integers(0, 300))
def test_the_middle_of_each_window_labels_a_text(window, length):
    text = "x" * length
    reader = Reader(Positions(), Alphabet("x"), window)
    found, begins, windows = reader.read(text)
    assert found.tolist() == reader.label(text).tolist() and len(found) == length
    assert windows.shape == (len(begins), window)
    for place in range(length):  # its window keeps a quarter to each side, but at the text's ends
        fits = [
            place - begin
            for begin in range(0, length, window // 2)
            if (place - begin >= window // 4 or begin == 0)
            and (place - begin < window // 4 + window // 2 or begin + window >= length)
            and place - begin < window
        ]
        assert found[place] in [at % 7 for at in fits], (place, fits)


# ---- the network ----


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_two_directions_are_those_of_pytorchs_packed_layers(cell, num_layers):
    torch.manual_seed(0)
    config = HighlightConfig(cell=cell, hidden_dim=5, embed_dim=4, num_layers=num_layers)
    model = Highlighter(config, 9).eval()
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    reference = kind(4, 5, num_layers, batch_first=True, bidirectional=True)
    for number, layer in enumerate(model.layers):
        for direction, ending in zip(layer, ("", "_reverse"), strict=True):
            for name, weight in direction.named_parameters():
                setattr(reference, name.replace("l0", f"l{number}{ending}"), weight)
    x, lengths = torch.randint(0, 9, (4, 7)), torch.tensor([3, 7, 1, 5])
    packed = pack_padded_sequence(
        model.embedding(x), lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    is_valid = torch.arange(7) < lengths[:, None]
    torch.testing.assert_close(model(x, lengths)[is_valid], model.fc(expected)[is_valid])


@pytest.mark.parametrize("bidirectional", [True, False])
def test_only_the_backward_direction_knows_what_follows(bidirectional):
    torch.manual_seed(0)
    model = Highlighter(HighlightConfig(bidirectional=bidirectional, hidden_dim=8), 5).eval()
    x, lengths = torch.tensor([[1, 2, 3, 4, 0]]), torch.tensor([4])
    before = model(x, lengths)[0]
    after = model(torch.tensor([[1, 2, 3, 1, 0]]), lengths)[0]
    differs = (before != after).any(-1).tolist()
    assert differs[:4] == [bidirectional] * 3 + [True]
    padded = model(torch.tensor([[1, 2, 3, 4, 4]]), lengths)[0]
    assert torch.equal(padded[:4], before[:4])  # what the padding is does not matter


# ---- the scores ----


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=60))
def test_scores_are_counts(characters):
    classes, found, guesses = np.array(characters, np.uint8).T
    scores = LabelScores(8)
    scores.add_file(classes[:9], found[:9], guesses[:9])
    scores.add_file(classes[9:], found[9:], guesses[9:])
    figures = scores.figures()
    count = len(characters)
    assert figures["accuracy"] == sum(a == b for a, b, _ in characters) / count
    assert figures["baseline_accuracy"] == sum(a == c for a, _, c in characters) / count
    for i, name in enumerate(CLASSES):
        of_class = [b for a, b, _ in characters if a == i]
        expected = of_class.count(i) / len(of_class) if of_class else None
        assert figures.get(f"accuracy_{name}") == expected
        for j, other in enumerate(CLASSES):
            assert figures[f"confusion_{name}_{other}"] == of_class.count(j)


def test_accuracy_by_distance_from_the_ends_of_a_window():
    scores = LabelScores(8)
    scores.add_file(*[np.zeros(1, np.uint8)] * 3)
    scores.add_windows(np.array([[0, 1, 1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 1, 1, 0]], bool))
    figures = scores.figures()
    assert [figures[f"from_begin_{low}"] for low in (0, 1, 2)] == [0, 1, 0.75]
    assert [figures[f"from_end_{low}"] for low in (0, 1, 2)] == [0, 0.5, 0.75]


def test_the_baseline_is_the_likeliest_class_of_each_character():
    text = "a if a\nif '1'"
    files = [LabelledFile("a.py", text, label_source(text))]
    table = likeliest_classes(files, Alphabet("afi'1"))
    assert [CLASSES[i] for i in table] == ["space", "name", *["keyword"] * 2, *["string"] * 2]


def test_broken_source_is_compared_with_what_was_meant():
    """Here the class follows from the character: so a table is right, and a shift would be seen."""
    text = "f(x)[y]\ng((1))\n" * 9
    file = LabelledFile("a.py", text, label_source(text))
    table = dict(zip(text, file.classes, strict=True))

    def label(text):
        return np.array([table[char] for char in text], np.uint8)

    figures = score_broken_source(label, [file])
    assert figures["broken_files"] > 50
    assert figures["broken_accuracy"] == figures["intact_accuracy"] == 1

    def label_intact(piece):  # what is damaged is all space to it, as the line ends are
        return label(piece) if piece in text else np.zeros(len(piece), np.uint8)

    figures = score_broken_source(label_intact, [file])
    assert figures["intact_accuracy"] == 1 and figures["broken_accuracy"] < 0.3
    assert score_broken_source(label, make_files("x")) == {"broken_files": 0}
    text = "if x:\n    if y:\n        f(x)\n    g(y)\n"
    end = LabelledFile("a.py", text[16:], label_source(text)[16:])  # tokenize refuses it as it is
    assert score_broken_source(lambda _: 1 / 0, [end]) == {"broken_files": 0}


# ---- colours ----

TEXTS = st.text(st.sampled_from("ab \n\t\r\x1b\x07\x9b<&>\"'é\u202e\u2028\f"), max_size=40)


def drawn(text, data):
    """A text with classes found and true."""
    some_classes = st.lists(st.integers(0, 6), min_size=len(text), max_size=len(text))
    return (np.array(data.draw(some_classes), np.uint8) for _ in range(2))


@given(TEXTS, st.data())
def test_a_terminal_gets_no_escape_but_ours(text, data):
    found, truth = drawn(text, data)
    colored = for_terminal(text, found, truth)
    plain = re.sub(r"\x1b\[[\d;]+m", "", colored)
    assert plain == visible(text)
    assert not re.search("[^\n\t\x20-\x7e\xa0-\uffff]|[\u202e\u2028]", plain)
    assert plain.count("\n") == text.count("\n") and plain.count("\t") == text.count("\t")
    for line in colored.split("\n"):  # a pager may begin with any line
        assert "\x1b" not in line or line.rindex("\x1b[0m") == line.rindex("\x1b")


def test_mistakes_are_underlined_where_the_truth_is_known():
    found, truth = classes_of("kkn"), classes_of("kkk")
    assert for_terminal("ifx", found, truth) == "\x1b[1;35mif\x1b[0m\x1b[4mx\x1b[0m"
    assert for_terminal("ifx", found, None) == "\x1b[1;35mif\x1b[0mx"


class PageReader(html.parser.HTMLParser):
    """The text in <pre>, and for each character whether it is in <u>."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.underlined = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "pre" in self.open:
            self.text += data
            self.underlined += ["u" in self.open] * len(data)


@given(TEXTS.map(lambda text: re.sub(r"[^\n\t -~é]", "", text)), st.data())
def test_a_page_holds_the_text_and_underlines_the_mistakes(text, data):
    found, truth = drawn(text, data)
    page = PageReader(as_page("<a>.py", "1 < 2", text, found, truth))
    assert not page.open and page.text == text
    assert page.underlined == (found != truth).tolist()


def test_a_page_shows_what_a_browser_would_obey_and_needs_nothing_else():
    page = as_page("</title>", "", "\x1b\u202e<script>", np.zeros(10, np.uint8), None)
    assert "\\x1b\\u202e&lt;script&gt;" in page and "</title></title>" not in page
    assert not re.search(r"https?:|src=|@import|url\(", page)


def test_the_page_can_be_read_on_light_and_dark_screens():
    def luminance(color):
        digits = "".join(digit * 2 for digit in color) if len(color) == 3 else color
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    style = colored_source._STYLE
    light, dark = (dict(re.findall(r"--(\w+): #(\w+);", part)) for part in style.split("@media"))
    assert light.keys() == dark.keys() >= {"ground", "name", "keyword", "wrong"}
    for colors in (light, dark):
        ground = luminance(colors.pop("ground"))
        for name, color in colors.items():
            low, high = sorted((ground, luminance(color)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name  # WCAG 2.2, contrast minimum, AA


@pytest.mark.parametrize(
    ("choice", "is_terminal", "environment", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_when_there_is_colour(choice, is_terminal, environment, expected, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal, raising=False)
    assert wants_color(choice) is expected


# ---- the command ----


def a_function(generator):
    """Python source with something of every class, drawn by a random.Random."""

    def draw(*words):
        return generator.choice(words)

    name, other = ("".join(generator.choices("abcdeirst", k=4)) + "_" for _ in range(2))
    text = " ".join(generator.choices(("if", "the", "row", "is", "for", "12"), k=5))
    number = generator.randrange(100)
    return draw(
        f"def {name}({other}):\n    # {text}\n    return {other} {draw('+', '*', '<')} {number}\n",
        f'{name} = "{text}"\n',
        f"for {name} in {other}:\n    print(f'{text} {{{name}}}', {number})  # {other}\n",
        f'class {name}:\n    """{text}"""\n    {other} = {number} if {name} else None\n',
    )


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    """Python files to learn from, fewer than twenty: so the end of each is held out."""
    folder = tmp_path_factory.mktemp("source")
    generator = random.Random(0)
    for name in "abcdef":
        functions = [a_function(generator) for _ in range(120)]
        (folder / f"{name}.py").write_text("\n\n".join(functions))
    (folder / "broken.py").write_text(BROKEN)
    return folder


@pytest.fixture(scope="session")
def trained(run_script, source_folder, tmp_path_factory):
    """A folder in which a small network was trained, and what was printed. Read only."""
    folder = tmp_path_factory.mktemp("highlight")
    flags = (*SETTINGS, "--text_dir", source_folder)
    done = run_script("rnn_tutorial.gallery.highlight", "train", *flags, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "output/gallery/highlight", done.stdout


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def ask(*arguments):
    """The exit status of a command that is run in this process."""
    return status_of(highlight.main, *arguments)


def test_training_says_what_it_found(trained):
    folder, printed = trained
    figures = result_of(folder)["figures"]
    assert figures["accuracy"] > 0.8 > 0.7 > figures["baseline_accuracy"]
    assert f"{figures['accuracy']:.2%} of the held-out characters" in printed
    assert "Left out: tokenize gives up on 'broken.py' in line" in printed
    assert (
        f"Next: python -m rnn_tutorial.gallery.highlight evaluate --run {folder}"
        in printed.replace("output/gallery", str(folder.parent))
    )


def test_cut_and_resumed_it_ends_with_the_same_weights(trained, tmp_path, capsys):
    cut = cut_short(trained[0], tmp_path / "cut")
    assert ask("train", "--resume", cut) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "resumed at step" in printed.out
    whole, resumed = result_of(trained[0]), result_of(cut)
    assert resumed["weights_hash"] == whole["weights_hash"]
    assert resumed["figures"] == whole["figures"]


def test_a_run_that_diverges_at_its_end_says_so(source_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = (*SETTINGS, "--text_dir", source_folder, "--total_steps", 19, "--save_every", 0)
    too_fast = ("--optimizer", "sgd", "--lr", 100, "--weight_decay", 1000, "--max_grad_norm", 0)
    assert ask("train", *flags, *too_fast, "--scheduler", "constant") == 1
    assert "is not a finite number at step" in capsys.readouterr().err


def test_evaluate_finds_what_training_found(trained, capsys):
    assert ask("evaluate", "--json", "--run", trained[0]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert result_of(trained[0])["figures"].items() <= figures.items()
    assert all(type(value) in (int, float) for value in figures.values())
    assert figures["broken_files"] > 25 and 0.5 < figures["broken_accuracy"] <= 1
    assert ask("evaluate", "--run", trained[0]) == 0
    printed = capsys.readouterr().out
    assert f"{figures['confusion_string_comment']:,}" in printed
    assert f"{figures['from_end_4']:.2%}" in printed and "4–7" in printed
    assert f"{figures['broken_accuracy']:.2%} are labelled as they were meant" in printed


def test_quick_is_a_training_whose_settings_go_together(source_folder, tmp_path, capsys):
    files = ("--text_file", source_folder / "a.py", "--text_file", source_folder / "b.py")
    arguments = (*files, "--save_dir", tmp_path, "--tracker", "disabled")
    few = ("--total_steps", 31, "--hidden_dim", 4, "--no-bidirectional", "--cell", "gru")
    assert ask("train", "--quick", *few, *arguments) == 0
    printed = capsys.readouterr().out
    assert "Labelling 2 files" in printed and "Trained 31 updates" in printed
    assert ask("evaluate", "--run", tmp_path) == 0
    assert result_of(tmp_path / "highlight")["config"]["log_every"] == 50


def test_show_prints_broken_source_as_far_as_a_terminal_may_have_it(
    trained, run_script, script_environment, tmp_path, capsys
):
    (tmp_path / "broken.py").write_text(BROKEN + "é", "utf-8")
    arguments = ("show", tmp_path / "broken.py", "--run", trained[0])
    variables = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(REPOSITORY)}
    environment = script_environment | variables
    program = "rnn_tutorial.gallery.highlight"
    plain = run_script(program, *arguments, cwd=tmp_path, env=environment)
    expected = BROKEN.replace("\x1b", "\\x1b")
    assert (plain.returncode, plain.stdout) == (0, f"{expected}\\xe9\n")
    assert re.fullmatch(r"tokenize gives up at line \d: .* no truth.*\n", plain.stderr)
    assert ask(*arguments, "--color", "always") == 0
    colored = capsys.readouterr().out
    assert colored.count("\x1b[0m") > 10
    assert re.sub(r"\x1b\[[\d;]+m", "", colored) == f"{expected}é\n"


def test_show_underlines_mistakes_and_writes_a_page(trained, tmp_path, capsys):
    source, page = tmp_path / "a.py", tmp_path / "a.html"
    source.write_text("x = 'one'  # é\nprint(x)" * 9)  # no line end
    assert ask("show", source, "--run", trained[0], "--html", page) == 0
    printed = capsys.readouterr().out
    wrong = sum(PageReader(page.read_text("utf-8")).underlined)
    assert printed.startswith(f"{wrong:,} of {len(source.read_text('utf-8'))} characters")
    assert str(page) in printed
    assert ask("show", source, "--run", trained[0], "--color", "always") == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("\n") and ("\x1b[4m" in printed.out or ";4m" in printed.out) == (
        wrong > 0
    )
    assert f"{wrong:,} of" in printed.err


def test_an_empty_file_is_shown(trained, tmp_path, capsys):
    (tmp_path / "empty.py").touch()
    assert ask("show", tmp_path / "empty.py", "--run", trained[0]) == 0
    assert "0 of 0 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.py", None, "cannot be read"),
        ("binary.py", b"a\0b", "NUL"),
        ("latin.py", b"x = '\xe9'", "not UTF-8 text: byte 5 is 0xe9"),
        ("long.py", b"x" * 101, "101 characters, more than 100"),
        ("", None, "not a regular file"),
    ],
)
def test_files_that_cannot_be_shown_are_refused(
    trained, tmp_path, capsys, monkeypatch, name, content, reason
):
    monkeypatch.setattr(highlight, "MAX_SHOWN", 100)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    check_refusal(capsys, reason, "show", tmp_path / name, "--run", trained[0])


def check_refusal(capsys, reason, *arguments):
    """One sentence on stderr, exit status 2."""
    status = ask(*arguments)
    printed = capsys.readouterr()
    assert status == 2 and printed.out.count("\n") <= 2  # what it is about to do
    assert reason in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("page.py", "does not end in .html"),
        ("none/page.html", "there is no folder"),
        ("source.html", "is the file itself"),
        ("folder.html", "is a folder"),
    ],
)
def test_pages_that_would_overwrite_or_have_no_place_are_refused(
    trained, tmp_path, capsys, page, reason
):
    (tmp_path / "folder.html").mkdir()
    source = tmp_path / "source.html"
    source.write_text("x = 1\n")
    command = ("show", source, "--run", trained[0], "--html", tmp_path / page)
    check_refusal(capsys, reason, *command)
    assert source.read_text() == "x = 1\n"


def test_data_that_are_no_source_are_refused_and_leave_no_run(tmp_path, capsys):
    for name in ("empty", "prose"):
        (tmp_path / name).mkdir()
    (tmp_path / "prose/a.txt").write_text("It's a long story.")
    command = ("train", "--save_dir", tmp_path / "runs", "--text_dir")
    check_refusal(capsys, "is not a folder", *command, tmp_path / "none")
    check_refusal(capsys, "has no *.py", *command, tmp_path / "empty")
    check_refusal(capsys, "no Python source to learn from; tokenize", *command, tmp_path / "prose")
    check_refusal(capsys, "--window 7", *command, tmp_path, "--window", 7)
    check_refusal(capsys, "--cell 'transformer'", *command, tmp_path, "--cell", "transformer")
    assert not (tmp_path / "runs").exists()


def test_runs_and_changes_that_do_not_fit_are_refused(
    trained, source_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    check_refusal(capsys, "no trained run of 'highlight'", "evaluate")
    check_refusal(capsys, "--run", "evaluate", "--run", tmp_path / "none")
    check_refusal(capsys, "--window 7", "evaluate", "--run", trained[0], "--window", 7)
    check_refusal(
        capsys, "--no-bidirectional", "train", "--resume", trained[0], "--no-bidirectional"
    )
    changed = tmp_path / "source"
    changed.mkdir()
    for path in source_folder.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    settings = ("--total_steps", 2, "--warmup_step", 0, "--hidden_dim", 4, "--tracker", "disabled")
    assert ask("train", "--text_dir", changed, *settings) == 0
    capsys.readouterr()
    (changed / "new.py").write_text("x = 1\n" * 99)
    check_refusal(capsys, "has learned: it has changed since", "evaluate")
    check_refusal(capsys, "the data have changed", "train", "--resume", "output/gallery/highlight")
    assert Path("output/gallery/highlight/result.json").exists()
