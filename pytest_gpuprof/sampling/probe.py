"""What kind of workload is this: does it do nothing, escape the timed stream, wait inside, or wait for its launches?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.protocols import Backlog
from pytest_gpuprof.sampling.legs import BuiltLeg
from pytest_gpuprof.sampling.loop import call_repeatedly, seconds_of, seconds_of_calls
from pytest_gpuprof.sampling.preflight import Events

__all__ = ["Probe", "probe"]

Regime = Literal["", "device-bound", "launch-bound", "synchronizes"]

_REPEATS = 5
"""Medians of five: two disturbed readings cannot move them."""

_CALLS = 16
"""Calls between two events: the smallest kernels (1-2 µs) add up to far more than the events themselves cost."""

_ENOUGH_S = 0.01
"""Calls of longer than that are not needed between two events, however few they are: nothing is left to add up."""

_HIDDEN_SHARE = 0.5
"""A backlog may be a third shorter than it was told to be: what took half of it to launch was launched behind it."""

_PLAINLY = 10.0
"""An empty pair of events and a step of their clock, tenfold: a device that is busy for longer does something."""

_LONGEST_BACKLOG_S = 0.02
"""A workload that synchronizes inside waits for the whole backlog at each call, so it must be short."""

_WAITS_S = 2e-3
_LONGEST_WAIT_S = 0.25
"""A backlog to see whether the host waits behind it: 2 ms is far more than launching a kernel takes."""

_WAITS_SHARE = 0.5
"""Who is late by less than half of it has not waited for its end."""

_VARIES = 0.1
_GROWS = 2.0
"""Calls vary by themselves: 10 % later is no sign of waiting. A long call is made only once without a backlog and once
behind it; nor is it a sign there if the first was already half that much slower than the warm-up's calls."""

_ESCAPE_S = 20e-6
_ESCAPE_SHARE = 0.10
"""A device that is busy for longer than a synchronization takes, after the last event of our stream, has other work:
more than 20 µs and more than 10 % of the call's own device time."""

_NOOP_FACTOR = 3.0
"""A call that takes less than three times as long as calling a function with no body has computed nothing."""

_WORKING_S = 1e-6
"""A call that takes a microsecond longer than an empty one has computed, all the same: where there are no events, both
are timed with a synchronization, and three times its length would be too much to ask of a small call."""

_WORKING_CPU_S = 1e-4
"""A CPU that is busy for 0.1 ms computes; calling an empty function takes a thousandth of that."""

_LONG_CALL_S = 0.2
"""A call as long as this is not called many times over to find out what it is: it does something, and once will do."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out about a workload on a device.

    Args:
        regime: ``"synchronizes"`` if a call waits for the device inside, ``"launch-bound"`` if the host needs longer to
            launch a call than the device to do it, else ``"device-bound"``; empty where there are no events to tell.
        host_s: what launching one call takes the host.
        device_s: what one call takes the device, by events.
        escapes: whether it gives work to other streams, so that events on ours see only a part.
        leftover_s: how long the device went on after the last event of our stream.
    """

    regime: Regime = ""
    host_s: float = 0.0
    device_s: float = 0.0
    escapes: bool = False
    leftover_s: float = 0.0

    @property
    def synchronizes(self) -> bool:
        """Whether a call waits for the device inside."""
        return self.regime == "synchronizes"


def probe(leg: BuiltLeg, seconds_per_call: float, events: Events | None) -> Probe:
    """Find out what kind of workload a leg is.

    Args:
        leg: a warm one.
        seconds_per_call: wall time of a call.
        events: what the device's events are good for, ``None`` without any.

    Raises:
        WorkloadError: if it does nothing: a result that was computed before, or a callable with no body.
    """
    device = leg.plan.device
    repeats = 1 if seconds_per_call > _LONG_CALL_S else _REPEATS
    plain, behind = ([], []) if events is None else _looks(leg, events, repeats)
    if not _works(behind, events) and _does_nothing(leg, seconds_per_call, events):
        raise WorkloadError(
            f"the callable of {leg.plan.workload.name!r} does nothing on {device.info.id}: its calls take no longer "
            "than calling an empty function; return a callable that computes anew each time, not a stored result, "
            "and give its work to the device that the builder gets"
        )
    if events is None:
        return Probe()
    host_s = min(each.host_s for each in plain)
    device_s = statistics.median(each.device_s for each in behind or plain)
    idle_s = statistics.median(seconds_of(device, _nothing, 0) for _ in range(_REPEATS))
    leftover_s = max(0.0, statistics.median(each.leftover_s for each in plain) - idle_s)
    growth = 0.0 if repeats > 1 else plain[0].passed_s / seconds_per_call - 1
    if behind and _waits(plain, behind, max(_VARIES, _GROWS * growth)):
        return Probe("synchronizes", host_s, device_s)
    escapes = leftover_s > max(_ESCAPE_S, _ESCAPE_SHARE * device_s)
    return Probe("launch-bound" if host_s > device_s else "device-bound", host_s, device_s, escapes, leftover_s)


@dataclass(frozen=True, slots=True)
class _Look:
    """One call.

    Args:
        host_s: until the host was back.
        device_s: between the events.
        leftover_s: from the last event until the device was idle.
        passed_s: until the device was idle.
        backlog_s: how long the device was kept busy before.
    """

    host_s: float
    device_s: float
    leftover_s: float
    passed_s: float
    backlog_s: float


def _looks(leg: BuiltLeg, events: Events, repeats: int) -> tuple[list[_Look], list[_Look]]:
    """Return looks without a backlog and, where that can tell anything, behind one.

    Taken in turn, so that calls of which each is slower than the last are slower in both; and mirrored, as in rounds,
    so that calls of which every second one is slow are slow in both.
    """
    plain: list[_Look] = []
    behind: list[_Look] = []
    for index in range(2 * repeats):
        if index % 4 in (0, 3):
            plain.append(_look(leg, events, 0.0))
        elif events.backlog is not None and (repeats > 1 or plain[0].host_s > _WAITS_SHARE * plain[0].device_s):
            wait_s = min(_LONGEST_WAIT_S, max(_WAITS_S, 2 * plain[-1].host_s))
            behind.append(_look(leg, events, wait_s))
    return plain, behind


def _works(behind: Sequence[_Look], events: Events | None) -> bool:
    """Whether the device was plainly busy with single calls that had all been launched before it came to them."""
    if events is None or not behind or any(each.host_s > _HIDDEN_SHARE * each.backlog_s for each in behind):
        return False
    return statistics.median(each.device_s for each in behind) > _PLAINLY * (events.empty_s + events.resolution_s)


def _waits(plain: Sequence[_Look], behind: Sequence[_Look], varies: float) -> bool:
    """Whether even the fastest call behind a backlog is late, beside the calls next to it without one."""
    index = min(range(len(behind)), key=lambda each: behind[each].host_s)
    times = [each.host_s for each in plain]
    beside_s = min(times[max(0, index - 1) : index + 2])
    late_s = behind[index].host_s - beside_s
    grown_s = _in_turn(times, index) if times == sorted(times) else beside_s
    later_s = behind[index].host_s - grown_s
    return late_s >= _WAITS_SHARE * behind[index].backlog_s and later_s >= varies * grown_s


def _in_turn(rising: Sequence[float], index: int) -> float:
    """Return how long a call behind a backlog would have taken without one, where each call is slower than the last.

    Two of them lie between two without a backlog: after a third and after two thirds of what calls grew by.
    """
    before, *after = rising[index - index % 2 :][:2]
    return before * (after[0] / before) ** ((1 + index % 2) / 3) if after else before


def _look(leg: BuiltLeg, events: Events, backlog_s: float) -> _Look:
    device, timer = leg.plan.device, events.timer
    now = device.clock.now
    leg.prepare()
    device.synchronize()
    if backlog_s and events.backlog is not None:
        events.backlog(backlog_s)
    start = timer.mark()
    called = now()
    leg.function()
    back = now()
    end = timer.mark()
    timer.wait(end)
    done = now()
    device.synchronize()
    idle = now()
    return _Look(back - called, timer.elapsed_s(start, end), idle - done, idle - called, backlog_s)


def _nothing() -> None:
    pass


def _does_nothing(leg: BuiltLeg, seconds_per_call: float, events: Events | None) -> bool:
    device = leg.plan.device
    if seconds_per_call > (_WORKING_CPU_S if events is None else _LONG_CALL_S):
        return False
    if events is not None and events.backlog is not None and not leg.single:
        return _nothing_behind_backlog(leg, seconds_per_call, events, events.backlog)
    calls = 1 if leg.single else _CALLS
    if events is None:
        ours = min(seconds_of_calls(leg, calls) for _ in range(_REPEATS))
        empty = min(seconds_of(device, _nothing, calls) for _ in range(_REPEATS))
        return ours <= _NOOP_FACTOR * empty and ours - empty <= calls * _WORKING_S
    return _host_seconds(leg, calls) <= _NOOP_FACTOR * _host_seconds(leg, calls, _nothing)


def _nothing_behind_backlog(leg: BuiltLeg, seconds_per_call: float, events: Events, backlog: Backlog) -> bool:
    """Whether the device has nothing to do between two events, when the host cannot be what keeps them apart."""
    host_s = _host_seconds(leg, 1)
    calls = max(1, min(_CALLS, int(_ENOUGH_S / max(host_s, seconds_per_call, 1e-9))))
    wait_s = min(_LONGEST_BACKLOG_S, 1.5 * host_s * calls + 50e-6)

    def behind(what: Callable[[], Any]) -> float:
        leg.plan.device.synchronize()
        backlog(wait_s)
        return _between_events(leg, events, what, calls)

    most = 2 * statistics.median(behind(_nothing) for _ in range(_REPEATS)) + 2 * events.resolution_s
    nothing = something = 0
    while max(nothing, something) <= _REPEATS // 2:  # what the median will say is known after three that agree
        if behind(leg.function) <= most:
            nothing += 1
        else:
            something += 1
    return nothing > something


def _host_seconds(leg: BuiltLeg, calls: int, function: Callable[[], Any] | None = None) -> float:
    """Return the least time the host needs to give the device that many calls."""
    device = leg.plan.device
    now, called = device.clock.now, function or leg.function
    least = float("inf")
    for _ in range(_REPEATS):
        leg.prepare()
        device.synchronize()
        start = now()
        call_repeatedly(called, calls)
        least = min(least, now() - start)
    device.synchronize()
    return least


def _between_events(leg: BuiltLeg, events: Events, function: Callable[[], Any], calls: int) -> float:
    start = events.timer.mark()
    call_repeatedly(function, calls)
    end = events.timer.mark()
    leg.plan.device.synchronize()
    return events.timer.elapsed_s(start, end)
