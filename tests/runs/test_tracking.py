"""What is tracked can be read back, and nothing that SwanLab does stops a training."""

import contextlib
import http.server
import json
import math
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import torch
from conftest import wait_until

from rnn_tutorial.runs import tracking
from rnn_tutorial.runs.tracking import Tracker, start_tracker

FAKE_SWANLAB = """
import atexit, os, pathlib, signal, sys, threading, time, types

class Settings:
    model_fields_set = frozenset()
    api_key = None
    log_dir = pathlib.Path.cwd() / "swanlog"
    project = types.SimpleNamespace(name=None)

    def __init__(self, **settings):
        pass

class Run:
    mode, dir = "local", "the run's directory"

    def log(self, values, step):
        {log}

    def finish(self, **state):
        {finish}

def init(**settings):
    {init}
    return Run()
"""


@pytest.fixture(autouse=True)
def newcomer(tmp_path, monkeypatch):
    """A user who has never heard of SwanLab, in a new directory with a space in its name."""
    for name in [*os.environ]:
        if name.startswith("SWANLAB_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tracking, "_SILENT_SECONDS", 60)  # a busy machine explains no wait
    directory = tmp_path / "my experiments"
    directory.mkdir()
    monkeypatch.chdir(directory)


@pytest.fixture
def fake_swanlab(tmp_path, monkeypatch):
    """Puts a SwanLab with the given bodies of init, log and finish in place of the real one."""

    def install(init="pass", log="pass", finish="pass"):
        source = FAKE_SWANLAB.format(init=init, log=log, finish=finish)
        (tmp_path / "swanlab.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def start(choice="local", **run):
    """A tracker whose mode is known."""
    said = []
    tracker = start_tracker(
        choice, run_name="baseline", config={"seed": 7, "lr": 0.001}, say=said.append, **run
    )
    while tracker.mode == "starting":
        tracker._take_answer(wait=True)
    (tracker.notice,) = said
    return tracker


def track(choice="local", steps=range(3), **run):
    """A whole training run as SwanLab sees it; the mode that it began with, and its notice."""
    tracker = start(choice, **run)
    mode = tracker.mode
    for step in steps:
        tracker.log({"loss": 1 / (1 + step)}, step)
    tracker.finish()
    return mode, tracker.notice


def take_answers_until(tracker, condition):
    """Look for answers as the training does whenever it logs."""
    wait_until(lambda: (tracker._take_answer(wait=False), condition())[1])


def run_script(body, **popen):
    """A Python process that runs `body` with a tracker at hand."""
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\nfrom rnn_tutorial.runs.tracking import *\n{body}"
    )
    return subprocess.Popen([sys.executable, "-c", script], **popen)


# ---- what is recorded ----------------------------------------------------------------------------


@contextlib.contextmanager
def dashboard():
    """`swanlab watch` in the current directory; yields a function that asks its HTTP API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("swanlab")), "watch", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]

    def answers():
        try:
            return ask("project")
        except OSError:
            return False

    try:
        wait_until(answers)
        yield ask
    finally:
        process.kill()
        process.wait()


def test_the_dashboard_shows_what_was_logged(capfd):
    tracker = start("auto")
    assert tracker.mode == "local"
    assert tracker.notice == "SwanLab: local (not logged in): `swanlab watch` shows the curves"
    loss = torch.tensor(2.0)
    tracker.log({"loss": loss, "accuracy": 0.25}, step=100)
    loss.fill_(9.0)
    tracker.log({"loss": math.nan, "accuracy": 0.5}, step=torch.tensor(200))
    tracker.log({"loss": torch.tensor(math.inf), "accuracy": 1}, step=300)
    tracker.finish()
    tracker.finish()
    tracker.log({"loss": 0.0}, step=400)
    assert capfd.readouterr() == ("", "")
    with dashboard() as ask:
        (experiment,) = ask("project")["experiments"]
        assert experiment["name"] == "baseline"
        assert experiment["status"] == 1
        assert {name: entry["value"] for name, entry in experiment["config"].items()} == {
            "seed": 7,
            "lr": 0.001,
        }
        tag = f"experiment/{experiment['id']}/tag"
        points = {
            name: [(point["index"], point["data"]) for point in ask(f"{tag}/{name}")["list"]]
            for name in ("loss", "accuracy")
        }
    assert points == {"loss": [(100, 2.0)], "accuracy": [(100, 0.25), (200, 0.5), (300, 1.0)]}


def test_offline_says_how_to_upload():
    mode, notice = track("offline")
    (run_dir,) = Path("swanlog").glob("run-*")
    assert mode == "offline"
    assert f"swanlab sync '{run_dir.absolute()}'" in notice


def test_a_log_directory_elsewhere_is_named_and_a_flag_beats_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SWANLAB_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("SWANLAB_MODE", "disabled")
    mode, notice = track("local")
    assert mode == "local"
    assert f"`swanlab watch {tmp_path / 'logs'}`" in notice
    assert [*(tmp_path / "logs").glob("run-*")]


# ---- the choice ----------------------------------------------------------------------------------


def test_disabled_starts_nothing(monkeypatch):
    monkeypatch.setattr(tracking.subprocess, "Popen", None)
    assert track("disabled") == ("disabled", "SwanLab: disabled")
    assert Tracker().mode == "disabled"


def test_importing_the_module_costs_nothing():
    body = "sys.exit(any(name in sys.modules for name in ('swanlab', 'torch', 'requests')))"
    assert run_script(body).wait(timeout=60) == 0


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_auto_follows_the_environment(mode, monkeypatch):
    monkeypatch.setenv("SWANLAB_MODE", mode)
    assert track("auto")[0] == mode


def test_auto_follows_a_settings_file():
    Path("swanlab.yaml").write_text("mode: offline\n")
    mode, notice = track("auto")
    assert mode == "offline"
    assert "as SwanLab's settings say" in notice


# ---- a cloud that cannot be used -----------------------------------------------------------------


@contextlib.contextmanager
def silent_server():
    """Accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield port


class Cloud(http.server.ThreadingHTTPServer):
    """Stands in for SwanLab's servers: takes a login, a project, a run, and its numbers."""

    daemon_threads = True

    def __init__(self, status=201):
        super().__init__(("127.0.0.1", 0), CloudHandler)
        self.status = status
        self.experiment = None  # the identity of one that exists
        self.received = []
        self.talking = threading.Event()
        self.talking.set()

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.talking.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, *_):
        """A worker that is killed leaves its answer unread."""


class CloudHandler(http.server.BaseHTTPRequestHandler):
    answers = {  # noqa: RUF012
        "login/api_key": {
            "sid": "session",
            "expiredAt": "2999-01-01T00:00:00.000Z",
            "userInfo": {"username": "ada"},
        },
        "project/ada/rnn_tutorial": {
            "cuid": "p1",
            "name": "rnn_tutorial",
            "path": "/ada/rnn_tutorial",
            "group": {"username": "ada"},
            "_count": {"experiments": 0},
        },
        "project/ada/rnn_tutorial/experiment": {
            "cuid": "e1",
            "name": "baseline",
            "createdAt": "2026-01-01T00:00:00.000Z",
        },
    }

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.server.received.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.talking.wait()
        where, _, last = self.path.removeprefix("/api/").rpartition("/")
        if where.endswith("/runs") and last != self.server.experiment:
            self.send_error(404, "Not Found")
            return
        goes_on = last == "experiment" and self.server.experiment
        self.answer(200 if goes_on else self.server.status, self.answers.get(f"{where}/{last}", {}))

    def answer(self, status, content):
        content = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


def posted_points(cloud):
    """Name, step and value of each number that the cloud received."""
    bodies = [json.loads(body) for body in cloud.received if b'"metrics"' in body]
    return [(p["key"], p["index"], p["data"]) for body in bodies for p in body["metrics"]]


@pytest.fixture
def login(monkeypatch):
    def to(port):
        monkeypatch.setenv("SWANLAB_API_KEY", "0123456789abcdefghijk")
        monkeypatch.setenv("SWANLAB_API_HOST", f"http://127.0.0.1:{port}")

    return to


def test_a_closed_port_is_local(login):
    with closed_port() as port:
        login(port)
        notice = track("online")[1]
    assert notice.startswith(f"SwanLab: local (http://127.0.0.1:{port} does not answer)")


def test_a_silent_server_is_local_within_seconds(login):
    with silent_server() as port:
        login(port)
        begin = time.monotonic()
        assert track("auto")[0] == "local"
    assert time.monotonic() - begin < 60


def test_a_wrong_key_is_local_and_says_why(login, capfd):
    with Cloud(status=401) as cloud:
        login(cloud.server_port)
        mode, notice = track("online")
    assert mode == "local"
    assert notice.startswith("SwanLab: local (online failed: ")
    assert "API key" in notice
    assert "\n" not in notice
    assert capfd.readouterr() == ("", "")


def test_a_login_that_never_ends_is_local(login, monkeypatch):
    said = []
    with Cloud() as cloud:
        cloud.talking.clear()
        login(cloud.server_port)
        tracker = start_tracker("online", run_name="x", config={}, say=said.append)
        online = tracker._worker
        with monkeypatch.context() as patch:
            patch.setattr(tracking, "_START_SECONDS", 2.0)  # for online alone
            take_answers_until(tracker, lambda: tracker._worker is not online)
        tracker.finish()
    assert said[0].startswith("SwanLab: local (no answer within 2 s)")


def test_a_cloud_that_works_is_used(login, capfd):
    with Cloud() as cloud:
        login(cloud.server_port)
        mode, notice = track("auto")
        web = f"http://127.0.0.1:{cloud.server_port}"
    assert mode == "online"
    assert notice == f"SwanLab: online: {web}/@ada/rnn_tutorial/runs/e1"
    assert posted_points(cloud) == [("loss", 0, 1.0), ("loss", 1, 0.5), ("loss", 2, 1 / 3)]
    assert capfd.readouterr() == ("", "")


def test_a_cloud_that_falls_silent_does_not_hold_the_training(login, monkeypatch, capfd):
    monkeypatch.setitem(tracking._FINISH_SECONDS, "online", 1.0)
    with Cloud() as cloud:
        login(cloud.server_port)
        tracker = start("online")
        cloud.talking.clear()
        tracker.log({"loss": 0.5}, 1)
        begin = time.monotonic()
        tracker.finish()
        assert 1 < time.monotonic() - begin < 60
    assert (
        "SwanLab did not finish (no answer within 1 s); records so far: " in capfd.readouterr().err
    )


def test_online_without_a_login_is_local_and_a_terminal_shows_no_menu():
    controller, terminal = pty.openpty()
    body = """from rnn_tutorial.runs import tracking
tracking._SILENT_SECONDS = 60
t = start_tracker('online', run_name='x', config={}); t.log({'a': 1}, 1); t.finish()"""
    process = run_script(
        body, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    shown = os.read(controller, 10_000).decode()
    assert shown == "SwanLab: local (not logged in): `swanlab watch` shows the curves\r\n"
    os.close(controller)


# ---- a disk or an installation that cannot be used -----------------------------------------------


def test_an_unwritable_log_directory_disables(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWANLAB_LOG_DIR", str(tmp_path / "file" / "logs"))
    mode, notice = track()
    assert mode == "disabled"
    assert notice.startswith("SwanLab: disabled (local failed: ")
    assert "offline failed: " in notice


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_disk_that_fills_up_ends_the_tracking_once(capfd):
    import resource

    tracker = start()
    resource.prlimit(tracker._worker._process.pid, resource.RLIMIT_FSIZE, (0, 0))
    for step in range(100):  # SwanLab writes when it has a hundred records
        tracker.log({"loss": 1.0}, step)
    wait_until(lambda: tracker.log({"loss": 1.0}, 100) or tracker.mode == "disabled")
    tracker.finish()
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.startswith("SwanLab stopped (")


def test_without_swanlab_nothing_happens(monkeypatch):
    monkeypatch.setitem(sys.modules, "swanlab", None)
    mode, notice = track("auto")
    assert mode == "disabled"
    assert "pip install 'swanlab[dashboard]'" in notice


def test_a_broken_swanlab_disables(tmp_path, monkeypatch):
    (tmp_path / "swanlab.py").write_text("raise ImportError('a piece is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    assert track("auto")[1].startswith("SwanLab: disabled (a piece is missing")


def test_without_the_dashboard_package_it_is_offline(tmp_path, monkeypatch):
    (tmp_path / "swanboard.py").write_text("raise ImportError('no swanboard here')")
    monkeypatch.syspath_prepend(tmp_path)
    mode, notice = track("local")
    assert mode == "offline"
    assert notice.startswith("SwanLab: offline (local failed: ImportError: ")


def test_no_process_can_be_started(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(tracking.subprocess, "Popen", refuse)
    assert track("local")[0] == "disabled"


# ---- a SwanLab that misbehaves -------------------------------------------------------------------


def test_a_log_that_raises_is_told_once(fake_swanlab, capfd):
    fake_swanlab(log="raise OSError('two\\nlines')")
    tracker = start()
    tracker.log({"loss": 1.0}, 0)
    wait_until(lambda: not tracker._worker._inbox.empty())
    for step in range(1, 4):
        tracker.log({"loss": 1.0}, step)
    tracker.finish()
    line = "SwanLab stopped (two lines); training continues without it\n"
    assert capfd.readouterr() == ("", line)
    assert tracker.mode == "disabled"


def test_a_value_that_is_no_number_is_told_once(fake_swanlab, capfd):
    fake_swanlab()
    tracker = start()
    for step in range(3):
        tracker.log({"loss": "a lot"}, step)
    assert capfd.readouterr().err.count("could not convert string to float") == 1


@pytest.mark.parametrize("habit", ["sys.exit(1)", "import os; os._exit(1)"])
def test_a_worker_that_dies_is_noticed(habit, fake_swanlab, capfd):
    fake_swanlab(log=habit)
    tracker = start()
    tracker.log({"loss": 1.0}, 0)
    wait_until(lambda: not tracker._worker._inbox.empty())
    tracker.log({"loss": 1.0}, 1)
    assert capfd.readouterr().err.startswith("SwanLab stopped (")


def test_a_finish_that_hangs_is_cut_short(fake_swanlab, monkeypatch, capfd):
    monkeypatch.setitem(tracking._FINISH_SECONDS, "local", 0.3)
    fake_swanlab(finish="time.sleep(1000)")
    tracker = start()
    process = tracker._worker._process
    begin = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begin < 60
    assert process.returncode == -signal.SIGKILL
    line = "SwanLab did not finish (no answer within 0.3 s); records so far: the run's directory\n"
    assert capfd.readouterr() == ("", line)


def test_a_finish_that_raises_is_told(fake_swanlab, capfd):
    fake_swanlab(finish="raise RuntimeError('the network is down')")
    track()
    assert "SwanLab did not finish (the network is down)" in capfd.readouterr().err


def test_an_init_that_hangs_ends_in_silence(fake_swanlab, monkeypatch):
    monkeypatch.setattr(tracking, "_START_SECONDS", 0.3)
    fake_swanlab(init="time.sleep(1000)")
    assert track()[0] == "disabled"


def test_an_import_that_hangs_is_not_tried_again(tmp_path, monkeypatch, capfd):
    (tmp_path / "swanlab.py").write_text("import time; time.sleep(1000)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tracking, "_IMPORT_SECONDS", 1.0)
    said = []
    tracker = start_tracker("local", run_name="x", config={}, say=said.append)
    tracker.log({"loss": 1.0}, 1)
    tracker.finish()
    assert said == ["SwanLab: disabled (no answer within 1 s)"]
    assert capfd.readouterr() == ("", "")


def test_a_slow_swanlab_does_not_slow_the_training(fake_swanlab, monkeypatch):
    monkeypatch.setitem(tracking._FINISH_SECONDS, "local", 0.1)
    fake_swanlab(log="time.sleep(1000)")
    tracker = start()
    begin = time.monotonic()
    for step in range(10_000):  # far more than a pipe holds
        tracker.log({"loss": 1.0, "accuracy": 0.5}, step)
    tracker.finish()
    assert time.monotonic() - begin < 60


def test_bad_habits_stay_in_the_worker(fake_swanlab, capfd):
    fake_swanlab(
        init="""signal.signal(signal.SIGINT, lambda *_: None); sys.excepthook = print
    atexit.register(time.sleep, 1000); threading.Thread(target=time.sleep, args=(1000,)).start()
    print("hello"); print("hello", file=sys.stderr); sys.__stdout__.write("hello\\n")""",
        log="""try: input("Your choice? ")
        except EOFError: pathlib.Path(str(step)).touch()""",
    )
    before = signal.getsignal(signal.SIGINT), sys.excepthook, threading.active_count()
    tracker = start()
    assert tracker.mode == "local", tracker.notice
    assert (signal.getsignal(signal.SIGINT), sys.excepthook) == before[:2]
    for step in range(3):
        tracker.log({"loss": 1.0}, step)
    tracker.finish()
    assert (signal.getsignal(signal.SIGINT), sys.excepthook, threading.active_count()) == before
    assert sorted(path.name for path in Path().iterdir()) == ["0", "1", "2"]
    assert capfd.readouterr() == ("", "")


def test_looking_for_an_answer_never_waits(fake_swanlab):
    fake_swanlab()
    tracker = start()
    worker = tracker._worker
    for _ in range(100_000):  # on Python 3.10, a SimpleQueue hangs once in some 40,000
        worker._inbox.put({})
        assert worker.receive(wait=False) == {}
        assert worker.receive(wait=False) is None
    tracker.finish()


# ---- beside the training -------------------------------------------------------------------------


def recorded():
    """What SwanLab's stand-in has written down."""
    return Path("recorded").read_text().split()


WRITE_DOWN = "print(step, values['loss'], sep=':', file=open('recorded', 'a'))"


def log_steps(tracker, steps):
    for step in steps:
        tracker.log({"loss": step / 2}, step)


def test_a_training_does_not_wait_for_a_slow_start(fake_swanlab):
    fake_swanlab(
        init="import pathlib\n    while not pathlib.Path('go').exists(): time.sleep(0.01)",
        log=WRITE_DOWN,
    )
    said = []
    tracker = start_tracker("local", run_name="x", config={}, say=said.append)
    log_steps(tracker, range(3))
    tracker.end()
    assert (tracker.mode, said) == ("starting", [])
    Path("go").touch()
    tracker.finish()
    assert (tracker.mode, len(said)) == ("local", 1)
    assert recorded() == ["0:0.0", "1:0.5", "2:1.0"]


def test_a_mode_that_fails_late_loses_nothing(fake_swanlab):
    """The next mode gets what was logged before, in order, and what is logged later."""
    init = """while not pathlib.Path('go').exists(): time.sleep(0.01)
    if settings['mode'] == 'local': raise OSError('no room')"""
    fake_swanlab(init=init, log=WRITE_DOWN)
    said = []
    tracker = start_tracker("local", run_name="x", config={}, say=said.append)
    log_steps(tracker, range(2))
    assert tracker.mode == "starting"
    local = tracker._worker
    Path("go").touch()
    take_answers_until(tracker, lambda: tracker._worker is not local)
    log_steps(tracker, range(2, 4))
    take_answers_until(tracker, lambda: tracker.mode == "offline")
    log_steps(tracker, range(4, 6))
    tracker.finish()
    assert said[0].startswith("SwanLab: offline (local failed: no room): ")
    assert recorded() == [f"{step}:{step / 2}" for step in range(6)]


def test_the_last_mode_that_fails_is_said_and_nothing_is_recorded(fake_swanlab, capfd):
    fake_swanlab(init="raise OSError('no room')")
    said = []
    tracker = start_tracker("local", run_name="x", config={}, say=said.append)
    log_steps(tracker, range(2))
    tracker.end()
    tracker.finish()
    assert said == ["SwanLab: disabled (local failed: no room; offline failed: no room)"]
    assert capfd.readouterr() == ("", "")


def test_a_summary_does_not_wait_and_ctrl_c_ends_the_waiting(
    fake_swanlab, tmp_path, start_script, script_environment
):
    fake_swanlab(finish="time.sleep(1000)")
    environment = script_environment | {"PYTHONPATH": str(tmp_path)}
    flags = ["--tracker", "local", "--total_steps", "10", "--engine", "autograd"]
    process = start_script("train_cls_rnn.py", *flags, cwd=Path.cwd(), env=environment)
    with process:
        awaited = {"SwanLab: local", "Ask it: python"}  # the end of the summary
        for line in process.stdout:
            awaited.discard(line[:14])
            if not awaited:
                break
        assert not awaited
        assert process.stderr.readline() == "Waiting for SwanLab; Ctrl-C ends the wait\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    sentence = "Stopped waiting for SwanLab: its last curves may be missing; the run is saved"
    assert errors == f"{sentence}\n"


def test_a_second_signal_ends_the_waiting_too(fake_swanlab, monkeypatch, capfd):
    fake_swanlab()
    tracker = start()

    def stop_at_once(wait):
        sys.exit(130)  # as StopSignals does

    monkeypatch.setattr(tracker, "_take_answer", stop_at_once)
    tracker.finish()
    assert "Stopped waiting for SwanLab: its last curves may be missing" in capfd.readouterr().err


# ---- a run that is resumed -----------------------------------------------------------------------


def posted_experiments(cloud):
    """The identity in each request that makes an experiment or goes on with it."""
    bodies = [json.loads(body) for body in cloud.received if b'"colors"' in body]
    return [body["cuid"] for body in bodies]


def test_a_resumed_run_goes_on_in_the_same_experiment_online(login):
    with Cloud() as cloud:
        login(cloud.server_port)
        track("online", range(2), run_id="abc")
        cloud.experiment = "abc"
        mode, notice = track("online", range(1, 4), run_id="abc", is_resumed=True)
    assert mode == "online"
    assert "(the same experiment goes on)" in notice
    assert posted_experiments(cloud) == ["abc", "abc"]
    assert {step for _, step, _ in posted_points(cloud)} == {0, 1, 2, 3}


def test_a_run_that_was_not_online_before_is_a_new_experiment_there(login):
    with Cloud() as cloud:
        login(cloud.server_port)
        notice = track("online", range(1, 4), run_id="abc", is_resumed=True)[1]
    assert notice.startswith("SwanLab: online (a new experiment: there is no earlier one here): ")
    assert posted_experiments(cloud) == ["abc"]


def test_the_parts_of_a_resumed_offline_run_are_one_experiment_once_uploaded(login):
    first = track("offline", range(2), run_id="abc")[1]
    second = track("offline", range(2, 4), run_id="abc", is_resumed=True)[1]
    assert "(the same experiment once it is uploaded)" in second
    with Cloud() as cloud:
        login(cloud.server_port)
        for notice in (first, second):
            command = shlex.split(notice.split("`")[1])
            command[0] = str(Path(sys.executable).with_name(command[0]))
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            cloud.experiment = "abc"
    assert posted_experiments(cloud) == ["abc", "abc"]
    assert posted_points(cloud) == [("loss", step, 1 / (1 + step)) for step in range(4)]


def test_a_name_may_be_used_again_and_a_resumed_local_run_is_a_new_experiment_and_says_so():
    assert track(run_id="abc")[0] == track()[0] == "local"
    assert len([*Path("swanlog").glob("run-*")]) == 2
    notice = track("local", range(2, 4), run_id="abc", is_resumed=True)[1]
    assert notice.startswith("SwanLab: local (a new experiment: this mode cannot go on with an ")


# ---- a training that ends early ------------------------------------------------------------------


def test_exit_is_prompt_and_keeps_its_status(fake_swanlab):
    fake_swanlab(log="time.sleep(1000)", finish="time.sleep(1000)")
    body = """from rnn_tutorial.runs import tracking
tracking._ORPHAN_SECONDS = 0.1
start_tracker('local', run_name='x', config={}).log({'a': 1}, 1); sys.exit(3)"""
    begin = time.monotonic()
    assert run_script(body).wait(timeout=60) == 3
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_training_that_is_killed_leaves_a_closed_run(end):
    body = """t = start_tracker('local', run_name='x', config={}); t.log({'loss': 0.5}, 7)
import time; time.sleep(0.3); print('ready', flush=True)
while True: time.sleep(0.1)"""
    process = run_script(
        body, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with process:
        process.stdout.readline()
        os.killpg(process.pid, end)
        process.wait(timeout=20)
    assert process.returncode == -end
    wait_until(lambda: [*Path("swanlog").glob("run-*/console/error.log")])
    (record,) = Path("swanlog").glob("run-*/logs/1/1000.log")
    assert json.loads(record.read_text())["data"] == 0.5


def is_zombie(process):
    """True if it has ended, and nobody has asked how yet."""
    return psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_hangs_does_not_outlive_its_training_for_long(fake_swanlab):
    fake_swanlab(log="pathlib.Path('alive').write_text(str(os.getpid())); time.sleep(1000)")
    body = """from rnn_tutorial.runs import tracking
tracking._ORPHAN_SECONDS = 0.1
start_tracker('local', run_name='x', config={}).log({'a': 1}, 1)
import pathlib, time
for _ in range(1000):
    if not pathlib.Path('alive').exists(): time.sleep(0.02)"""
    assert run_script(body).wait(timeout=60) == 0
    worker = int(Path("alive").read_text())
    wait_until(lambda: worker not in psutil.pids() or is_zombie(worker))


def test_a_worker_whose_training_died_before_it_looked_ends_too(fake_swanlab):
    fake_swanlab(init="time.sleep(1000)")
    with subprocess.Popen(
        [sys.executable, tracking._WORKER_SCRIPT], stdin=subprocess.PIPE, text=True
    ) as worker:
        nobody = 2**22 + 1  # no process of this number is the parent
        print(json.dumps({"path": sys.path, "pid": nobody, "orphan_seconds": 0}), file=worker.stdin)
        worker.stdin.flush()
        try:
            assert worker.wait(timeout=30) == 1
        finally:
            worker.kill()
