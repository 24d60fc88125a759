"""One figure over many runs: a line of blocks to look at, and where its level changed. Pure.

A level is a stretch of runs whose figures scatter around one value. Levels are found by PELT (Killick, Fearnhead and
Eckley 2012, "Optimal detection of changepoints with a linear computational cost") on the natural logarithms, so that
10 % counts the same for a millisecond and a minute. A change has to pay a penalty for
being told, and the penalty is what keeps noise silent:

* ``4 ln(n) σ²`` for *n* runs that scatter by σ, as asv has it. The Bayes criterion would be ``ln n`` per parameter, and
  a change has two, its place and its size; but the place is searched for, which that does not count (Zhang and Siegmund
  2007 put 3 in all). Simulated with 20 runs of nothing but noise, 3 finds a change in 5 % of the series and 4 in 2.6 %;
  from 50 runs on, 4 finds one in 0.5 %.
* σ is taken from the differences of neighbouring runs, which a change of level hardly moves, and their median, which
  a few odd runs hardly move. It is never taken to be below :data:`LEAST_SPREAD`.

With 50 runs it shows a change of 7 % that holds for three runs, and one of 3 % in the middle.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.stats.segments import segments

__all__ = ["LEAST_RUNS", "LEAST_SPREAD", "Step", "sparkline", "steps"]

LEAST_SPREAD = 0.02
"""Runs of equal programs differ by about 2 % (heat, placement, neighbours), however alike the few at hand may be."""

LEAST_RUNS = 3
"""A level is three runs at least: two odd ones in a row happen, and three tell which is the odd one."""

_PENALTY = 4
"""See above."""

_NORMAL = 1.4826
"""The standard deviation of a normal distribution ÷ its median absolute deviation."""

_ODD = 3.0
"""A single run further than three standard deviations from its neighbours is odd: one in 370 is by chance, and a busy
machine makes more of them. It is a fluke and no level, so it does not speak here."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=*#"

_FLAT = 1.1
"""A line that is stretched from the least to the greatest value makes mountains of noise; so the scale reaches at least
10 % to either side of the median."""

_WIDTH = 80
"""Characters of a terminal's line."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the level.

    Args:
        index: of the first run on the new level.
        before, after: the typical figure on each side, up to the next change: its median.
        runs: on the new level.
    """

    index: int
    before: float
    after: float
    runs: int

    @property
    def change(self) -> float:
        """By which share the figure changed: 0.1 is 10 % more."""
        return self.after / self.before - 1


def sparkline(values: Sequence[float], *, ascii_only: bool = False, width: int = _WIDTH) -> str:
    """Return the values as one line of blocks, the oldest first; more than ``width`` are drawn by medians of several.

    >>> sparkline([1.0, 1.0, 1.0, 1.0, 1.5])
    '▂▂▂▂█'
    >>> sparkline([1.0, 1.0, 1.0, 1.0, 1.5], ascii_only=True)
    '____#'
    """
    if not values:
        return ""
    if len(values) > width:
        edges = [len(values) * step // width for step in range(width + 1)]
        values = [statistics.median(values[low:high]) for low, high in pairwise(edges)]
    marks = _ASCII if ascii_only else _BLOCKS
    middle = statistics.median(values)
    low, high = min(*values, middle / _FLAT), max(*values, middle * _FLAT)
    span = (high - low) or 1.0
    return "".join(marks[min(len(marks) - 1, int((value - low) / span * len(marks)))] for value in values)


def steps(values: Sequence[float]) -> list[Step]:
    """Return the changes of the level, the oldest first.

    Args:
        values: one per run, above 0, the oldest first, all measured under the same conditions.

    Raises:
        Unavailable: if a value is not above 0.
    """
    if len(values) < 2 * LEAST_RUNS:
        return []
    if min(values) <= 0:
        raise Unavailable("changes are found on logarithms, and a figure of 0 has none")
    logs = [math.log(value) for value in values]
    spread = _spread(logs)
    quiet = _without_odd(logs, spread)
    ends = segments(quiet, penalty=_PENALTY * math.log(len(logs)) * spread**2, least=LEAST_RUNS)
    return _told(quiet, [0, *ends])


def _told(logs: Sequence[float], edges: Sequence[int]) -> list[Step]:
    """Return the changes between stretches, without those in which a stretch had to borrow from its neighbour.

    A stretch has three runs at least, so two odd runs are found together with an ordinary one; such a run is nearer to
    the other level, and without it too few are left.
    """
    stretches = [logs[low:high] for low, high in pairwise(edges)]
    levels = [statistics.median(stretch) for stretch in stretches]
    told = []
    for number in range(1, len(levels)):
        before, after = levels[number - 1], levels[number]
        own = sum(abs(value - after) <= abs(value - before) for value in stretches[number])
        left = sum(abs(value - before) <= abs(value - after) for value in stretches[number - 1])
        if min(own, left) >= LEAST_RUNS:
            runs = len(stretches[number])
            told.append(Step(edges[number], math.exp(before), math.exp(after), runs))
    return told


def _spread(logs: Sequence[float]) -> float:
    """Return the standard deviation of one run, from differences of neighbours, which have twice its variance.

    A median of *n* of them is off by about ``1 / sqrt(n)`` of itself; that is added, so that few runs are no excuse.
    """
    apart = [abs(after - before) for before, after in pairwise(logs)]
    found = _NORMAL * statistics.median(apart) / math.sqrt(2)
    return max(LEAST_SPREAD, found * (1 + 1 / math.sqrt(len(apart))))


def _without_odd(logs: Sequence[float], spread: float) -> list[float]:
    """Return the series with each odd run at the median of the five around it; a step stays where it is."""
    around = [statistics.median(logs[max(0, at - 2) : at + 3]) for at in range(len(logs))]
    return [
        middle if abs(value - middle) > _ODD * spread else value for value, middle in zip(logs, around, strict=True)
    ]
