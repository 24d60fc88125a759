"""What goes where: results to standard output, and nothing else; remarks to standard error; colours to terminals."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from pytest_gpuprof.reports.screen import Screen, plain, shows

__all__ = ["as_csv", "as_json", "cell", "coloured", "has_colours", "note", "plain", "screen_of", "short_of_characters"]

_CODES: Mapping[str, str] = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}


def has_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal whose user has nothing against colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str | None, colours: bool) -> str:
    """Return a text in a colour, if there is one and the stream has any."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour and colours else text


def short_of_characters(stream: TextIO) -> bool:
    """Return whether a stream can show ASCII only, as under ``LC_ALL=C``."""
    return not shows(getattr(stream, "encoding", None))


def screen_of(stream: TextIO) -> Screen:
    """Return the screen behind a stream; a pipe has no width."""
    return Screen(
        room=shutil.get_terminal_size().columns if stream.isatty() else None,
        ascii_only=short_of_characters(stream),
        paint=(lambda text, colour: coloured(text, colour, True)) if has_colours(stream) else None,
    )


def note(text: str) -> None:
    """Tell the person something that is no result."""
    print(plain(text, short_of_characters(sys.stderr)), file=sys.stderr)


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return a result for a program: one line per row, which the eye can follow too."""
    if not isinstance(value, Mapping):
        return _rows(value, "")
    return "{\n" + ",\n".join(f"  {_line(key)}: {_rows(each, '  ')}" for key, each in value.items()) + "\n}"


def _rows(value: Any, indent: str) -> str:
    if not isinstance(value, (list, tuple)) or not value:
        return _line(value)
    return "[\n" + ",\n".join(f"{indent}  {_line(each)}" for each in value) + f"\n{indent}]"


_line = json.JSONEncoder(allow_nan=False).encode
"""Without indentation it is written several times as fast."""


def cell(value: object) -> object:
    """Return a value as a spreadsheet takes it: nothing for what is missing, ``true`` as JSON has it."""
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


def as_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a result for a spreadsheet: one line of names, one line per row; nothing for what is missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
