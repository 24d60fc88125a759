"""Device time: *n* calls between two events, behind a backlog that hides how long the host takes to launch them.

On an idle device the first event is passed long before the first kernel arrives, and a kernel of microseconds waits for
the host again after each one before it: events then tell what launching costs. So the device is given something finite
to do first, and everything is enqueued before it is done with that. The samples are taken apart from those of wall
time, which has to see the launching. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from pytest_gpuprof.core.errors import MeasurementError
from pytest_gpuprof.sampling.legs import BuiltLeg
from pytest_gpuprof.sampling.preflight import Events
from pytest_gpuprof.sampling.probe import Probe

__all__ = ["DeviceSample", "Window", "overhead_of", "plan_window", "take_device_sample"]

_STEPS = 200
"""A window of 200 steps of the events' clock is quantized by 0.25 % at most, which more samples do not average out."""

_UNHIDDEN_STEPS = 100
"""Without a backlog a window has to be 100 times as long as launching one call, to be 1 % off at most."""

_MOST_CALLS = 800
"""A host blocks at about 1,000 outstanding launches (CUDA), and more than one may belong to a call."""

_MARGIN = 1.5
_MARGIN_S = 20e-6
"""The backlog lasts half as long again as launching took, and 20 µs for the events themselves."""

_SHORTEST_S = 50e-6
_LONGEST_S = 0.25
"""A backlog that is longer only costs time; a call that needs a quarter of a second to launch is not worth hiding."""

_TRIES = 6
"""Halving 800 calls five times, or doubling 50 µs as often, finds a window that fits, or there is none."""

_TRIED = 3
_LONG_CALL_S = 0.2
"""A window is tried three times, so that one disturbance does not decide; once for calls of 0.2 s and more."""

_TOLERANCE = 0.02
"""The device's clock and the host's may differ by a few parts in a thousand; 2 % more time than there was is wrong."""


@dataclass(frozen=True, slots=True)
class Window:
    """How device time is sampled.

    Args:
        iterations: calls between the two events.
        backlog_s: how long the device is kept busy before them, 0 without a backlog.
        launch_s: what launching one call takes the host; 0 for a call that waits inside, of which nobody can tell.
    """

    iterations: int
    backlog_s: float
    launch_s: float


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One sample.

    Args:
        seconds: per call.
        idle_s: how long the device can at most have waited for the host between the two events, per sample.
    """

    seconds: float
    idle_s: float


def plan_window(leg: BuiltLeg, found: Probe, events: Events) -> Window:
    """Return a window that is long against the events' clock and, if that can be had, hidden behind a backlog.

    It is tried out: what the probe took for the host's time may have been a lucky moment, and a queue may be shorter
    than thought.
    """
    device_s, launch_s = max(found.device_s, 1e-9), 0.0 if found.synchronizes else found.host_s
    calls = math.ceil(_STEPS * events.resolution_s / device_s)
    hidden = events.backlog is not None and not found.synchronizes
    if not hidden and launch_s < device_s:
        calls = max(calls, math.ceil(_UNHIDDEN_STEPS * launch_s / device_s))
    window = Window(1 if leg.single else max(1, min(_MOST_CALLS, calls)), 0.0, launch_s)
    if not hidden:
        return window
    for _ in range(_TRIES):
        wanted_s = _MARGIN * window.launch_s * window.iterations + _MARGIN_S
        window = replace(window, backlog_s=max(_SHORTEST_S, min(_LONGEST_S, wanted_s)))
        tried = [take_device_sample(leg, window, events) for _ in range(_TRIED if device_s < _LONG_CALL_S else 1)]
        if statistics.median(sample.idle_s for sample in tried) == 0.0:
            return window
        if window.iterations > 1:
            window = replace(window, iterations=window.iterations // 2, launch_s=window.launch_s * 1.25)
        else:
            window = replace(window, launch_s=window.launch_s * 2)
    return window


def take_device_sample(leg: BuiltLeg, window: Window, events: Events) -> DeviceSample:
    """Return the device's seconds per call, and how long it can have waited for the host.

    Raises:
        MeasurementError: if the events tell more time than passed, or less than none.
    """
    device, timer, backlog = leg.plan.device, events.timer, events.backlog
    now, function, calls = device.clock.now, leg.function, repeat(None, window.iterations)
    leg.prepare()
    device.synchronize()
    began = now()
    opened = timer.mark()
    if backlog is not None and window.backlog_s:
        backlog(window.backlog_s)
    start = timer.mark()
    for _ in calls:
        function()
    end = timer.mark()
    launched_s = now() - began
    device.synchronize()
    passed_s = now() - began
    seconds = timer.elapsed_s(start, end)
    if not 0 <= seconds <= passed_s * (1 + _TOLERANCE) + 2 * events.resolution_s:
        raise MeasurementError(
            f"the events of {device.info.id} tell of {seconds * 1e6:.1f} µs while {passed_s * 1e6:.1f} µs passed on "
            "the host; update the driver, or measure wall time only"
        )
    if not window.backlog_s:
        # Not hidden: the device waits for the first call only, or, where launching takes as long as working, for each.
        host_bound = window.launch_s * window.iterations >= seconds / 2
        return DeviceSample(seconds / window.iterations, min(seconds, launched_s if host_bound else window.launch_s))
    return DeviceSample(seconds / window.iterations, max(0.0, launched_s - timer.elapsed_s(opened, start)))


def overhead_of(samples: Sequence[DeviceSample], window: Window, events: Events) -> float:
    """Return how far the median of these samples can be off, relative to it.

    One and a half steps of the clock, what an empty pair of events takes, and the time the device may have waited.
    """
    seconds = statistics.median(sample.seconds for sample in samples) * window.iterations
    idle_s = statistics.median(sample.idle_s for sample in samples)
    return (1.5 * events.resolution_s + events.empty_s + idle_s) / max(seconds, events.resolution_s)
