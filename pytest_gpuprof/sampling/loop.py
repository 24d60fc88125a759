"""The innermost loop: *n* calls between one begin and one end of the meters.

Between begin and end there is no branch, no attribute look-up and no allocation of ours. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from pytest_gpuprof.core.protocols import Device, Meter
from pytest_gpuprof.sampling.legs import BuiltLeg

__all__ = ["CallCost", "call_cost", "call_repeatedly", "seconds_of", "seconds_of_calls", "take_sample"]

_REPEATS = 5
"""The median of five: two disturbed readings cannot move it."""

_EMPTY_CALLS = 1000
"""Calls of an empty function to find out what calling costs: 30-80 µs, far above the step of the clock."""


@dataclass(frozen=True, slots=True)
class CallCost:
    """What measuring wall time costs by itself.

    Args:
        sync_s: reading the clock twice, around synchronizing an idle device.
        call_s: calling a function with no body, in our loop.
    """

    sync_s: float = 0.0
    call_s: float = 0.0

    def share_of(self, seconds: float, iterations: int) -> float:
        """Return how much of a sample it is, at most.

        Args:
            seconds: wall time of one call.
            iterations: calls in the sample.
        """
        return (self.sync_s + iterations * self.call_s) / (iterations * seconds)


def call_cost(device: Device) -> CallCost:
    """Find out what measuring on this device costs by itself; it is reported, and never subtracted."""
    sync_s = statistics.median(seconds_of(device, _nothing, 0) for _ in range(_REPEATS))
    calling_s = min(seconds_of(device, _nothing, _EMPTY_CALLS) for _ in range(_REPEATS))
    return CallCost(sync_s, max(0.0, calling_s - sync_s) / _EMPTY_CALLS)


def _nothing() -> None:
    pass


def call_repeatedly(function: Callable[[], Any], times: int) -> None:
    """Call ``function`` that often, letting go of each output at once."""
    for _ in repeat(None, times):
        function()


def take_sample(leg: BuiltLeg, iterations: int, meters: Sequence[Meter]) -> dict[str, float]:
    """Return the figure of each metric, per call where it adds up over calls.

    Meters begin outermost first and end innermost first; a device marks the end at once and is read when it is idle.
    """
    leg.prepare()
    function = leg.function
    spans = [meter.begin() for meter in meters]
    for _ in repeat(None, iterations):
        function()
    for span in reversed(spans):
        span.end()
    leg.plan.device.synchronize()
    figures = {}
    for meter, span in zip(meters, spans, strict=True):
        figure = span.read()
        for metric in meter.metrics:
            figures[metric.name] = figure[metric.name] / iterations if metric.adds_up else figure[metric.name]
    return figures


def seconds_of(device: Device, function: Callable[[], Any], times: int) -> float:
    """Return the wall time of that many calls, from an idle device to an idle device."""
    device.synchronize()
    now = device.clock.now
    start = now()
    call_repeatedly(function, times)
    device.synchronize()
    return now() - start


def seconds_of_calls(leg: BuiltLeg, times: int) -> float:
    """Return the wall time of that many calls of a leg, without what has to be done before each."""
    if not leg.single:
        return seconds_of(leg.plan.device, leg.function, times)
    seconds = 0.0
    for _ in repeat(None, times):
        leg.prepare()
        seconds += seconds_of(leg.plan.device, leg.function, 1)
    return seconds
