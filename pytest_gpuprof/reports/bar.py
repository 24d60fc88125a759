"""The headroom of a budget as a number of few characters, and as a small bar."""

from __future__ import annotations

import math
from typing import Final

from pytest_gpuprof.budgets.headroom import Headroom
from pytest_gpuprof.core.quantities import format_number

__all__ = ["bar", "told"]

_CELLS: Final = 6
"""Characters of a bar: with eighths of a block it shows 2 %."""

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"

_MANY: Final = 10.0
"""From ten times the limit on, its multiple is read more easily than a percentage."""


def told(headroom: Headroom) -> str:
    """Return the headroom with its sign: what is left, or how far beyond the limit the figure lies.

    It is never rounded to all or nothing.

    >>> from pytest_gpuprof.core.results import Verdict
    >>> [told(Headroom(Verdict("met", "min_speedup", ""), share)) for share in (0.623, 0.9999, 0.004, 0, -0.12, -34.4)]
    ['+62%', '+99%', '+0.4%', '0%', '-12%', '-35x']
    """
    share = headroom.share
    if share == -math.inf:
        return "beyond"
    sign = "-" if share < 0 else "+" if share > 0 else ""
    size = abs(share)
    if 1 + size >= _MANY and share < 0:
        return f"{sign}{format_number(1 + size, 2)}x"
    if 0 < size < 0.01:
        return f"{sign}{format_number(max(100 * size, 0.01), 1)}%"
    return f"{sign}{min(round(100 * size), 99) if 0 < share < 1 else round(100 * size)}%"


def bar(headroom: Headroom, ascii_only: bool) -> str:
    """Return a bar as long as what is left; of ``!`` for what is beyond the limit; of ``?`` where it is not certain.

    Args:
        headroom: of a budget.
        ascii_only: whether blocks cannot be shown.

    >>> from pytest_gpuprof.core.results import Verdict
    >>> met, missed = Verdict("met", "max_energy", ""), Verdict("missed", "max_energy", "")
    >>> [bar(Headroom(met, 0.6), ascii_only) for ascii_only in (False, True)]
    ['▕███▋  ▏', '[####..]']
    >>> bar(Headroom(missed, -0.5), True), bar(Headroom(Verdict("inconclusive", "max_energy", ""), 0.5), True)
    ('[!!!...]', '[???...]')
    """
    size = min(abs(headroom.share), 1.0)
    sign = {"met": "#" if ascii_only else "", "missed": "!"}.get(headroom.verdict.outcome, "?")
    least = 1 if size else 0
    if sign:
        filled = sign * max(round(_CELLS * size), least)
    else:
        whole, rest = divmod(max(round(_CELLS * 8 * size), least), 8)
        filled = "█" * whole + (_EIGHTHS[rest] if rest else "")
    if ascii_only:
        return f"[{filled:.<{_CELLS}}]"
    return f"▕{filled:<{_CELLS}}▏"
