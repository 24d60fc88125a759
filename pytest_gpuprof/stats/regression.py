"""Did a figure get worse since earlier runs? The moderated t rule: one new run against up to twenty old ones.

Runs differ by more than their rounds tell: another process has another memory layout, another clock state, another
neighbour. So the noise between runs is taken from the runs, one number each, and not from the rounds of the newest.

Few runs say little about their own spread: two that happen to agree would make any third one a regression. The spread
is therefore *moderated*: it counts as if `PRIOR_RUNS` further runs had been seen whose spread was the *floor*, what is
known to be usual for this kind of figure. Worse is only what is both surely worse (``p < ALPHA``) and worse by more
than anybody wants to hear about (``least``).

Figures that repeat exactly (bytes of an allocator) have a floor of 0 and no statistics: what lies outside of all that
was seen before, by more than ``least``, is a change.

Source: Smyth, Linear models and empirical Bayes methods (2004), for the moderated variance; the prediction interval of
one further observation is in any textbook.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from pytest_gpuprof.stats.quantiles import student_quantile, student_tail

__all__ = ["ALPHA", "LEAST", "PRIOR_RUNS", "Change", "Direction", "compare"]

Direction = Literal["same", "worse", "better"]

ALPHA: Final = 0.001
"""Chance of calling a run worse that is not, on one side. A suite of a hundred tests then raises a false alarm once in
ten runs before it is measured again, and hardly ever after that; at 5 % it would raise five in each."""

LEAST: Final = math.log(1.05)
"""Less than 5 % is nothing that anybody acts upon, and what another build of the same source can move."""

PRIOR_RUNS: Final = 4
"""How many runs the floor counts for. With it a single earlier run detects 20 % (as a logarithm) at a floor of 2 %,
five 9.9 % and twenty 7.1 %; the false alarms stay below 0.1 % while runs differ by no more than the floor, and below
0.7 % where they differ by 5 %."""

_ROUNDING = 1e-5
"""Figures are kept with six digits, so that less than ten units of the last are no difference; whole numbers, such as
bytes, are kept in full."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a figure.

    Attributes:
        outcome: ``"worse"``, ``"better"``, or ``"same"``: no change was shown.
        effect: how much worse it is than `level`, a natural logarithm; negative where it is better, and infinite where
            one of the two is 0.
        interval: the 95 % interval of the effect; of an exact figure the effect itself.
        p: chance of so large a change in this direction, if there was none; for an exact figure 0 or 1.
        runs: how many earlier runs there were.
        detectable: the least effect that would have been called worse.
        level: what the figure was before: the geometric mean; of an exact figure the nearest value.
    """

    outcome: Direction
    effect: float
    interval: tuple[float, float]
    p: float
    runs: int
    detectable: float
    level: float


def compare(
    before: Sequence[float],
    now: float,
    *,
    more_is_worse: bool,
    floor: float,
    least: float = LEAST,
    resolution: float = 0.0,
) -> Change:
    """Compare a run with earlier ones.

    Args:
        before: the figure of each earlier run.
        now: the same of the new one, in the same unit.
        more_is_worse: whether the figure gets worse when it grows (a time), or when it falls (a speedup).
        floor: how much runs usually differ, as a natural logarithm (0.02 is 2 %); 0 for what repeats exactly.
        least: smaller effects are no change, a natural logarithm.
        resolution: in units of the figure, how finely it can be read at all: smaller figures are taken for as large,
            and runs differ by it besides the floor. Not for what repeats exactly.

    Raises:
        ValueError: there is no earlier run; a figure is negative or not finite, or is 0 where it has neither a
            resolution nor repeats exactly; or another argument is negative.

    Example:
        >>> change = compare([1.00, 1.01, 0.99, 1.00, 1.00], 1.2, more_is_worse=True, floor=0.02)
        >>> change.outcome, round(change.effect, 2), round(change.detectable, 2)
        ('worse', 0.18, 0.07)
    """
    values = [*before, now]
    if len(values) < 2:
        raise ValueError("there is no earlier run to compare with: give at least one")
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"a figure is negative or not finite among {values}: leave out such runs")
    for name, setting in (("floor", floor), ("least", least), ("resolution", resolution)):
        if not 0 <= setting < math.inf:
            raise ValueError(f"{name} is {setting}: give 0 or a positive number")
    if floor == 0:
        return _exact(before, now, 1 if more_is_worse else -1, least)
    seen = [max(value, resolution) for value in values]
    if min(seen) == 0:
        raise ValueError("a figure is 0, which is no multiple of any other: give a resolution, or a floor of 0")
    coarse = resolution / statistics.median(seen[:-1]) if resolution else 0.0
    return _moderated(seen[:-1], seen[-1], 1 if more_is_worse else -1, math.hypot(floor, coarse), least)


def _moderated(before: Sequence[float], now: float, sign: int, floor: float, least: float) -> Change:
    unit, runs = before[0], len(before)
    logs = [math.log(value / unit) for value in before]
    mean = math.fsum(logs) / runs
    squares = math.fsum((each - mean) ** 2 for each in logs)
    freedom = PRIOR_RUNS + runs - 1
    spread = math.sqrt((PRIOR_RUNS * floor * floor + squares) / freedom)
    error = spread * math.sqrt(1 + 1 / runs)  # of a further run around the mean of these
    effect = sign * (math.log(now / unit) - mean)
    p = student_tail(abs(effect) / error, freedom)
    surely = p < ALPHA and abs(effect) > least
    half = _quantile(freedom, 0.025) * error
    return Change(
        ("worse" if effect > 0 else "better") if surely else "same",
        effect,
        (effect - half, effect + half),
        p,
        runs,
        max(_quantile(freedom, ALPHA) * error, least),
        unit * math.exp(mean),
    )


@lru_cache(maxsize=64)
def _quantile(freedom: int, tail: float) -> float:
    """Return beyond how many standard errors a tail begins.

    That of :data:`ALPHA`, which decides, begins at 7.17 for one earlier run, 4.50 for five, 3.49 for twenty.
    """
    return student_quantile(tail, freedom)


def _exact(before: Sequence[float], now: float, sign: int, least: float) -> Change:
    if not all(float(value).is_integer() for value in (*before, now)):
        least = max(least, _ROUNDING)
    low, high = min(before), max(before)
    level = min(max(now, low), high)  # within what was seen before, it is what was seen before
    effect = sign * _ratio(now, level)
    changed = abs(effect) > least
    outcome: Direction = ("worse" if effect > 0 else "better") if changed else "same"
    return Change(outcome, effect, (effect, effect), 0.0 if changed else 1.0, len(before), least, level)


def _ratio(above: float, below: float) -> float:
    """Return the logarithm of a ratio of two figures, of which one may be 0."""
    if above == below:
        return 0.0
    if above == 0 or below == 0:
        return math.inf if below == 0 else -math.inf
    return math.log(above / below)
