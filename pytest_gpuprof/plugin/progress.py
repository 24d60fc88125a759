"""One transient line on a terminal while a long measurement runs, written between timed regions only.

Never under xdist, in CI, with ``-q``, or where the output is not a terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_gpuprof.plugin.settings import Settings

__all__ = ["Progress"]

_EVERY_S = 0.2
"""Five lines a second are as many as a person reads."""


class Progress:
    """Shows what is being done."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._config = config
        self._settings = settings
        self._name = ""
        self._began_s = 0.0
        self._last_s = 0.0
        self._shown = False

    def _terminal(self) -> Any:
        reporter = self._reporter or self._config.pluginmanager.get_plugin("terminalreporter")
        self._reporter = reporter
        if reporter is None or self._settings.worker or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
            return None
        if not reporter.isatty() or self._config.get_verbosity() < 0:
            return None
        return reporter._tw._file

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Show what is done for one profile, and wipe it out at the end."""
        self._name, self._began_s = name, time.monotonic()
        try:
            yield
        finally:
            self._wipe()

    def say(self, what: str) -> None:
        """Show what is being done now."""
        now = time.monotonic()
        if now - self._last_s < _EVERY_S:
            return
        file = self._terminal()
        if file is None:
            return
        self._last_s, self._shown = now, True
        width = self._reporter._tw.fullwidth
        column = self._reporter._tw.width_of_current_line
        text = f" [{self._name}: {what}, {now - self._began_s:.0f} s]"[: max(0, width - column - 1)]
        self._write(file, f"\x1b7{text}\x1b[K\x1b8")  # save the cursor, write, erase the rest, restore the cursor

    def _wipe(self) -> None:
        if self._shown and (file := self._terminal()) is not None:
            self._write(file, "\x1b[K")
        self._shown = False

    def _write(self, file: Any, text: str) -> None:
        if self._capture is None:
            file.write(text)
            file.flush()
            return
        with self._capture.global_and_fixture_disabled():
            file.write(text)
            file.flush()
