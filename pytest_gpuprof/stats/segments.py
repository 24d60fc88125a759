"""Where the level of a series changes: the division into stretches of least cost, exactly.

Every stretch costs the squared distances from its mean, and every change a penalty. PELT finds the division with the
least sum of both; it leaves out places that can never be the last change any more, so its time grows with the length of
the series where there are changes, and with the square of it where there are none: a tenth of a second for a thousand.

Source: Killick, Fearnhead and Eckley, "Optimal detection of changepoints with a linear computational cost", JASA 107
(2012), with their constant K = 0, which holds for this cost. The package ruptures has the same with other costs; its
import alone takes longer than a person should wait for a history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["segments"]


def segments(values: Sequence[float], *, penalty: float, least: int) -> list[int]:
    """Return where stretches end, the end of the series included.

    Args:
        values: finite numbers, in their order.
        penalty: what a change costs, in squared units of the values; greater means fewer changes.
        least: how long a stretch is at least, 1 or more.

    Returns:
        Indices into the series, each behind the last value of a stretch; ``[len(values)]`` where nothing changes.

    Raises:
        ValueError: the penalty is negative, least is below 1, or the series is shorter than that.

    Example:
        >>> segments([1.0, 1.1, 0.9, 5.0, 5.1, 4.9], penalty=1.0, least=2)
        [3, 6]
    """
    if not 0 <= penalty < math.inf or least < 1:
        raise ValueError(f"penalty is {penalty} and least is {least}: give a penalty of at least 0, and 1 or more")
    count = len(values)
    if count < least:
        raise ValueError(f"there are {count} values: give at least one stretch of {least}")
    middle = math.fsum(values) / count  # sums of squares around it lose no digits
    sums = [0.0, *accumulate(value - middle for value in values)]
    squares = [0.0, *accumulate((value - middle) ** 2 for value in values)]
    best = [-penalty] + [math.inf] * count  # the least cost of the first values, so many of them
    last = [0] * (count + 1)
    starts: dict[int, int] = {}  # where the last stretch can begin, and the end from which on it cannot
    for end in range(least, count + 1):
        if best[end - least] < math.inf:
            starts[end - least] = count + 1
        costs = {}
        for start in starts:
            total = sums[end] - sums[start]
            costs[start] = best[start] + squares[end] - squares[start] - total * total / (end - start)
        last[end] = min(costs, key=costs.__getitem__)
        best[end] = costs[last[end]] + penalty
        # Where beginning at this end is cheaper, it stays so; but a stretch that begins here ends no sooner than its
        # least length behind it.
        for start, cost in costs.items():
            if cost > best[end] and starts[start] > count:
                starts[start] = end + least
        starts = {start: until for start, until in starts.items() if end + 1 < until}
    ends = [count]
    while last[ends[-1]] > 0:
        ends.append(last[ends[-1]])
    return ends[::-1]
