"""What every adapter to real hardware shares: the host's clock, and abilities that a device may lack."""

from __future__ import annotations

import platform
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.protocols import (
    Arrays,
    Backlog,
    Clock,
    FlopCounter,
    PeakMemory,
    RandomState,
    Threads,
    Timer,
    Yardsticks,
)

__all__ = ["SYSTEM_CLOCK", "HostDevice", "HostRandom", "SystemClock", "cpu_name", "precision_of"]


class SystemClock:
    """The real host clock: ``time.perf_counter``, monotonic, about 0.1 µs of resolution."""

    now = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)


SYSTEM_CLOCK: Clock = SystemClock()


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Return the processor's marketing name, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def precision_of(value: Any) -> float | None:
    """Return the machine epsilon of an array that has a NumPy type, ``None`` for integers and for what is no array."""
    import numpy

    dtype = getattr(value, "dtype", None)
    inexact = isinstance(dtype, numpy.dtype) and numpy.issubdtype(dtype, numpy.inexact)
    return float(numpy.finfo(dtype).eps) if inexact else None


class HostRandom:
    """Python's and NumPy's global generators, which any builder may draw from."""

    def save(self) -> Any:
        """Return their states."""
        numpy = sys.modules.get("numpy")
        return random.getstate(), None if numpy is None else numpy.random.get_state()

    def restore(self, state: Any) -> None:
        """Set them back."""
        python_state, numpy_state = state
        random.setstate(python_state)
        if numpy_state is not None:
            sys.modules["numpy"].random.set_state(numpy_state)


class HostDevice:
    """A device with no ability beyond running what it is given, on the host's clock; adapters add what they have."""

    clock: Clock = SYSTEM_CLOCK
    timer: Timer | None = None
    backlog: Backlog | None = None
    arrays: Arrays | None = None
    random: RandomState = HostRandom()
    threads: Threads | None = None
    flop_counter: FlopCounter | None = None
    yardsticks: Yardsticks | None = None
    lacks: Mapping[str, str] = MappingProxyType({})

    def __init__(self, info: DeviceInfo, arguments: Mapping[str, Any]) -> None:
        self.info = info
        self.arguments = arguments

    def synchronize(self) -> None:
        """Do nothing: work on the host is done when its call returns."""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Do nothing: there is one host."""
        yield

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer nothing: see ``lacks["memory"]``."""
        yield None
