"""The figures of a column as texts that stand under each other: points, units and noise each at its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import common_scale, format_number, scale_for
from pytest_gpuprof.reports.columns import Column, Figure
from pytest_gpuprof.reports.screen import plain
from pytest_gpuprof.stats.summary import summarize

__all__ = ["Amounts", "amounts"]

_DIGITS = 3
"""Significant digits of a figure: its noise is rarely below one in a thousand."""

_FINE_NOISE = 0.01
_LEAST_NOISE = 0.001
"""Noise below 1 % is shown with a decimal, and below 0.1 % as such: "±0%" would claim that there was none."""

_INTERVAL = "(95%)"
"""The head of what stands in brackets: the interval that holds the true figure with this probability."""

_WIDE = 1.5
"""An interval from something to half as much again is told with a digit less, which moves its ends by 5 % at most."""

_ATTACHED = ("x", "")
"""Units that every figure carries, without a space, so that the head need not name them."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """A column of figures in three forms, in each of which all texts are equally long.

    Args:
        head: the title, with the unit where all cells have one.
        full: the figures with their noise or interval, without a unit that the head has.
        bare: the same without noise and interval.
        alone: the figures with everything, for a place where no head stands above them.
        spread: columns that noise or interval take at the end of ``full`` and ``alone``.
        spread_head: what stands there.
        any: whether there is a figure at all.
    """

    head: str
    full: Sequence[str]
    bare: Sequence[str]
    alone: Sequence[str]
    spread: int
    spread_head: str
    any: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """A cell: the digits before the point, the point with what follows, the unit, and noise or interval."""

    before: str
    after: str = ""
    unit: str = ""
    spread: str = ""


_NONE = _Parts("-")


def amounts(column: Column, profiles: Sequence[Profile], ascii_only: bool = False) -> Amounts:
    """Return a column of figures; what is missing is a dash.

    It has one unit if all figures are read easily in that; otherwise each cell has its own.

    Args:
        column: which figures.
        profiles: of the rows.
        ascii_only: whether signs such as ``±`` have to be words of ASCII.
    """
    figures = [column.figure(profile) for profile in profiles]
    scale = common_scale([each.value for each in figures if each.value is not None], column.unit)
    parts = [
        _NONE
        if each.value is None
        else _parts(each.value, *(scale or scale_for([each.value], column.unit)), _spread(column, each), ascii_only)
        for each in figures
    ]
    head, in_head = column.title, False
    if scale is not None and scale[0] not in _ATTACHED:
        head, in_head = f"{column.title} [{plain(scale[0], ascii_only)}]", True
    bare, alone = _aligned(parts, with_unit=not in_head), _aligned(parts, with_unit=True)
    spreads = _justified([each.spread for each in parts], right=not column.has_interval)
    return Amounts(
        head,
        [figure + spread for figure, spread in zip(bare, spreads, strict=True)],
        bare,
        [figure + spread for figure, spread in zip(alone, spreads, strict=True)],
        max(map(len, spreads), default=0),
        _INTERVAL if column.has_interval and any(each.spread for each in parts) else "",
        any(each.value is not None for each in figures),
    )


def _spread(column: Column, figure: Figure) -> str:
    return _interval(figure.interval) if column.has_interval else _noise(figure.rounds)


def _justified(spreads: Sequence[str], right: bool) -> list[str]:
    """Return what follows the figures, with a space before it, if there is anything."""
    room = max(map(len, spreads), default=0)
    return [f" {each:>{room}}" if right else f" {each:<{room}}" for each in spreads] if room else [""] * len(spreads)


def _parts(value: float, suffix: str, factor: float, spread: str, ascii_only: bool) -> _Parts:
    before, point, decimals = format_number(value / factor, _DIGITS).partition(".")
    attached, unit = (suffix, "") if suffix in _ATTACHED else ("", suffix)
    # Signs become words before anything is padded: ± has one character in Unicode, and two in ASCII.
    return _Parts(before, f"{point}{decimals}{attached}", plain(unit, ascii_only), plain(spread, ascii_only))


def _aligned(parts: Sequence[_Parts], *, with_unit: bool) -> list[str]:
    before = max(len(each.before) for each in parts)
    after = max(len(each.after) for each in parts)
    unit = max(len(each.unit) for each in parts) if with_unit else 0
    if not unit:
        return [f"{each.before:>{before}}{each.after:<{after}}" for each in parts]
    return [f"{each.before:>{before}}{each.after:<{after}} {each.unit:<{unit}}" for each in parts]


def _noise(samples: Sequence[float]) -> str:
    noise = summarize(samples).noise if len(samples) > 1 else None
    if noise is None:
        return ""
    if noise < _LEAST_NOISE:
        return f"±<{_LEAST_NOISE:.1%}"
    return f"±{noise:.1%}" if noise < _FINE_NOISE else f"±{noise:.0%}"


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    low, high = interval
    if math.isinf(high):
        return "(unbounded)"
    digits = _DIGITS if high < _WIDE * low else _DIGITS - 1
    return f"({format_number(low, digits)}–{format_number(high, digits)})"
