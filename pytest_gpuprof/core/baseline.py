"""What a figure was before: the values of earlier runs, or why there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["FILE_NAME", "MOST_RUNS", "Absence", "Baseline"]

FILE_NAME = "gpuprof-baselines.json"
"""Where accepted baselines are, below the project's folder, if nobody says otherwise."""

MOST_RUNS = 20
"""A baseline holds the newest twenty runs: with them a slowdown of 7 % shows, and forty would gain half a percent. The
older a run is, the less it says about today's machine."""

Absence = Literal["", "new", "incomparable", "unreadable"]
"""Why there is no baseline: nothing was kept of this workload, only what was measured under other conditions was, or
what was kept cannot be read."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one figure of one workload was in earlier runs under the same conditions.

    Args:
        values: one per run, in base units, the oldest first.
        source: where they are from, as a sentence names it: ``"gpuprof-baselines.json"``, ``"5 runs on main"``.
        absence: why there are none.
        reason: the same as the end of a sentence, with what to do; for ``"incomparable"`` it tells what is different.

    >>> Baseline((1.0, 1.1), "two runs on main").known
    True
    >>> Baseline(absence="new", reason="no baseline was accepted").known
    False
    """

    values: tuple[float, ...] = ()
    source: str = ""
    absence: Absence = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.absence):
            raise ValueError("a baseline has values, or it says why it has none")
        if self.absence and not self.reason:
            raise ValueError(f"a baseline that is {self.absence} says why")
        if len(self.values) > MOST_RUNS:
            raise ValueError(f"a baseline holds {MOST_RUNS} runs at most, not {len(self.values)}; take the newest")
        if not all(math.isfinite(value) and value >= 0 for value in self.values):
            raise ValueError(f"a baseline holds finite figures of at least 0, not {self.values}")

    @property
    def known(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self.values)
