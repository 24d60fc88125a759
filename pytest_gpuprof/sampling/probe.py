"""What kind of workload is this: does it do nothing, does its work escape the stream that is timed?"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.protocols import Backlog, Device, Timer
from pytest_gpuprof.sampling.legs import BuiltLeg
from pytest_gpuprof.sampling.loop import call_repeatedly, seconds_of, seconds_of_calls

__all__ = ["Probe", "probe"]

_REPEATS = 5
"""Medians of five: two disturbed readings cannot move them."""

_CALLS = 16
"""Calls between two events: the smallest kernels (1-2 µs) add up to far more than the events themselves cost."""

_LONGEST_BACKLOG_S = 0.02
"""A workload that synchronizes inside waits for the whole backlog at each call, so it must be short."""

_ESCAPE_S = 20e-6
_ESCAPE_SHARE = 0.10
"""A device that is busy for longer than a synchronization takes, after the last event of our stream, has other work:
more than 20 µs and more than 10 % of the call's own device time."""

_NOOP_FACTOR = 3.0
"""A call that takes less than three times as long as calling a function with no body has computed nothing."""

_LONG_CALL_S = 0.2
"""A call as long as this is not called 16 times over to find out that it does something: it does."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out about a workload on a device.

    Args:
        escapes: whether it gives work to other streams, so that events on ours see only a part.
        leftover_s: how long the device went on after the last event of our stream.
    """

    escapes: bool = False
    leftover_s: float = 0.0


def probe(leg: BuiltLeg, seconds_per_call: float) -> Probe:
    """Find out what kind of workload a leg is.

    Raises:
        WorkloadError: if it does nothing: a result that was computed before, or a callable with no body.
    """
    device = leg.plan.device
    if _does_nothing(leg, seconds_per_call):
        raise WorkloadError(
            f"the callable of {leg.plan.workload.name!r} does nothing on {device.info.id}: its calls take no longer "
            "than calling an empty function; return a callable that computes anew each time, not a stored result, "
            "and give its work to the device that the builder gets"
        )
    if device.timer is None or leg.reset is not None:
        return Probe()
    leftovers = [_leftover_s(device, device.timer, leg.function) for _ in range(_REPEATS)]
    idle = statistics.median(seconds_of(device, _nothing, 0) for _ in range(_REPEATS))
    durations = [_device_seconds(device, device.timer, leg.function, 1) for _ in range(_REPEATS)]
    leftover = statistics.median(leftovers) - idle
    return Probe(leftover > max(_ESCAPE_S, _ESCAPE_SHARE * statistics.median(durations)), max(0.0, leftover))


def _nothing() -> None:
    pass


def _does_nothing(leg: BuiltLeg, seconds_per_call: float) -> bool:
    device = leg.plan.device
    if seconds_per_call > _LONG_CALL_S:
        return False
    if device.timer is not None and device.backlog is not None and leg.reset is None:
        return _nothing_behind_backlog(device, device.timer, device.backlog, leg.function)
    calls = _CALLS if leg.reset is None else 1
    if device.timer is None:
        ours = min(seconds_of_calls(leg, calls) for _ in range(_REPEATS))
        empty = min(seconds_of(device, _nothing, calls) for _ in range(_REPEATS))
        return ours <= _NOOP_FACTOR * empty
    ours = _host_seconds(device, leg.function, calls, leg.prepare)
    return ours <= _NOOP_FACTOR * _host_seconds(device, _nothing, calls)


def _nothing_behind_backlog(device: Device, timer: Timer, backlog: Backlog, function: Callable[[], Any]) -> bool:
    """Whether the device has nothing to do between two events, when the host cannot be what keeps them apart."""
    host_s = _host_seconds(device, function, 1)
    calls = max(1, min(_CALLS, int(_LONGEST_BACKLOG_S / 2 / max(host_s, 1e-9))))
    wait_s = min(_LONGEST_BACKLOG_S, 1.5 * host_s * calls + 50e-6)

    def behind(what: Callable[[], Any]) -> float:
        device.synchronize()
        backlog(wait_s)
        return _device_seconds(device, timer, what, calls, idle=False)

    ours = statistics.median(behind(function) for _ in range(_REPEATS))
    empty = statistics.median(behind(_nothing) for _ in range(_REPEATS))
    resolution_s = 2e-6  # the coarsest event clock in use (HIP 1 µs), twice: one step at each end
    return ours <= 2 * empty + resolution_s


def _host_seconds(
    device: Device, function: Callable[[], Any], calls: int, prepare: Callable[[], None] = _nothing
) -> float:
    """Return the least time the host needs to give the device that many calls."""
    now = device.clock.now
    least = float("inf")
    for _ in range(_REPEATS):
        prepare()
        device.synchronize()
        start = now()
        call_repeatedly(function, calls)
        least = min(least, now() - start)
    device.synchronize()
    return least


def _device_seconds(
    device: Device, timer: Timer, function: Callable[[], Any], calls: int, *, idle: bool = True
) -> float:
    if idle:
        device.synchronize()
    start = timer.mark()
    call_repeatedly(function, calls)
    end = timer.mark()
    device.synchronize()
    return timer.elapsed_s(start, end)


def _leftover_s(device: Device, timer: Timer, function: Callable[[], Any]) -> float:
    """Return how long the device is busy after the last event of the stream that is timed."""
    device.synchronize()
    function()
    timer.wait(timer.mark())
    now = device.clock.now
    start = now()
    device.synchronize()
    return now() - start
