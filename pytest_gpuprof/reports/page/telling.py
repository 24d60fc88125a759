"""How the page tells a number: with its unit, its interval and the words that must stand beside it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pytest_gpuprof.core.quantities import Unit, format_quantity, scale_for
from pytest_gpuprof.core.results import Measurement, Reading
from pytest_gpuprof.reports.workloads import stand_in_of

__all__ = ["WIDE", "Apart", "Scale", "interval_text", "is_wide", "quantity", "rounded", "without_empty", "words_of"]

WIDE: Final = 4.0
"""Figures that differ by more than this factor are drawn on a logarithmic axis: on a linear one the lesser would have
less than a quarter of the width."""

_DIGITS = 5
"""Significant digits in the page: no chart shows more, and samples are the most of its size."""

_STEPS = 200
"""In so many steps the range of some values is told: no chart shows more."""


def rounded(value: float | None) -> float | int | None:
    """Return a number as short as a chart needs it; what is missing or infinite is ``None``.

    >>> rounded(0.123456789), rounded(20.0), rounded(float("inf"))
    (0.12346, 20, None)
    """
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


class Apart:
    """Values as small whole numbers: how far each lies from a middle, in steps that no chart can show smaller.

    Args:
        middle: what they are told against.
        values: all of them.

    >>> near = Apart(1.0, [1.03, 0.99])
    >>> near.step, near.all([1.03, 0.99])
    (0.0002, [150, -50])
    """

    def __init__(self, middle: float, values: Iterable[float]) -> None:
        self._middle = middle
        parts = [0.0, *(value / middle - 1 for value in values)]
        self.step = float(f"{(max(parts) - min(parts)) / _STEPS:.2g}") or 1.0

    def all(self, values: Iterable[float]) -> list[int]:
        """Return values in steps from the middle."""
        return [round((value / self._middle - 1) / self.step) for value in values]


def quantity(value: float, unit: str) -> str:
    """Return a figure as people write it; one of an outsider's budget has no unit that we know."""
    if math.isinf(value):
        return "unbounded"
    return format_quantity(value, unit or "1")  # type: ignore[arg-type]  # the units of kinds


def interval_text(interval: Sequence[float] | None, unit: str) -> str:
    """Return an interval in words; empty for one without width."""
    if interval is None or interval[0] == interval[1]:
        return ""
    return f"{quantity(interval[0], unit)} to {quantity(interval[1], unit)}"


def words_of(reading: Reading, measurement: Measurement) -> str:
    """Return the words that must stand beside a reading of a leg."""
    quality = "" if reading.quality == "measured" else reading.quality
    return ", ".join(dict.fromkeys(filter(None, (quality, stand_in_of(measurement.device)))))


def is_wide(values: Iterable[float]) -> bool:
    """Return whether figures need a logarithmic axis."""
    known = [value for value in values if value > 0]
    return bool(known) and max(known) > WIDE * min(known)


class Scale:
    """One unit for all numbers of a chart.

    Args:
        values: what the chart shows, in base units.
        unit: their base unit.
    """

    def __init__(self, values: Iterable[float], unit: Unit) -> None:
        self.suffix, self._factor = scale_for(list(values), unit)
        if unit == "x":
            self.suffix = "×"

    def __call__(self, value: float | None) -> float | int | None:
        """Return a number in the chart's unit."""
        return None if value is None else rounded(value / self._factor)

    def all(self, values: Iterable[float]) -> list[float | int | None]:
        """Return numbers in the chart's unit."""
        return [self(value) for value in values]

    def pair(self, interval: Sequence[float] | None) -> list[float | int | None] | None:
        """Return an interval in the chart's unit; an open end is ``None``."""
        return None if interval is None else [self(interval[0]), self(interval[1])]


def without_empty(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is there: the page takes an absent key for nothing, and hundreds of them are its size.

    >>> without_empty({"value": 0, "log": False, "words": "", "limits": []})
    {'value': 0}
    """
    return {
        key: value
        for key, value in parts.items()
        if not (value is None or value is False or (isinstance(value, (str, list, tuple, dict)) and not value))
    }
