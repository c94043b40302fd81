"""A signal requests a stop; a second one stops at once, but only if it comes clearly later."""

import signal
import time

import pytest

from rnn_tutorial.runs.terminal import StopSignals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_unless_it_is_an_echo(signum, monkeypatch):
    before = signal.getsignal(signum)
    with StopSignals() as stop:
        assert stop.signum is None
        signal.raise_signal(signum)
        signal.raise_signal(signum)
        assert stop.signum == signum
        later = time.monotonic() + 2
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with pytest.raises(SystemExit) as stopped:
            signal.raise_signal(signum)
        assert stopped.value.code == 128 + signum
    assert signal.getsignal(signum) == before
