"""How a run, or a workload, ends early: by SIGTERM, and by an exception of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

__all__ = ["Termination", "without_our_frames"]

_PACKAGE = str(Path(__file__).parents[1])


class Termination:
    """Lets SIGTERM end a run as Ctrl-C does: what was held still is restored, and all results are kept and written."""

    def __init__(self) -> None:
        self._before: Any = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Take SIGTERM."""
        try:
            self._before = signal.signal(signal.SIGTERM, _interrupt)
        except ValueError:  # not the main thread
            self._before = None

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Give SIGTERM back."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt(f"signal {signal.Signals(signum).name}")


def without_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback with only the frames of others: a workload's error is about the workload, not about us."""
    frames = []
    while traceback is not None:  # not by recursion: the error may be one of too deep recursion
        if not traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            frames.append(traceback)
        traceback = traceback.tb_next
    kept: TracebackType | None = None
    for frame in reversed(frames):
        frame.tb_next = kept
        kept = frame
    return kept
