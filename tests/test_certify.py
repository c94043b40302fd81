"""The certify command: proving, checking, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY, status_of

import train_cls_rnn
from rnn_tutorial import certify
from rnn_tutorial.machines.digit_sum import SumModulo
from rnn_tutorial.model.saved import load_model
from rnn_tutorial.proof.certificate import CertificateStatus, certificate_path, certificate_status
from rnn_tutorial.runs.checkpoint import load_checkpoint


@pytest.fixture
def certified(tmp_path):
    """A copy of a checkpoint that is proved, with its certificate, in a run's folder."""
    run = shutil.copytree(REPOSITORY / "tests/runs/format_1/proved", tmp_path / "output/proved")
    return run / "model_step_4000.pt"


def test_a_net_trained_by_the_published_sota_warmup_is_not_proved(tmp_path, capsys):
    pytest.importorskip("numba")  # with it, the recipe's 20,000 updates take two seconds
    flags = ("--recipe", "sota_warmup", "--save_dir", str(tmp_path), "--tracker", "disabled")
    assert train_cls_rnn.main([*flags, "--device", "cpu", "--eval_every", "5000"]) == 0
    capsys.readouterr()
    assert certify.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("NOT PROVED: ")


def test_proving_writes_a_certificate_that_the_check_confirms(certified, capsys):
    certificate_path(certified).unlink()
    for run in (certified, certified.parent, certified.parent.parent):
        assert certify.main([str(run)]) == 0
        first, second, third = capsys.readouterr().out.splitlines()
        assert first == "PROVED: right for every sequence of digits 0–1, of every length"
        assert second.startswith("7 abstract states, smallest score margin ")
        assert "largest box width 0." in second and second.endswith(" s")
        assert third == f"Certificate: {certified.with_suffix('.certificate.npz')}"
        checkpoint = load_checkpoint(certified)
        status = certificate_status(checkpoint, load_model(checkpoint), SumModulo(1))
        assert status == CertificateStatus.HOLDS
        assert certify.main([str(run), "--check"]) == 0
        assert capsys.readouterr().out.startswith("CHECKED: right for every sequence")
        assert certify.main([str(run), "--check", "--json"]) == 0
        checked = json.loads(capsys.readouterr().out)
        assert checked["checked"] and checked["smallest_margin"] > 0
        assert certify.main([str(run), "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["proved"] and figures["abstract_states"] == 7


@pytest.mark.parametrize("command", ["certify", "evaluate"])
def test_a_reader_that_leaves_is_no_error(command, certified):
    reading, writing = os.pipe()
    os.close(reading)  # so that the first line, written at once, finds nobody
    done = subprocess.run(
        [sys.executable, "-u", "-m", f"rnn_tutorial.{command}", str(certified)],
        cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_what_is_not_proved_says_so_and_leaves_no_certificate(certified, capsys):
    path = certificate_path(certified)
    path.unlink()
    assert certify.main([str(certified), "--memory", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("NOT PROVED: the box of the state after ") and not captured.err
    assert certify.main([str(certified), "--memory", "1", "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)
    assert failure == {"proved": False, "reason": captured.out[len("NOT PROVED: ") : -1]}
    assert not path.exists()


def test_a_folder_that_takes_no_certificate_is_refused_before_the_proof(
    certified, monkeypatch, capsys
):
    monkeypatch.setattr(os, "access", lambda path, mode: path != certified.parent)
    monkeypatch.setattr(certify, "prove", None)
    assert status_of(certify.main, str(certified)) == 2
    assert "the certificate '" in (error := capsys.readouterr().err) and "written to" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["."], "no checkpoint"),
        (["RUN", "--memory", "0"], "whole number"),
        (["RUN", "--memory", "two"], "whole number"),
        (["RUN", "--memory", "99"], "too many"),
        (["RUN", "--check"], "there is no certificate"),
        (["RUN", "--check", "--memory", "2"], "--memory 2 is for a proof"),
        ([], "required"),
    ],
)
def test_a_bad_command_is_one_sentence(
    arguments, sentence, certified, tmp_path, monkeypatch, capsys
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    certificate_path(certified).unlink()
    arguments = [str(certified) if argument == "RUN" else argument for argument in arguments]
    status = status_of(certify.main, *arguments)
    captured = capsys.readouterr()
    assert status == 2 and not captured.out
    assert sentence in captured.err and captured.err.count("\n") == 1
