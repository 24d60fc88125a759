"""How far from a limit, in words: natural logarithms as per cent or as factors."""

from __future__ import annotations

import math

_LARGEST_FACTOR = 1000.0  # "over 1000x" from here: more digits would tell a person nothing
_SMALLEST_PERCENT = 0.01  # "under 0.01 %" below here: no clock resolves it


def span(near: float, far: float) -> str:
    """Write two distances from a limit in one unit: per cent, or factors when the far one is a factor of two or more.

    Args:
        near: The smaller distance, a natural logarithm of at least 0.
        far: The larger one; may be infinite.

    Example:
        >>> span(0.105, 0.295), span(0.9, 1.1), span(0.1, 0.1)
        ('11 % to 34 %', '2.46x to 3.00x', '11 %')
    """
    write = _percent if exceed(far) < 1 else _factor
    first, last = write(near), write(far)
    return first if first == last else f"{first} to {last}"


def exceed(logarithm: float) -> float:
    """Return by which fraction a ratio exceeds 1, ``exp(x) - 1``, and ``inf`` where that overflows.

    Example:
        >>> exceed(0.0), exceed(1e4)
        (0.0, inf)
    """
    try:
        return math.expm1(logarithm)
    except OverflowError:
        return math.inf


def _percent(logarithm: float) -> str:
    percent = 100 * exceed(logarithm)
    if percent < _SMALLEST_PERCENT:
        return f"under {_SMALLEST_PERCENT} %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"


def _factor(logarithm: float) -> str:
    factor = 1 + exceed(logarithm)
    if factor > _LARGEST_FACTOR:
        return f"over {_LARGEST_FACTOR:.0f}x"
    return f"{factor:.2f}x" if factor < 9.995 else f"{factor:.0f}x"
