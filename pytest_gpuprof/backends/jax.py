"""JAX: whatever XLA drives, by computations that return before they are done.

A device runs the computations of one thread in the order in which it gets them, a CPU too, so waiting for a tiny one
waits for all before it. What XLA does not tell (when a computation began, the stream it runs on) is not offered.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_gpuprof.backends.cuda_driver import identity_of
from pytest_gpuprof.backends.host import (
    HostDevice,
    cpu_name,
    evict_cpu_caches,
    flush_bytes,
    precision_of,
    read_settings,
)
from pytest_gpuprof.backends.jax_flops import JaxFlopCounter
from pytest_gpuprof.backends.jax_memory import open_memory
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import PeakMemory

__all__ = ["JaxBackend"]

_GPU_TYPES = frozenset({"cuda", "rocm", "oneapi", "metal", "mps"})
"""The platforms of JAX that are GPUs. A plug-in of another name can be anything."""

_COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX records once for each computation it has XLA compile, or takes from its cache on disk."""

_POOL = "tf_XLAEigen"
"""The name that XLA gives the threads among which it divides a computation on the CPU."""

_SETTINGS: Mapping[str, Sequence[str]] = {
    "jax": ("__version__",),
    "jax_x64": ("config.jax_enable_x64",),
    "jax_matmul_precision": ("config.jax_default_matmul_precision",),
    "jax_disable_jit": ("config.jax_disable_jit",),
    "jax_debug_nans": ("config.jax_debug_nans",),
    "jax_debug_infs": ("config.jax_debug_infs",),
    "jax_prng": ("config.jax_default_prng_impl",),
    "jax_threefry_partitionable": ("config.jax_threefry_partitionable",),
    "jax_optimization_level": ("config.jax_optimization_level",),
    "jax_pgle": ("config.jax_enable_pgle",),
}
"""What changes the speed of JAX, and where JAX tells it (0.5 to 0.10)."""

_HIDDEN = "JAX has no CPU device while JAX_PLATFORMS={!r} leaves it out; add cpu to it, as in 'cuda,cpu'"


class JaxBackend:
    """The adapter to JAX."""

    name = "jax"
    parameters = ("device", "xp")
    on_request = ("xp",)
    frameworks = ("jax",)
    host = "jax"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the accelerators, then the CPU.

        JAX can be told to divide the CPU into several devices; those after the first are stand-ins.
        """
        return tuple(_found(_import()))

    def open(self, device: DeviceId) -> HostDevice:
        """Return the device; builders get its ``jax.Device``, or ``jax.numpy`` working on it."""
        jax = _import()
        found = _found(jax)
        for info, opened in found.items():
            if info.id == device:
                return _Cpu(jax, info, opened) if info.kind == "cpu" else _Accelerator(jax, info, opened)
        hidden = os.environ.get("JAX_PLATFORMS")
        if device == DeviceId("cpu") and hidden:
            raise Unavailable(_HIDDEN.format(hidden))
        raise DeviceError(f"JAX has no device {device}; it has {', '.join(str(info.id) for info in found)}")

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a JAX array, or a tree of a class that JAX knows (a module of Equinox, say)."""
        jax = sys.modules.get("jax")
        return jax is not None and (isinstance(value, jax.Array) or _is_tree(jax, value))


def _import() -> Any:
    if importlib.util.find_spec("jax") is None:
        raise Unavailable("JAX is not installed; pip install jax, or 'jax[cuda13]' for NVIDIA GPUs")
    try:
        import jax
        import jax.monitoring
        import jax.numpy
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: jax and jaxlib do not fit
        raise Unavailable(f"JAX is installed but cannot be imported ({error}); reinstall it") from error
    if tuple(map(int, jax.__version__.split(".")[:2])) < (0, 5):
        raise Unavailable(f"JAX {jax.__version__} is too old; upgrade to 0.5 or newer")
    return jax


def _found(jax: Any) -> Mapping[DeviceInfo, Any]:
    """Return JAX's own devices by what is known of each, the CPU last."""
    try:
        found = list(jax.local_devices())
        if found and found[0].platform != "cpu":
            found += _cpus(jax)
    except RuntimeError as error:  # a platform was asked for that is not there
        raise Unavailable(f"JAX cannot start ({error}); see JAX_PLATFORMS") from error
    described = [(_describe(device), device) for device in found]
    return dict(sorted(described, key=lambda pair: pair[0].kind == "cpu"))  # stable: the order within stays


def _cpus(jax: Any) -> list[Any]:
    try:
        return list(jax.local_devices(backend="cpu"))
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return []


def _describe(device: Any) -> DeviceInfo:
    if device.platform == "cpu":
        if device.local_hardware_id in (0, None):
            return DeviceInfo(DeviceId("cpu"), cpu_name(), "cpu", JaxBackend.name)
        return DeviceInfo(
            DeviceId(JaxBackend.name, device.local_hardware_id),
            cpu_name(),
            "stand-in",
            JaxBackend.name,
            why_stand_in="JAX on the CPU",
        )
    kind = _platform(device)
    index = device.id if device.local_hardware_id in (-1, None) else device.local_hardware_id
    uuid, pci, memory = identity_of(index) if kind == "cuda" else (None, None, None)
    is_gpu = kind in _GPU_TYPES
    return DeviceInfo(
        DeviceId(kind, index),
        device.device_kind,
        "gpu" if is_gpu else "stand-in",
        JaxBackend.name,
        uuid=uuid,
        pci_bus_id=pci,
        memory_bytes=memory,
        why_stand_in=None if is_gpu else f"no GPU: a JAX device of platform {kind!r}",
    )


def _platform(device: Any) -> str:
    """Return the platform in small letters; JAX calls CUDA and ROCm ``gpu``, and says which beside the version."""
    platform = str(device.platform).lower()
    if platform == "gpu":
        version = str(device.client.platform_version).lower()
        return next((name for name in ("cuda", "rocm", "oneapi") if name in version), platform)
    return platform


class _Device(HostDevice):
    """What every device of JAX has."""

    def __init__(self, jax: Any, info: DeviceInfo, device: Any) -> None:
        super().__init__(info, {"device": device, "xp": jax.numpy})
        self._jax = jax
        self._device = device
        self.arrays = _Arrays(jax, device)
        self.flop_counter = JaxFlopCounter()
        self.compilations = _counter()
        with self.active():
            token = jax.device_put(0.0, device)
            # Compiled ahead, so that no setting that somebody changes has it compiled again within a sample.
            self._tick = jax.jit(lambda value: value + 1).lower(token).compile()
        self._token = token

    def settings(self) -> Mapping[str, Fact]:
        """Return the versions of JAX, of its library and of its platform, and the switches in force."""
        import jaxlib

        return {
            **read_settings(self._jax, _SETTINGS),
            "jaxlib": jaxlib.__version__,
            "jax_platform": " ".join(str(self._device.client.platform_version).split()),
        }

    def synchronize(self) -> None:
        """Wait for a computation behind all that this thread has given to the device."""
        with self._jax.disable_jit(False):  # where somebody has disabled it, nothing that was compiled ahead may run
            self._tick(self._token).block_until_ready()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it the device on which this thread makes arrays."""
        with self._jax.default_device(self._device):
            yield


class _Cpu(_Device):
    """JAX on the CPU."""

    def __init__(self, jax: Any, info: DeviceInfo, device: Any) -> None:
        super().__init__(jax, info, device)
        self.flush = evict_cpu_caches
        self.fixed_threads: int = _pool_threads()
        self.lacks = {
            "timer": "a CPU has no device events; its wall time is its time",
            "threads": "JAX starts its threads once and for all; say NPROC={} in the environment of the run",
        }

    def settings(self) -> Mapping[str, Fact]:
        """Return what every device tells, and how many threads there are."""
        return {**super().settings(), "jax_cpu_threads": self.fixed_threads}


class _Accelerator(_Device):
    """A GPU, or whatever else XLA drives."""

    def __init__(self, jax: Any, info: DeviceInfo, device: Any) -> None:
        super().__init__(jax, info, device)
        self.flush = evict_cpu_caches if device.platform == "cpu" else _Flush(jax, device)
        self.lacks = {"timer": "JAX offers no events: it tells neither when a computation began nor when it ended"}

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer the allocator's statistics where there are some whose peak can be believed."""
        memory = open_memory(self._device.memory_stats, self._hold)
        if isinstance(memory, str):
            self.lacks = {**self.lacks, "memory": memory}
            yield None
            return
        try:
            yield memory
        finally:
            memory.close()

    def _hold(self, nbytes: int) -> Callable[[], None]:
        with self.active():
            held = self._jax.numpy.zeros(nbytes, "uint8").block_until_ready()
        release: Callable[[], None] = held.delete
        return release


class _Flush:
    """Overwrites an array larger than any L2 cache, whose size JAX does not tell; it is made when first needed."""

    def __init__(self, jax: Any, device: Any) -> None:
        self._jax = jax
        self._device = device
        self._write: Any = None
        self._array: Any = None

    def __call__(self) -> None:
        if self._write is None:
            self._array = self._jax.device_put(self._jax.numpy.zeros(flush_bytes(None) // 4, "int32"), self._device)
            self._write = self._jax.jit(lambda array: array + 1, donate_argnums=0).lower(self._array).compile()
        self._array = self._write(self._array)  # donated: it is written in place


@lru_cache(maxsize=1)
def _counter() -> Callable[[], int]:
    """Return what tells how many computations JAX has compiled since this was first asked for."""
    import jax.monitoring

    compiled: list[str] = []

    def listen(event: str, duration: float, **about: Any) -> None:
        if event == _COMPILED:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: len(compiled)


def _pool_threads(tasks: Path = Path("/proc/self/task")) -> int:
    """Return how many threads XLA computes with on the CPU: those of its name, or as many as it would start.

    JAX 0.10 names them, 0.5 does not, and only Linux tells names.
    """
    count = 0
    for name in tasks.glob("*/comm"):
        try:
            count += name.read_text(encoding="utf-8", errors="replace").strip() == _POOL
        except OSError:  # a thread that has ended meanwhile
            continue
    told = os.environ.get("NPROC", "")
    return count or (int(told) if told.isdecimal() else 0) or _cpu_count()


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_tree(jax: Any, value: Any) -> bool:
    """Whether a value is a tree of a registered class, and none of Python's own containers."""
    return type(value) not in (type(None), list, tuple, dict) and not jax.tree_util.all_leaves([value])


class _Arrays:
    def __init__(self, jax: Any, device: Any) -> None:
        self._jax = jax
        self._device = device

    def place(self, value: Any) -> Any:
        import numpy

        if isinstance(value, (self._jax.Array, numpy.ndarray)):
            if isinstance(value, numpy.ndarray) or self._device in value.devices():
                # Each leg gets its own: a callable may donate its inputs. JAX's own may_alias=False is no promise, and
                # on the CPU it would go on to use the memory of a NumPy array.
                value = value.copy()
            # Waiting, because a copy to a GPU is in a stream of its own, behind which nothing waits.
            return self._jax.device_put(value, self._device).block_until_ready()
        if _is_tree(self._jax, value):
            return self._jax.tree_util.tree_map(self.place, value)
        return value

    def download(self, value: Any) -> Any:
        if isinstance(value, self._jax.Array) and not self._is_key(value):  # a key is of a few bytes and no NumPy type
            import numpy

            return numpy.array(value)
        return value

    def host(self, value: Any) -> Any:
        if not isinstance(value, self._jax.Array):
            return value
        import numpy

        if self._is_key(value):
            value = self._jax.random.key_data(value)
        array = numpy.asarray(value)
        if array.dtype.kind != "V":
            return array
        # NumPy computes with neither bfloat16, float8 nor int4; `precision` remembers what it was.
        return array.astype("float32" if self._jax.numpy.issubdtype(value.dtype, numpy.inexact) else "int8")

    def precision(self, value: Any) -> float | None:
        if isinstance(value, self._jax.Array) and self._jax.numpy.issubdtype(value.dtype, self._jax.numpy.inexact):
            return float(self._jax.numpy.finfo(value.dtype).eps)
        return precision_of(value)  # a callable may end with numpy.asarray()

    def _is_key(self, value: Any) -> bool:
        return bool(self._jax.numpy.issubdtype(value.dtype, self._jax.dtypes.prng_key))
