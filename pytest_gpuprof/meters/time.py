"""Wall time and device time of the same calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_gpuprof.core.protocols import Device, Timer
from pytest_gpuprof.core.quantities import METRICS

__all__ = ["DeviceTime", "WallTime"]


class WallTime:
    """The host's clock around synchronized work: the only time that both legs have."""

    metrics = (METRICS["wall_time"],)

    def __init__(self, device: Device) -> None:
        self._now = device.clock.now
        self._synchronize = device.synchronize

    def begin(self) -> _WallSpan:
        """Wait until the device is idle, then take the time."""
        span = _WallSpan(self._now, self._synchronize)
        self._synchronize()
        span.start = self._now()
        return span


class _WallSpan:
    __slots__ = ("_now", "_synchronize", "seconds", "start")

    def __init__(self, now: Callable[[], float], synchronize: Callable[[], None]) -> None:
        self._now = now
        self._synchronize = synchronize
        self.start = 0.0
        self.seconds = 0.0

    def end(self) -> None:
        self._synchronize()
        self.seconds = self._now() - self.start

    def read(self) -> Mapping[str, float]:
        return {"wall_time": self.seconds}


class DeviceTime:
    """The device's own events around the work of the current stream."""

    metrics = (METRICS["device_time"],)

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def begin(self) -> _EventSpan:
        """Mark the beginning on the device."""
        return _EventSpan(self._timer, self._timer.mark())


class _EventSpan:
    __slots__ = ("_end", "_start", "_timer")

    def __init__(self, timer: Timer, start: Any) -> None:
        self._timer = timer
        self._start = start
        self._end: Any = None

    def end(self) -> None:
        self._end = self._timer.mark()

    def read(self) -> Mapping[str, float]:
        return {"device_time": self._timer.elapsed_s(self._start, self._end)}
