"""Why there is no baseline, in words: the same whatever a run is compared with, be that singular or plural. Pure.

Each takes the remedy, which is about what it was compared with: a file is written by hand, a store by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.storage.conditions import differences

__all__ = ["ACCEPT", "WAIT", "incomparable", "new", "new_figure"]

ACCEPT = "accept what it is now with pytest-gpuprof accept"
WAIT = "it is compared once it is there"

_SHOWN = 3
"""Differing conditions that are told; a new machine differs in everything, and the device says it."""


def new(title: str, remedy: str) -> Baseline:
    """Return that a workload is not there at all."""
    return Baseline(absence="new", reason=f"it is not in {title}; {remedy}")


def new_figure(title: str, figure: str, remedy: str) -> Baseline:
    """Return that of a workload other figures are there."""
    reason = f"its {figure} is not in {title}, where other figures of it are; {remedy}"
    return Baseline(absence="new", reason=reason)


def incomparable(title: str, before: Sequence[Mapping[str, Fact]], now: Mapping[str, Fact], remedy: str) -> Baseline:
    """Return that a workload was measured only under other conditions, of which the nearest are told."""
    told = min((differences(each, now) for each in before), key=len)
    more = len(told) - _SHOWN
    shown = ", ".join(told[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
    reason = f"it is in {title} under other conditions only: {shown}; {remedy}"
    return Baseline(absence="incomparable", reason=reason)
