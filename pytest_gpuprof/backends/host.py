"""What every adapter to real hardware shares: the host's clock, and abilities that a device may lack."""

from __future__ import annotations

import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_gpuprof.core.environment import DeviceInfo, Fact
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

__all__ = [
    "SYSTEM_CLOCK",
    "HostDevice",
    "HostRandom",
    "SystemClock",
    "cpu_name",
    "evict_cpu_caches",
    "flush_bytes",
    "precision_of",
    "read_settings",
]

_SMALLEST_FLUSH = 32 * 2**20
"""Small caches are overwritten many times over by 32 MiB, which takes a GPU some 30 µs."""

_UNKNOWN_FLUSH = 256 * 2**20
"""Where the size of the cache is not told: twice the largest in use (GB200: 126 MiB)."""


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


def flush_bytes(cache_bytes: int | None) -> int:
    """Return how much to write to evict a cache: twice its size, because a replacement is not strictly the oldest's.

    >>> flush_bytes(50 * 2**20) // 2**20
    100
    """
    return _UNKNOWN_FLUSH if not cache_bytes else max(_SMALLEST_FLUSH, 2 * cache_bytes)


@lru_cache(maxsize=1)
def _last_level_bytes(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Return the size of the CPU's largest cache, ``None`` where Linux does not tell."""
    sizes = []
    for size in caches.glob("index*/size"):
        text = size.read_text(encoding="ascii").strip()
        sizes.append(int(text[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[text[-1]])
    return max(sizes, default=None)


@lru_cache(maxsize=1)
def _eviction() -> Any:
    import numpy

    return numpy.zeros(flush_bytes(_last_level_bytes()) // 8)


def evict_cpu_caches() -> None:
    """Write twice the size of the CPU's last cache; other cores' own caches keep what they have."""
    _eviction()[:] += 1


def read_settings(framework: Any, questions: Mapping[str, Sequence[str]]) -> Mapping[str, Fact]:
    """Return settings of a framework that are attributes, or functions without arguments, of its modules.

    What an installation does not have is left out. What it has and cannot tell is ``"unavailable: …"``: torch, for one,
    refuses to read the older of two ways to set a precision once the newer was used.

    Args:
        framework: the imported module.
        questions: by the fact's name, where it is found below the module; of several places, the first there is.

    >>> read_settings(sys, {"encoding": ["no_such_name", "getdefaultencoding"], "nothing": ["not.here"]})
    {'encoding': 'utf-8'}
    """
    found: dict[str, Fact] = {}
    for name, places in questions.items():
        for place in places:
            try:
                value = attrgetter(place)(framework)
                value = value() if callable(value) else value
            except AttributeError:
                continue
            except Exception as error:  # whatever a framework raises: the measurement does not depend on it
                value = f"unavailable: {type(error).__name__} on reading it"
            if value is not None:
                # A version may be a subclass of str; other objects (a dtype) are told by their name.
                found[name] = value if type(value) in (bool, int, float, str) else str(value)
            break
    return found


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
    flush: Callable[[], None] | None = None
    compilations: Callable[[], int] | None = None
    random: RandomState = HostRandom()
    threads: Threads | None = None
    flop_counter: FlopCounter | None = None
    yardsticks: Yardsticks | None = None
    fixed_threads: int | None = None
    lacks: Mapping[str, str] = MappingProxyType({})

    def __init__(self, info: DeviceInfo, arguments: Mapping[str, Any]) -> None:
        self.info = info
        self.arguments = arguments

    def settings(self) -> Mapping[str, Fact]:
        """Return the framework's version and what it is set to now, as far as that changes its speed.

        They become part of the identity of a measurement. Names begin with the framework's.
        """
        return {}

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
