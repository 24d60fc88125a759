"""One transient line on a terminal while a long measurement runs, written between timed regions only.

It stands in the row below the one that pytest is writing, and the cursor stays where pytest left it. So dots and
columns are not touched, and whatever is written next only has to erase what is below the cursor.

Never under xdist, in CI, with ``-q``, where the output is not a terminal, nor where pytest does not capture everything:
a workload that prints would print into the line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_gpuprof.core.progress import Progress, Watch
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.reports.transient import Pace, columns_of, fitting, is_watched

__all__ = ["ProgressLine"]

_DRAW = "\x1bD\x1b[A\x1b7\x1b[B\r{}\x1b[J\x1b8"
"""Make a row below, by scrolling if need be; save the cursor, go there, write, erase the rest, and go back."""

_WIPE = "\x1b[J"
"""Erase from the cursor to the end of the screen, where nothing but the line can be; also what a narrower terminal has
wrapped."""


class ProgressLine:
    """Shows how far a measurement is.

    Args:
        config: of the run.
        settings: of the run.
        clock: seconds on a monotonic clock.
    """

    def __init__(self, config: pytest.Config, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._settings = settings
        self._pace = Pace(clock)
        self._name = ""
        self._guard: _Guard | None = None

    @property
    def watch(self) -> Watch | None:
        """Who wants to be told, ``None`` if nobody looks: then nothing is worth being told."""
        return self._say if self._is_wanted() else None

    def _is_wanted(self) -> bool:
        config = self._config
        reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        return bool(
            self._settings.progress
            and not self._settings.workers
            and sys.platform != "win32"  # its terminal may be behind a translator that does not know these codes
            and hasattr(getattr(reporter, "_tw", None), "_file")  # a plugin may have brought another reporter
            and is_watched(reporter.isatty())  # it knows; its file may be captured just now
            and config.get_verbosity() >= 0
            and config.getoption("capture", "no") == "fd"
        )

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Show what is done for one profile, and wipe it out at the end."""
        self._name = name
        self._pace.begin()
        try:
            yield
        finally:
            if self._guard is not None:
                self._guard.wipe()
                self._guard = None

    def _say(self, progress: Progress) -> None:
        if not self._pace.is_due(progress):
            return
        if self._guard is None:
            reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
            self._guard = _Guard(reporter._tw, self._config.pluginmanager.get_plugin("capturemanager"))
        self._guard.draw(self._name, progress)


class _Guard:
    """The line, and in place of the terminal's file while it is there: whoever else writes wipes it out first."""

    def __init__(self, writer: Any, capture: Any) -> None:
        self._writer = writer
        self._capture = capture
        self._file = writer._file

    def draw(self, name: str, progress: Progress) -> None:
        with self._capture.global_and_fixture_disabled():
            columns = columns_of(self._file)
            text = fitting(name, progress, columns, getattr(self._file, "encoding", None))
            filled = self._writer.width_of_current_line
            if not text or (filled and filled % columns == 0):  # the cursor waits to wrap, and would lose that
                return
            self._put(_DRAW.format(text))
            self._writer._file = self

    def wipe(self) -> None:
        """Wipe the line out; where there is none, nothing happens."""
        if self._writer._file is self:
            self._writer._file = self._file
            with self._capture.global_and_fixture_disabled():
                self._put(_WIPE)

    def write(self, text: str) -> Any:
        """Write what somebody else has to say."""
        self.wipe()
        return self._file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _put(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError:  # a terminal that has gone is no reason to lose a measurement
            pass
