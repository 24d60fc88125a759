"""What a terminal can show: the width of a text, what must never reach it, and plain words for its signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Paint", "Screen", "escaped", "plain", "shortened", "shows", "width"]

Paint = Callable[[str, str], str]
"""Gives a text a colour."""

_PLAIN: Final[Mapping[str, str]] = {
    "µ": "u", "±": "+-", "×": "x", "÷": "/", "…": "...", "–": "-", "→": "->", "²": "2",
}  # fmt: skip
"""The signs of our sentences, and what an ASCII terminal shows in their place."""

_DRAWN: Final = "▕█▌▏▁"
"""What bars and lines are drawn of; who draws has an ASCII form of the drawing."""

_FEWEST = 4
"""Columns below which a shortened text says nothing."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a person reads.

    Args:
        room: columns of the terminal; ``None`` for a pipe or a log, where lines have no end.
        ascii_only: whether it can show no other characters.
        paint: gives a text a colour, ``None`` where there are none.
    """

    room: int | None = None
    ascii_only: bool = False
    paint: Paint | None = None


def shows(encoding: str | None) -> bool:
    """Return whether a stream of this encoding can show every sign and every drawing.

    >>> shows("utf-8"), shows("latin-1"), shows(None)
    (True, False, False)
    """
    try:
        "".join((*_PLAIN, _DRAWN)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain(text: str, ascii_only: bool) -> str:
    r"""Return a text as a stream can show it; what has no plain word is escaped, so that two names stay two.

    >>> plain("2 µs ±1%", ascii_only=True), plain("größer", ascii_only=True)
    ('2 us +-1%', 'gr\\xf6\\xdfer')
    """
    if not ascii_only or text.isascii():
        return text
    for fancy, simple in _PLAIN.items():
        text = text.replace(fancy, simple)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def escaped(text: str) -> str:
    r"""Return a text from elsewhere with everything escaped that would steer a terminal or has no width of its own.

    That is what Python's ``repr`` escapes too: control characters, line ends, marks of direction, odd spaces.

    >>> print(escaped("a\x1b[31m\n"))
    a\x1b[31m\n
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def width(text: str) -> int:
    """Return how many columns of a terminal a printable text takes.

    >>> width("test_a"), width("試験"), width("e\u0301")
    (6, 4, 1)
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    columns: int = wcswidth(text)
    return columns


def shortened(text: str, room: int, ascii_only: bool = False, keep: float = 0.0) -> str:
    """Return a text cut to a width, its end kept: that is where ids of tests have their parameters.

    Args:
        text: printable.
        room: columns there are.
        ascii_only: whether the mark of the cut is ``...`` in place of ``…``.
        keep: the share of the room that the beginning of the text gets.

    >>> shortened("test_matmul.py::test_matmul[fp16]", 20), shortened("test_matmul.py::test_matmul[fp16]", 20, keep=0.5)
    ('…::test_matmul[fp16]', 'test_matm…tmul[fp16]')
    """
    if width(text) <= room:
        return text
    mark = "..." if ascii_only else "…"
    rest = max(room - len(mark), _FEWEST - len(mark))
    head = _beginning(text, int(rest * keep))
    return f"{head}{mark}{_end(text, rest - width(head))}"


def _beginning(text: str, room: int) -> str:
    cut = min(room, len(text))
    while cut and width(text[:cut]) > room:
        cut -= 1
    return text[:cut]


def _end(text: str, room: int) -> str:
    cut, taken = len(text), 0
    while cut and (taken := taken + max(0, width(text[cut - 1]))) <= room:
        cut -= 1
    while cut < len(text) and (width(text[cut:]) > room or _adds_nothing(text[cut])):
        cut += 1
    return text[cut:]


def _adds_nothing(character: str) -> bool:
    """Whether it belongs to the character before it, such as an accent."""
    return width(character) <= 0
