"""Text formats: a pure function from a run document to text, and one way to write it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TextReport", "encoded", "write_text"]


@dataclass(frozen=True, slots=True)
class TextReport:
    """An output format.

    Args:
        text: what makes the text of a document.
    """

    text: Callable[[Mapping[str, Any]], str]

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the document in this format, whole or not at all; to standard output where the path is ``-``.

        Raises:
            OSError: if it cannot be written.
        """
        write_text(self.text(document), path)


def encoded(text: str) -> bytes:
    """Return UTF-8; half a surrogate pair, which a test's parameter may hold, is written as its number."""
    return text.encode("utf-8", "backslashreplace")


def write_text(text: str, path: str) -> None:
    """Write text whole or not at all: to a neighbouring file first, which then takes the name.

    Args:
        text: what to write.
        path: where; ``-`` is standard output.

    Raises:
        OSError: if it cannot be written.
    """
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded(text))  # whatever the terminal's encoding, the next program wants UTF-8
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(encoded(text))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
