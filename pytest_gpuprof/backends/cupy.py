"""CuPy: CUDA events of the current stream, and the peak of its memory pool by an allocation hook."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_gpuprof.backends.host import HostDevice, HostRandom, flush_bytes, precision_of, read_settings
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import PeakMemory

__all__ = ["CupyBackend"]


class CupyBackend:
    """The adapter to CuPy."""

    name = "cupy"
    parameters = ("xp",)
    frameworks = ("cupy",)
    host = "numpy"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the CUDA devices."""
        cupy = _import()
        runtime = cupy.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise Unavailable(f"CuPy finds no CUDA device ({error}); install the NVIDIA driver") from error
        if count == 0:
            raise Unavailable("CuPy finds no CUDA device; check CUDA_VISIBLE_DEVICES")
        return tuple(_describe(runtime, index) for index in range(count))

    def open(self, device: DeviceId) -> HostDevice:
        """Return the device; builders get ``xp=cupy``."""
        for info in self.devices():
            if info.id == device:
                return _Device(_import(), info)
        raise DeviceError(f"CuPy has no device {device}; it has {', '.join(str(i.id) for i in self.devices())}")

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a CuPy array."""
        cupy = sys.modules.get("cupy")
        return cupy is not None and isinstance(value, cupy.ndarray)


def _import() -> Any:
    if importlib.util.find_spec("cupy") is None:
        raise Unavailable("CuPy is not installed; pip install cupy-cuda12x (or cupy-cuda13x)")
    try:
        import cupy
    except (ImportError, OSError) as error:
        raise Unavailable(f"CuPy is installed but cannot be imported ({error}); reinstall it") from error
    return cupy


def _describe(runtime: Any, index: int) -> DeviceInfo:
    properties = runtime.getDeviceProperties(index)
    # CuPy reads the 16 bytes as a C string: a zero byte among them ends it, and the PCI address has to do.
    raw = bytes(properties["uuid"])[:16].hex()
    name = properties["name"]
    return DeviceInfo(
        DeviceId("cuda", index),
        name.decode() if isinstance(name, bytes) else name,
        "gpu",
        CupyBackend.name,
        uuid=f"GPU-{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}" if len(raw) == 32 else None,
        pci_bus_id="{pciDomainID:08X}:{pciBusID:02X}:{pciDeviceID:02X}.0".format(**properties),
        memory_bytes=properties["totalGlobalMem"],
    )


class _Device(HostDevice):
    def __init__(self, cupy: Any, info: DeviceInfo) -> None:
        self._cupy = cupy
        self._device = cupy.cuda.Device(info.id.index)
        super().__init__(info, {"xp": cupy, "device": self._device})
        self.timer = _Timer(cupy)
        self.backlog = _Spin(cupy)
        self.flush = _Flush(cupy, self._device.attributes.get("L2CacheSize"))
        self.arrays = _Arrays(cupy)
        self.random = _Random(cupy)
        self.yardsticks = _Yardsticks(cupy)
        self.lacks = {"memory": "CuPy's allocator is not its default memory pool, the only one that can be watched"}

    def settings(self) -> Mapping[str, Fact]:
        """Return the versions of CuPy and of its CUDA runtime, and the allocator in force."""
        allocator = self._cupy.cuda.get_allocator()
        owner = getattr(allocator, "__self__", None)
        return {
            **read_settings(self._cupy, {"cupy": ("__version__",), "cupy_cuda": ("cuda.runtime.runtimeGetVersion",)}),
            "cupy_allocator": getattr(allocator, "__name__", "custom") if owner is None else type(owner).__name__,
        }

    def synchronize(self) -> None:
        """Wait for all streams of the device."""
        self._device.synchronize()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it CuPy's current device."""
        with self._device:
            yield

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Watch the pool by a hook, because it keeps no peak of its own; the hook sees the calling thread only."""
        if self._cupy.cuda.get_allocator() != self._cupy.get_default_memory_pool().malloc:
            yield None
            return
        hook = _pool_watch(self._cupy, self._device)
        with hook:
            yield hook


class _Timer:
    def __init__(self, cupy: Any) -> None:
        self._cuda = cupy.cuda

    def mark(self) -> Any:
        event = self._cuda.Event()
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def elapsed_s(self, start: Any, end: Any) -> float:
        return float(self._cuda.get_elapsed_time(start, end)) * 1e-3


_SPIN = """
extern "C" __global__ void gpuprof_spin(unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""
"""One thread that looks at the GPU's own clock until the time is over: it ends by itself, whatever the host does."""


class _Spin:
    """A kernel of one thread, compiled when it is first needed."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._kernel: Any = None

    def __call__(self, seconds: float) -> None:
        if self._kernel is None:
            self._kernel = self._cupy.RawKernel(_SPIN, "gpuprof_spin")
        self._kernel((1,), (1,), (self._cupy.uint64(int(seconds * 1e9)),))


class _Flush:
    """Fills an array larger than the L2 cache; it is allocated when it is first needed."""

    def __init__(self, cupy: Any, cache_bytes: int | None) -> None:
        self._cupy = cupy
        self._bytes = flush_bytes(cache_bytes)
        self._array: Any = None

    def __call__(self) -> None:
        if self._array is None:
            self._array = self._cupy.empty(self._bytes // 4, dtype="int32")
        self._array.fill(0)


def _pool_watch(cupy: Any, device: Any) -> Any:
    """Return a memory hook that counts live bytes and their peak on one device."""

    class PoolWatch(cupy.cuda.MemoryHook):  # type: ignore[misc]  # the base exists only once CuPy is imported
        name = "pytest-gpuprof"

        def __init__(self) -> None:
            self._pool = cupy.get_default_memory_pool()
            self._peak = self.live_bytes()

        def malloc_postprocess(self, **event: Any) -> None:
            if event["device_id"] == device.id:
                self._peak = max(self._peak, self.live_bytes())

        def live_bytes(self) -> int:
            with device:  # the pool tells of the current device
                return int(self._pool.used_bytes())

        def reset_peak(self) -> None:
            with device:
                self._pool.free_all_blocks()
            self._peak = self.live_bytes()

        def peak_bytes(self) -> int:
            return int(self._peak)

        def reserved_bytes(self) -> int | None:
            with device:
                return int(self._pool.total_bytes())

        def free_bytes(self) -> int | None:
            with device:
                return int(cupy.cuda.runtime.memGetInfo()[0])

        def flushes(self) -> int | None:
            return None  # the pool empties itself on a full device and tells nobody

    return PoolWatch()


class _Arrays:
    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def place(self, value: Any) -> Any:
        import numpy

        return self._cupy.array(value) if isinstance(value, (numpy.ndarray, self._cupy.ndarray)) else value

    def download(self, value: Any) -> Any:
        return self.host(value)

    def host(self, value: Any) -> Any:
        return self._cupy.asnumpy(value) if isinstance(value, self._cupy.ndarray) else value

    def precision(self, value: Any) -> float | None:
        return precision_of(value)


class _Random(HostRandom):
    """CuPy's generator for the current device, besides Python's and NumPy's.

    It cannot be copied, so saving draws a seed, and restoring seeds with it: equal draws after each restore.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def save(self) -> Any:
        elsewhere = super().save()
        import random

        return elsewhere, random.Random(repr(elsewhere[0])).getrandbits(31)

    def restore(self, state: Any) -> None:
        elsewhere, seed = state
        super().restore(elsewhere)
        self._cupy.random.seed(seed)


class _Yardsticks:
    """Copies and matrix products into memory that is there already."""

    precisions = ("fp64", "fp32", "fp16")

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def copy(self, nbytes: int) -> Callable[[], object]:
        source = self._cupy.ones(nbytes, dtype="uint8")
        target = self._cupy.empty_like(source)
        return lambda: self._cupy.copyto(target, source)

    def product(self, order: int, precision: str) -> Callable[[], object]:
        import numpy

        # Random numbers: products of equal ones take less power, and a card at its power limit is faster with them.
        dtype, rng = f"float{precision.removeprefix('fp')}", numpy.random.default_rng(0)
        left, right = (self._cupy.asarray(rng.random((order, order), dtype="float32")).astype(dtype) for _ in range(2))
        target = self._cupy.empty_like(left)
        return lambda: self._cupy.matmul(left, right, out=target)
