"""Why there is no baseline, in words: the same whatever a run is compared with, be that singular or plural. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.storage.conditions import differences

__all__ = ["incomparable", "new", "new_figure"]

_SHOWN = 3
"""Differing conditions that are told; a new machine differs in everything, and the device says it."""


def new(title: str) -> Baseline:
    """Return that a workload is not there at all."""
    return Baseline(absence="new", reason=f"it is not in {title}")


def new_figure(title: str, figure: str) -> Baseline:
    """Return that of a workload other figures are there."""
    return Baseline(absence="new", reason=f"its {figure} is not in {title}, where other figures of it are")


def incomparable(title: str, before: Sequence[Mapping[str, Fact]], now: Mapping[str, Fact]) -> Baseline:
    """Return that a workload was measured only under other conditions, of which the nearest are told."""
    told = min((differences(each, now) for each in before), key=len)
    more = len(told) - _SHOWN
    shown = ", ".join(told[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
    return Baseline(absence="incomparable", reason=f"it is in {title} under other conditions only: {shown}")
