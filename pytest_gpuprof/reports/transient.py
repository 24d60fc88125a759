"""One line of a terminal that is written over and over: what it says, and how often. Who writes it knows where."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Mapping
from typing import TextIO

from pytest_gpuprof.core.progress import Progress

__all__ = ["Pace", "columns_of", "fitting", "is_watched"]

_HELD_BACK_S = 0.5
"""What is over sooner would only flicker."""

_EVERY_S = 0.2
"""Five lines a second are as many as a person reads."""

_LEAST_COLUMNS = 20
"""In less there is no room for anything but the name."""

_PLAIN: Mapping[str, str] = {"µ": "u", "÷": "/", "×": "x", "…": "..."}


def is_watched(is_terminal: bool) -> bool:
    """Return whether a person looks at a stream: it is a terminal, not a dumb one, and not the log of a CI."""
    on_ci = any(os.environ.get(name) for name in ("CI", "BUILD_NUMBER"))  # those that pytest looks at
    return is_terminal and os.environ.get("TERM") != "dumb" and not on_ci


def columns_of(stream: TextIO) -> int:
    """Return how wide a terminal is now, and 0 if it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


class Pace:
    """When to write: not about what is over in a moment, and five times a second at most.

    A new phase is told at once: it may be a long one, and nothing is told within it.

    Args:
        clock: seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Something new begins."""
        self._began_s, self._last_s, self._last = self._clock(), float("-inf"), ("", "", "")

    def is_due(self, progress: Progress) -> bool:
        """Return whether to write now; if so, this counts as written."""
        now_s, phase = self._clock(), (progress.phase, progress.place, progress.stage)
        if not progress.lasting and now_s - self._began_s < _HELD_BACK_S:
            return False
        if phase == self._last and now_s - self._last_s < _EVERY_S:
            return False
        self._last_s, self._last = now_s, phase
        return True


def fitting(name: str, progress: Progress, columns: int, encoding: str | None) -> str:
    """Return a line that fits: what matters least is left out whole, for half a figure is another figure.

    Args:
        name: of the profile, empty for none.
        progress: what is done.
        columns: of the terminal; the last one stays free, for some terminals wrap when it is written.
        encoding: of the stream.

    >>> step = Progress("round", step=2, steps=24, left_s=11.2, at_most=True, then=("energy",))
    >>> fitting("matmul", step, 80, "ascii")
    'matmul: round 2 of 24, at most 12 s left, then energy'
    >>> fitting("matmul", step, 42, "ascii")
    'matmul: round 2 of 24, at most 12 s left'
    """
    if columns < _LEAST_COLUMNS:
        return ""
    parts = list(progress.parts)
    while True:
        text = _shown(f"{name}: {', '.join(parts)}" if name else ", ".join(parts), encoding or "ascii")
        if _width(text) < columns:
            return text
        if len(parts) == 1:
            return _cut(text, columns - 1)
        parts.pop()


def _shown(text: str, encoding: str) -> str:
    """Return what a stream can show of a text, and nothing that moves the cursor."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        for fancy, plain in _PLAIN.items():
            text = text.replace(fancy, plain)
        text = text.encode("ascii", "replace").decode("ascii")
    return "".join(character if character.isprintable() else "?" for character in text)


def _width(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Me":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, columns: int) -> str:
    """Return the beginning of a text, with dots for what is missing."""
    kept, left = "", columns - len("...")
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept += character
    return f"{kept}..."
