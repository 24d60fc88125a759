"""Text that occurs several times is in the page once: workloads share most of their words and reasons. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

__all__ = ["MARK", "shared"]

MARK: Final = "~"
"""What stands before the number of a shared text. Text that begins with it itself is shared too: none is mistaken."""

_LEAST = 6
"""Shorter text is not longer than its number would be."""


def shared(value: Any) -> dict[str, Any]:
    """Return builtins with each text that occurs more than once replaced by its number.

    Args:
        value: of mappings, lists, numbers and text; the keys of mappings stay.

    >>> shared(["a longer text", "a longer text", "short"])
    {'texts': ['a longer text'], 'value': ['~0', '~0', 'short']}
    """
    counted = Counter(_texts(value))
    kept = [text for text, count in counted.items() if text.startswith(MARK) or (count > 1 and len(text) >= _LEAST)]
    numbers = {text: f"{MARK}{number}" for number, text in enumerate(kept)}
    return {"texts": kept, "value": _replaced(value, numbers)}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [text for part in parts for text in _texts(part)]


def _replaced(value: Any, numbers: dict[str, str]) -> Any:
    if isinstance(value, str):
        return numbers.get(value, value)
    if isinstance(value, dict):
        return {key: _replaced(each, numbers) for key, each in value.items()}
    return [_replaced(each, numbers) for each in value] if isinstance(value, (list, tuple)) else value
