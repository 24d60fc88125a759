"""The transient line of a measurement: on a terminal only, and wiped out at the end."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gpuprof.plugin import progress
from pytest_gpuprof.plugin.progress import Progress
from pytest_gpuprof.plugin.settings import Settings


class Terminal:
    """A terminal, a clock and a configuration, all fake."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = io.StringIO()
        self.now_s = 100.0
        self.tty = True
        self.verbosity = 0
        self.worker: str | None = None
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setenv("TERM", "xterm")

    def progress(self) -> Progress:
        reporter = SimpleNamespace(
            isatty=lambda: self.tty, _tw=SimpleNamespace(_file=self.file, fullwidth=40, width_of_current_line=10)
        )
        plugins: dict[str, Any] = {"terminalreporter": reporter}
        config: Any = SimpleNamespace(
            pluginmanager=SimpleNamespace(get_plugin=plugins.get), get_verbosity=lambda: self.verbosity
        )
        settings: Settings | Any = SimpleNamespace(worker=self.worker)
        return Progress(config, settings)

    def shown(self, *moments_s: float) -> str:
        """Return what is written when something is said at these moments of a measurement."""
        line = self.progress()
        began_s = self.now_s
        with line.of("matmul"):
            for number, moment_s in enumerate(moments_s, 1):
                self.now_s = began_s + moment_s
                line.say(f"round {number}")
        return self.file.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A fake terminal."""
    return Terminal(monkeypatch)


def test_what_is_done_is_shown_and_wiped_out(terminal: Terminal) -> None:
    """One line says what is done and for how long; the cursor stays where it was, and the end erases it."""
    assert terminal.shown(2.4) == "\x1b7 [matmul: round 1, 2 s]\x1b[K\x1b8\x1b[K"


def test_the_line_changes_only_now_and_then(terminal: Terminal) -> None:
    """Within a fifth of a second it is not written again."""
    assert terminal.shown(1.5, 1.6, 1.65, 1.8).count("\x1b7") == 2


def test_the_line_fits_the_terminal(terminal: Terminal) -> None:
    """What would not fit behind the dots is cut."""
    terminal.shown(1.5)
    line = terminal.file.getvalue().partition("\x1b7")[2].partition("\x1b[K")[0]
    assert len(line) <= 29


@pytest.mark.parametrize("why", ["no terminal", "worker", "quiet", "CI", "dumb"])
def test_there_is_no_line(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Never where it is no terminal, in a worker, with -q, in CI or on a dumb terminal."""
    terminal.tty = why != "no terminal"
    terminal.worker = "gw0" if why == "worker" else None
    terminal.verbosity = -1 if why == "quiet" else 0
    if why == "CI":
        monkeypatch.setenv("CI", "true")
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    assert terminal.shown(1.5, 2.5) == ""


def test_a_failure_wipes_the_line_out(terminal: Terminal) -> None:
    """A measurement that ends with an exception leaves nothing on the line."""
    line = terminal.progress()

    def fail() -> None:
        line.say("round 1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), line.of("matmul"):
        fail()
    assert terminal.file.getvalue().endswith("\x1b[K")
