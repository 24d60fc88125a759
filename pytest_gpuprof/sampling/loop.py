"""The innermost loop: *n* calls between one begin and one end of the meters.

Between begin and end there is no branch, no attribute look-up and no allocation of ours. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from pytest_gpuprof.core.protocols import Device, Meter
from pytest_gpuprof.sampling.legs import BuiltLeg

__all__ = ["call_repeatedly", "seconds_of", "seconds_of_calls", "take_sample"]


def call_repeatedly(function: Callable[[], Any], times: int) -> None:
    """Call ``function`` that often, letting go of each output at once."""
    for _ in repeat(None, times):
        function()


def take_sample(leg: BuiltLeg, iterations: int, meters: Sequence[Meter]) -> dict[str, float]:
    """Return the figure of each metric, per call where it adds up over calls.

    Meters begin outermost first and end innermost first; a device marks the end at once and is read when it is idle.
    """
    if leg.reset is not None:
        leg.reset()
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
    """Return the wall time of that many calls of a leg, without the resets between them."""
    if leg.reset is None:
        return seconds_of(leg.plan.device, leg.function, times)
    seconds = 0.0
    for _ in repeat(None, times):
        leg.reset()
        seconds += seconds_of(leg.plan.device, leg.function, 1)
    return seconds
