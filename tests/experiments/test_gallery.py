"""The experiments of the gallery: a run is made once, by commands; results are the catalogue's."""

import json
from pathlib import Path

import pytest

from rnn_tutorial.experiments import gallery, kept
from rnn_tutorial.experiments.gallery import GALLERY, GalleryExperiment, Variant
from rnn_tutorial.experiments.gallery_tables import GALLERY_TABLES
from rnn_tutorial.experiments.kept import RESULTS
from rnn_tutorial.runs.files import read_json


def test_a_run_is_made_once_and_its_figures_are_kept(tmp_path, monkeypatch):
    launched = []

    def launch(module, *arguments, **options):
        launched.append(arguments)
        assert module == "rnn_tutorial.gallery.text"
        if arguments[0] == "train":
            run = Path(arguments[arguments.index("--save_dir") + 1], "run")
            run.mkdir(parents=True)
            result = {"steps": 7, "model_parameters": 8, "weights_hash": "f00"}
            (run / "result.json").write_text(json.dumps(result))
        return json.dumps({"score": 0.5 if "--far" in arguments else 1.0})

    monkeypatch.chdir(tmp_path)
    for module in (gallery, kept):
        monkeypatch.setattr(module, "launch", launch)
    variant = Variant(("--lr", "1"), num_seeds=2, also=(("--far",),), asked=("ask", "why"))
    monkeypatch.setitem(GALLERY, "some", GalleryExperiment("text", "?", {"one": variant}))
    content = gallery.run_experiment("some", jobs=2)
    runs = content["variants"]["one"]["runs"]
    assert [run["seed"] for run in runs] == [0, 1] and runs[0]["steps"] == 7
    assert runs[0]["figures"] == {"score": 1.0} and runs[0]["also"] == {"--far": {"score": 0.5}}
    assert content["variants"]["one"]["asked"] == "text ask why"
    assert len(launched) == 7  # two trainings, four evaluations, one question
    assert gallery.run_experiment("some", jobs=1)["variants"] == content["variants"]
    assert len(launched) == 8
    assert len(gallery.run_experiment("some", 1, num_seeds=1)["variants"]["one"]["runs"]) == 1


@pytest.mark.parametrize("experiment", GALLERY)
def test_the_committed_results_are_those_of_the_gallery(experiment):
    results = read_json(RESULTS / f"{experiment}.json")
    assert list(results["variants"]) == list(GALLERY[experiment].variants)
    for name, variant in GALLERY[experiment].variants.items():
        content = results["variants"][name]
        assert content["flags"] == " ".join(variant.flags)
        assert [run["seed"] for run in content["runs"]] == [*range(variant.num_seeds)]
    for table, make in GALLERY_TABLES.items():
        if table.partition("-")[0] == experiment:
            assert make(results)


def test_bad_arguments_are_refused_in_a_sentence(capsys):
    for arguments in (["none"], ["forecast", "--jobs", "0"], ["forecast", "--num_seeds", "0"]):
        with pytest.raises(SystemExit) as stopped:
            gallery.main(arguments)
        assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
