"""Tables of the gallery's lessons."""

from __future__ import annotations

import statistics

from rnn_tutorial.experiments.gallery import SERIES
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.experiments.lesson_tables import transcript
from rnn_tutorial.experiments.markdown import markdown, spread_of
from rnn_tutorial.experiments.seed_tables import Results, Table, count_of
from rnn_tutorial.gallery.text_measures import TEMPERATURES
from rnn_tutorial.runs.files import read_json


def _values(results: Results, variant: str, name: str) -> list[float]:
    """A figure of `evaluate`, of each seed."""
    return [run["figures"][name] for run in results["variants"][variant]["runs"]]


def _median(results: Results, variant: str, name: str) -> float:
    return statistics.median(_values(results, variant, name))


def text_compressors(results: Results) -> str:
    """A row for each compressor: bits per character of the held-out text."""
    rivals = {
        "gzip": "gzip",
        "xz": "xz",
        "bz2": "bz2",
        "zstd_with_dictionary": "zstd, with a dictionary of the training text",
        "xz_after_training": "xz, after the training text",
    }
    rows = [
        [words, f"{_median(results, 'LSTM', f'{name}_bits'):.3f}"] for name, words in rivals.items()
    ]
    for words, name in (
        ("LSTM, by its loss", "bits"),
        ("LSTM, as a compressed file", "compressed_bits"),
    ):
        rows.append([words, spread_of(_values(results, "LSTM", name), "{:.3f}".format)])
    return markdown(["compressor", "bits per character"], rows)


def _text_ahead(results: Results) -> str:
    """By how much the compressed file is smaller than that of the best rival, untaught."""
    best = min(_median(results, "LSTM", f"{name}_bits") for name in ("gzip", "xz", "bz2"))
    return f"{1 - _median(results, 'LSTM', 'compressed_bits') / best:.1%}"


def text_cells(results: Results) -> str:
    """A row for each way to train with few updates: bits per character."""
    rows = []
    for name, variant in results["variants"].items():
        runs = variant["runs"]
        bits = [run["figures"]["bits"] for run in runs]
        parameters = f"{runs[0]['model_parameters']:,}"
        rows.append([name, parameters, spread_of(bits, "{:.3f}".format)])
    return markdown(["network", "parameters", "bits per character"], rows)


def text_parsed(results: Results) -> str:
    """A row for each temperature: functions that end; which of them, of their lines, are Python."""
    rows = []
    for temperature in TEMPERATURES:
        drawn = _values(results, "LSTM", f"functions_drawn_at_{temperature}")
        shares = (
            _values(results, "LSTM", f"{what}_parsed_at_{temperature}")
            for what in ("functions", "lines")
        )
        cells = [spread_of(values, "{:.0%}".format) for values in shares]
        rows.append([f"{temperature}", spread_of(drawn, "{:.0f}".format), *cells])
    people = [
        _median(results, "LSTM", f"{what}_parsed_held_out") for what in ("functions", "lines")
    ]
    rows.append(["written by people", "", *(f"{share:.0%}" for share in people)])
    return markdown(["temperature", "ended", "functions", "lines"], rows)


def addition_variants(results: Results) -> str:
    """A row for each way to train: wrong answers among all sums, and seeds without any."""
    heads = (read_json(RESULTS / f"{name}.json") for name in ("addition", "addition_one_head"))
    variants = {n: v for content in (*heads, results) for n, v in content["variants"].items()}
    rows = []
    for name, variant in variants.items():
        wrong = [run["figures"]["wrong"] for run in variant["runs"]]
        none_wrong = count_of(variant["runs"], lambda run: run["figures"]["wrong"] == 0)
        rows.append([name, spread_of(wrong, "{:,.0f}".format), none_wrong])
    return markdown(["trained with", "wrong of 1,000,000", "seeds with none wrong"], rows)


def _answer_of(name: str) -> Table:
    """The command as it was typed, and what the network of seed 0 printed."""

    def shown(results: Results) -> str:
        variant = results["variants"][name]
        command = f"python -m rnn_tutorial.gallery.{variant['asked']}"
        return transcript(command, variant["answer"].rstrip().splitlines())

    return shown


def _minutes(variant: str, form: str) -> Table:
    """What a training took from start to exit, the median, within a sentence."""

    def minutes(results: Results) -> str:
        seconds = [run["seconds"] for run in results["variants"][variant]["runs"]]
        return form.format(statistics.median(seconds) / 60)

    return minutes


def _right(*variants: str) -> Table:
    """How many seeds of these variants get all of the million right."""

    def right(results: Results) -> str:
        wrong = [count for name in variants for count in _values(results, name, "wrong")]
        return f"{wrong.count(0)} of {len(wrong)}"

    return right


def _accepted(results: Results) -> str:
    """How many of the drawn functions the parser accepts, by temperature, the medians."""
    counts = []
    for temperature in (0.5, 0.7, 1.0):
        drawn = _values(results, "LSTM", f"functions_drawn_at_{temperature}")
        shares = _values(results, "LSTM", f"functions_parsed_at_{temperature}")
        accepted = (n * share for n, share in zip(drawn, shares, strict=True))
        counts.append(f"{statistics.median(accepted):.0f}")
    return f"{', '.join(counts[:-1])} and {counts[-1]}"


def _longer_sums(results: Results) -> str:
    """Wrong answers of 10,000 sums of four digits, the median."""
    runs = results["variants"]["two heads"]["runs"]
    return f"{statistics.median(run['also']['--digits 4']['wrong'] for run in runs):,.0f}"


def highlight_directions(results: Results) -> str:
    """A column for each network: the share of held-out characters that are labelled right."""
    names = ("forward only", "both directions")
    first = results["variants"]["both directions"]["runs"][0]["figures"]
    all_of_them = (spread_of(_values(results, name, "accuracy"), "{:.2%}".format) for name in names)
    rows = [["all", f"{first['baseline_accuracy']:.1%}", *all_of_them]]
    for kind in ("keyword", "name", "string", "comment", "number"):
        shares = (f"{_median(results, name, f'accuracy_{kind}'):.2%}" for name in names)
        rows.append([kind, "", *shares])
    taken = (f"{_median(results, name, 'confusion_name_keyword'):,.0f}" for name in names)
    rows.append(["names as keywords", "", *taken])
    return markdown(["right", "likeliest class", *names], rows)


def highlight_as_trained(results: Results) -> str:
    """The share labelled right if no more is read at once than in training, within a sentence."""
    runs = results["variants"]["both directions"]["runs"]
    return f"{statistics.median(run['also']['--window 128']['accuracy'] for run in runs):.2%}"


def _show_skill(skill: float) -> str:
    return f"{round(skill, 2) + 0.0:.2f}"  # without the sign of a zero


def forecast_series(results: Results) -> str:
    """A column for each series: the errors of rules and of the network, and its skill."""
    rules = {
        "persistence": "persistence_mae",
        "seasonal": "seasonal_naive_mae",
        "smoothing": "exponential_smoothing_mae",
        "AR": "autoregression_mae",
        "LSTM": "network_mae",
    }
    rows = [
        [name, *(f"{_median(results, series, figure):.3g}" for series in SERIES)]
        for name, figure in rules.items()
    ]
    errors = {series: _values(results, series, "network_mae") for series in SERIES}
    rows.append(["its seeds", *(f"{min(e):.3g} to {max(e):.3g}" for e in errors.values())])
    rows.append(["skill", *(_show_skill(_median(results, s, "network_skill")) for s in SERIES)])
    lowest = (min(_values(results, series, "network_skill_low")) for series in SERIES)
    rows.append(["at least", *map(_show_skill, lowest)])
    return markdown(["", *SERIES.values()], rows)


def forecast_ahead(results: Results) -> str:
    """A column for each series: the errors some steps ahead, reading its own answers."""
    columns = []
    for series in SERIES:
        best = results["variants"][series]["runs"][0]["figures"]["rolling_best_naive"]
        rules = (best.replace(" ", "_"), "exponential_smoothing", "autoregression", "network")
        errors = _values(results, series, "rolling_network_mae")
        columns.append(
            [
                f"{_median(results, series, 'rolling_steps'):.0f}",
                *(f"{_median(results, series, f'rolling_{rule}_mae'):.3g}" for rule in rules),
                f"{min(errors):.3g} to {max(errors):.3g}",
                _show_skill(_median(results, series, "rolling_network_skill")),
                _show_skill(min(_values(results, series, "rolling_network_skill_low"))),
            ]
        )
    names = ("steps, up to", "naive rule", "smoothing", "AR")
    rows = zip((*names, "LSTM", "its seeds", "skill", "at least"), *columns, strict=True)
    return markdown(["", *SERIES.values()], [*map(list, rows)])


def forecast_leaks(results: Results) -> str:
    """A row for each mistake: the skill that the wrong evaluation shows."""
    rows = []
    for leak in ("none", "scaling", "shuffle", "target", "target, in use"):
        cells = []
        for series in ("sunspots", "random_walk"):
            variant = series if leak == "none" else f"{series}, leak {leak.partition(',')[0]}"
            figure = "network_in_use_skill" if leak.endswith("use") else "network_skill"
            cells.append(spread_of(_values(results, variant, figure), _show_skill))
        rows.append([leak, *cells])
    return markdown(["mistake", "sunspots: “skill”", "random walk: “skill”"], rows)


def forecast_cells(results: Results) -> str:
    """A row for each cell: the error on two series."""
    names = {"RNN": ", rnn", "GRU": ", gru", "LSTM": ""}
    rows = [
        [
            name,
            *(
                spread_of(_values(results, series + ending, "network_mae"), "{:.3g}".format)
                for series in ("sunspots", "co2")
            ),
        ]
        for name, ending in names.items()
    ]
    return markdown(["cell", "sunspots", "CO₂, ppm"], rows)


def _figure(variant: str, name: str, form: str) -> Table:
    """A median over seeds, within a sentence."""
    return lambda results: form.format(_median(results, variant, name))


GALLERY_TABLES: dict[str, Table] = {
    "text-compressors": text_compressors,
    "text_cells": text_cells,
    "text-ahead": _text_ahead,
    "text-parsed": text_parsed,
    "text-accepted": _accepted,
    "text-bits": lambda r: spread_of(_values(r, "LSTM", "bits"), "{:.3f}".format),
    "text-minutes": _minutes("LSTM", "{:.0f}"),
    "text_random-bits": lambda r: spread_of(_values(r, "random pieces", "bits"), "{:.3f}".format),
    "text_overnight-bits": _figure("two layers", "compressed_bits", "{:.3f}"),
    "text_overnight-minutes": _minutes("two layers", "{:.0f}"),
    "text_overnight-parameters": lambda r: (
        f"{r['variants']['two layers']['runs'][0]['model_parameters']:,}"
    ),
    "text-characters": _figure("LSTM", "characters", "{:,.0f}"),
    "addition-right": _right("two heads"),
    "addition_one_head-right": _right("one head"),
    "addition_one_head-worst": lambda r: f"{max(_values(r, 'one head', 'wrong'))}",
    "addition_parts-no-attention": _right("without attention"),
    "addition_parts-less-teaching": _right("half the teaching", "no teaching"),
    "addition_parts": addition_variants,
    "addition-answer": _answer_of("two heads"),
    "text-sample": _answer_of("LSTM"),
    "addition-minutes": _minutes("two heads", "{:.1f}"),
    "addition-longer": _longer_sums,
    "highlight-directions": highlight_directions,
    "highlight-wide": _figure("both directions", "accuracy", "{:.2%}"),
    "highlight-narrow": highlight_as_trained,
    "highlight-edge": _figure("both directions", "from_end_0", "{:.2%}"),
    "highlight-forward-edge": _figure("forward only", "from_end_0", "{:.2%}"),
    "highlight-broken": _figure("both directions", "broken_accuracy", "{:.1%}"),
    "highlight-intact": _figure("both directions", "intact_accuracy", "{:.2%}"),
    "forecast-series": forecast_series,
    "forecast-ahead": forecast_ahead,
    "forecast-leaks": forecast_leaks,
    "forecast-cells": forecast_cells,
    "forecast-coverage": _figure("sunspots", "coverage", "{:.0%}"),
    "forecast-coverage-co2": _figure("co2", "coverage", "{:.0%}"),
    "forecast-error": _figure("sunspots", "network_mae", "{:.3g}"),
    "forecast-error-shuffled": _figure("sunspots, leak shuffle", "network_mae", "{:.3g}"),
    "forecast-values": _figure("co2, values", "network_mae", "{:.3g}"),
}
