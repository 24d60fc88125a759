"""What a device's events and backlog are good for, found out before anything is measured with them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import pairwise

from pytest_gpuprof.core.protocols import Backlog, Device, Timer

__all__ = ["Events", "Preflights", "preflight"]

_PAIRS = 100
"""Pairs of events with nothing between them: enough to meet two neighbouring steps of a coarse clock."""

_FINEST_S = 32e-9
_COARSEST_S = 2e-6
"""Steps of event clocks in use: 32 ns (the global timer of NVIDIA GPUs), 0.5 µs (as CUDA states), 1 µs (HIP)."""

_ROUNDING_S = 1e-9
"""CUDA tells milliseconds in single precision: differences below a nanosecond are its rounding."""

_SHORT_S = 1e-3
_LONG_S = 4e-3
"""Two lengths of a backlog: long against the resolution of events, short against a warm-up."""

_LEAST_SHARE = 0.7
"""The backlog is 1.5 times as long as what it has to hide; one that ends after less than 70 % of its time does not."""

_LONGEST_SHARE = 20.0
"""Longer than asked is no harm but time: a gate that a thread opens can be late on a busy host. This is broken."""


@dataclass(frozen=True, slots=True)
class Events:
    """What is known of a device's events.

    Args:
        timer: their source.
        resolution_s: step of their clock.
        empty_s: what they say between two of them with nothing in between.
        backlog: what keeps the device busy meanwhile, ``None`` if there is none or it does not last.
    """

    timer: Timer
    resolution_s: float
    empty_s: float
    backlog: Backlog | None


class Preflights:
    """The preflights of a run: what is a fact of a device is found out once, and not for every test.

    A backlog that failed may only have met a busy moment, which must not spoil all tests after it: it is tried again.
    """

    def __init__(self) -> None:
        self._found: list[tuple[Device, Events | None]] = []  # a device need not be hashable, and there are few

    def of(self, device: Device) -> Events | None:
        """Return what the events of a device are good for; ``None`` if it has none."""
        for known, found in self._found:
            if known is device:
                return found
        found = preflight(device)
        if found is None or device.backlog is None or found.backlog is not None:
            self._found.append((device, found))
        return found


def preflight(device: Device) -> Events | None:
    """Find out what the events of a device are good for; ``None`` if it has none.

    About 10 ms of device time, of which the backlog takes half.
    """
    timer = device.timer
    if timer is None:
        return None
    device.synchronize()
    timer.elapsed_s(*_pair(device, timer))  # some frameworks create an event when it is first recorded
    marks = [timer.mark() for _ in range(2 * _PAIRS)]
    device.synchronize()
    gaps = sorted({0.0, *(timer.elapsed_s(early, late) for early, late in pairwise(marks))})
    steps = [wide - narrow for narrow, wide in pairwise(gaps) if wide - narrow > _ROUNDING_S]
    resolution = min(_COARSEST_S, max(_FINEST_S, min(steps, default=_COARSEST_S)))
    backlog = device.backlog if _lasts(device, timer) else None
    return Events(timer, resolution, _empty_s(device, timer, backlog), backlog)


def _pair(device: Device, timer: Timer) -> tuple[object, object]:
    first, second = timer.mark(), timer.mark()
    device.synchronize()
    return first, second


def _empty_s(device: Device, timer: Timer, backlog: Backlog | None) -> float:
    if backlog is not None:
        backlog(_SHORT_S)
    marks = [timer.mark() for _ in range(2 * _PAIRS)]
    device.synchronize()
    return statistics.median(max(0.0, timer.elapsed_s(marks[i], marks[i + 1])) for i in range(0, 2 * _PAIRS, 2))


def _lasts(device: Device, timer: Timer) -> bool:
    """Whether the backlog keeps the device busy for as long as it is told to."""
    if device.backlog is None:
        return False
    device.backlog(_SHORT_S)  # the first one loads, or calibrates
    for seconds in (_SHORT_S, _LONG_S):
        device.synchronize()
        start = timer.mark()
        device.backlog(seconds)
        end = timer.mark()
        device.synchronize()
        if not _LEAST_SHARE <= timer.elapsed_s(start, end) / seconds <= _LONGEST_SHARE:
            return False
    return True
