"""`.ci/run` with interpreters that only pretend: which are tested, and what fails the run."""

import os
import shutil
import subprocess

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.skipif(
    os.name == "nt" or shutil.which("bash") is None, reason="needs bash and POSIX"
)

# As an interpreter it tells its version and makes an environment; there it is the `python` that
# installs and tests, and `ruff`.
PYTHON = """#!/bin/sh
case "$*" in
    *sys.version_info*) echo {version} ;;
    "-m venv "*)
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/ruff"
        echo "PATH=$3/bin:\\$PATH" > "$3/bin/activate" ;;
    *"{failing}"*) echo "{version} ends here"; exit 3 ;;
    "-m pytest") echo "{version}: 12 passed" ;;
esac
"""
SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n"


def run_ci(tmp_path, pythons):
    """The command with these files as `python3`, `python3.x` on the PATH or .pyenv/versions/x."""
    for name, script in pythons.items():
        folder = tmp_path / ".pyenv/versions" / name / "bin" if name[0] == "3" else tmp_path / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("python" if name[0] == "3" else name)
        file.write_text(script)
        file.chmod(0o755)
    for name in ("bash", "cp", "dirname", "grep", "mkdir", "mktemp", "rm", "sh", "tail", "tee"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [shutil.which("bash"), REPOSITORY / ".ci/run"],
        env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=120,
    )  # fmt: skip
    assert not list(tmp_path.glob("tmp.*"))
    return done


def python(version, failing="nothing"):
    return PYTHON.format(version=version, failing=failing)


def test_a_machine_with_one_python_passes_and_says_what_was_not_found(tmp_path):
    done = run_ci(tmp_path, {"python3": python("3.11"), "python3.12": SHIM, "3.9.1": python("3.9")})
    assert (done.returncode, done.stderr) == (0, "")
    *_, tests, lint, missing = done.stdout.splitlines()
    assert tests.startswith("Python 3.11 (python3): passed") and "3.11: 12 passed" in tests
    assert lint.startswith("ruff: passed") and missing == "not found: 3.10, 3.12, 3.13"


@pytest.mark.parametrize("failing", ["pip install", "pytest"])
def test_every_python_is_tested_once_and_one_that_fails_fails_all(tmp_path, failing):
    pythons = {"python3": python("3.11"), "python3.10": python("3.10"), "python3.12": SHIM}
    pythons |= {"3.11.7": SHIM, "3.12.1": python("3.12", failing), "3.13.0": python("3.13")}
    done = run_ci(tmp_path, pythons)
    assert done.returncode == 1
    assert done.stderr == f"failed: Python 3.12 ({tmp_path}/.pyenv/versions/3.12.1/bin/python)\n"
    report = done.stdout.splitlines()[-5:]
    assert [line.split(" (")[0] for line in report if line[0] == "P"] == [
        f"Python {version}" for version in ("3.11", "3.10", "3.12", "3.13")
    ]
    assert "3.12 ends here" in report[3] and "3.13: 12 passed" in report[4]
    assert "not found" not in done.stdout


@pytest.mark.parametrize("failing", ["pip install", "-m pytest", "check .", "format --check"])
def test_what_fails_on_the_machines_own_python_fails_the_run(tmp_path, failing):
    done = run_ci(tmp_path, {"python3": python("3.11", failing), "3.13.0": python("3.13")})
    own = "ruff" if failing.endswith(("check", ".")) else "Python 3.11 (python3)"
    assert (done.returncode, done.stderr) == (1, f"failed: {own}\n")
    assert "3.13: 12 passed" in done.stdout
