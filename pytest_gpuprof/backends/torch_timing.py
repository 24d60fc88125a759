"""Device time in torch: events, a backlog in front of them, evicted caches, and compilations meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pytest_gpuprof.backends.host import flush_bytes

__all__ = ["Flush", "Spin", "Timer", "compilations"]

_SPIN_PROBE_CYCLES = 5_000_000
"""About 3 ms at 1.5 GHz: long against the 0.5 µs resolution of events, short against a warm-up."""


class Timer:
    """torch's events on a device."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._event = torch.Event
        self._device = device

    def mark(self) -> Any:
        """Record an event on the current stream."""
        event = self._event(self._device, enable_timing=True)
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        """Wait until the device has come to it."""
        mark.synchronize()

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Return the seconds between two events."""
        return float(start.elapsed_time(end)) * 1e-3


class Spin:
    """CUDA's and ROCm's spin kernel. Its clock is found by timing it once, so no driver query can mislead it."""

    def __init__(self, sleep: Callable[[int], None], timer: Timer) -> None:
        self._sleep = sleep
        self._timer = timer
        self._cycles_per_s: float | None = None

    def __call__(self, seconds: float) -> None:
        """Occupy the device for so long."""
        if self._cycles_per_s is None:
            self._sleep(_SPIN_PROBE_CYCLES)  # the first launch loads the kernel
            start = self._timer.mark()
            self._sleep(_SPIN_PROBE_CYCLES)
            end = self._timer.mark()
            self._timer.wait(end)
            self._cycles_per_s = _SPIN_PROBE_CYCLES / self._timer.elapsed_s(start, end)
        self._sleep(int(seconds * self._cycles_per_s))


class Flush:
    """Fills a tensor larger than the L2 cache; it is allocated when it is first needed."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device
        self._tensor: Any = None

    def __call__(self) -> None:
        """Write over the caches."""
        if self._tensor is None:
            elements = flush_bytes(self._cache_bytes()) // 4
            self._tensor = self._torch.empty(elements, dtype=self._torch.int32, device=self._device)
        self._tensor.zero_()

    def _cache_bytes(self) -> int | None:
        module = self._torch.get_device_module(self._device.type)
        if not hasattr(module, "get_device_properties"):
            return None
        return getattr(module.get_device_properties(self._device), "L2_cache_size", None)


def compilations() -> int:
    """Return how many functions torch.compile has compiled so far; it counts only once it has been imported."""
    utilities = sys.modules.get("torch._dynamo.utils")
    return 0 if utilities is None else int(utilities.counters["frames"]["total"])
