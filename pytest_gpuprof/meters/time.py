"""Wall time: the host's clock. Device time is taken apart, by :mod:`pytest_gpuprof.sampling.device_time`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_gpuprof.core.errors import MeasurementError
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.quantities import METRICS

__all__ = ["WallTime"]


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
        if self.seconds <= 0:
            raise MeasurementError(
                f"the host's clock went on by {self.seconds!r} s over a sample; something sets it back, which a "
                "monotonic clock does not allow"
            )
        return {"wall_time": self.seconds}
