"""How often an energy counter is refreshed: watched for a moment, under load if it can be, before it is relied on.

Cards differ (20 to 100 ms and more), no interface tells, and every figure of an energy rests on it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from itertools import pairwise

from pytest_gpuprof.core.protocols import Clock, EnergyCounter
from pytest_gpuprof.core.results import Reading

__all__ = ["COARSE_S", "POLL_S", "PROBE_S", "QUIET_S", "refresh_periods"]

PROBE_S = 2.5
"""Longest watch: two refreshes of a counter that takes a second and a little more."""

QUIET_S = 1.0
"""After a watch the counter is left alone that long: consumer cards under-report while they are read often, and within
2 % of the truth once a second (Dauner et al., HotCarbon 2026)."""

POLL_S = 0.005
"""How often a counter is looked at while it is watched: a twentieth of the usual refresh."""

_ENOUGH = 7
"""Refreshes after which the median of their six distances is known well enough; fewer reads disturb less."""

COARSE_S = 0.025
"""Between pieces of load longer than this, a counter of 0.1 s cannot be watched well."""


def refresh_periods(
    load: Callable[[], object] | None, clock: Clock, counters: Mapping[str, EnergyCounter]
) -> Mapping[str, Reading]:
    """Return the refresh period of each counter in seconds, or why it cannot be relied on.

    Args:
        load: keeps the device busy for the next few milliseconds; ``None`` for load that cannot be had in pieces of
            :data:`COARSE_S` or less. A counter also counts what an idle board draws.
        clock: of the host.
        counters: by name.
    """
    watched = {name: _Watched(counter) for name, counter in counters.items()}
    until = clock.now() + PROBE_S
    while clock.now() < until and any(each.goes_on for each in watched.values()):
        start = clock.now()
        if load is not None:
            load()
        spent = clock.now() - start
        if spent < POLL_S:
            clock.sleep(POLL_S - spent)
        for each in watched.values():
            if each.goes_on:
                each.look(clock)
    return {name: each.period() for name, each in watched.items()}


class _Watched:
    """One counter, and when it was seen to move."""

    def __init__(self, counter: EnergyCounter) -> None:
        self._counter = counter
        self._last = counter.read()
        self._moved_s: list[float] = []

    @property
    def goes_on(self) -> bool:
        return self._last.value is not None and len(self._moved_s) < _ENOUGH

    def look(self, clock: Clock) -> None:
        now = self._counter.read()
        if now.value != self._last.value:
            self._moved_s.append(clock.now())
        self._last = now

    def period(self) -> Reading:
        moved = self._moved_s
        if self._last.value is None:
            return self._last
        if len(moved) < 2:
            how = "only once" if moved else "not at all"
            return Reading.unavailable(
                f"the energy counter does not advance as it should: {how} in {PROBE_S:g} s; see whether "
                "nvidia-smi shows any power, and update the driver"
            )
        distances = [later - earlier for earlier, later in pairwise(moved)]
        return Reading(max(self._counter.period_s, statistics.median(distances)))
