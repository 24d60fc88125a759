"""OpenCL by PyOpenCL: the profiling events of a real in-order queue.

A GPU of any vendor, and where there is none the CPU (PoCL) as a stand-in.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_gpuprof.backends.host import HostDevice, flush_bytes, precision_of, read_settings
from pytest_gpuprof.backends.pocl import name_unknown_processor
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable

__all__ = ["OpenclBackend"]


class OpenclBackend:
    """The adapter to OpenCL."""

    name = "opencl"
    parameters = ("queue",)
    frameworks = ("pyopencl",)
    host = "numpy"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the devices of all platforms, GPUs first, in the order in which ``opencl:0``, ``opencl:1`` count."""
        cl = _import()
        return tuple(_describe(cl, device, index) for index, device in enumerate(_devices(cl)))

    def open(self, device: DeviceId) -> HostDevice:
        """Return the device with a queue of its own; builders get ``queue``, which has profiling on."""
        cl = _import()
        found = _devices(cl)
        if device.type != self.name or device.index >= len(found):
            known = ", ".join(f"opencl:{index}" for index in range(len(found)))
            raise DeviceError(f"OpenCL has no device {device}; it has {known}")
        return _Device(cl, found[device.index], _describe(cl, found[device.index], device.index))

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a PyOpenCL array."""
        array = sys.modules.get("pyopencl.array")
        return array is not None and isinstance(value, array.Array)


def _import() -> Any:
    if importlib.util.find_spec("pyopencl") is None:
        raise Unavailable("PyOpenCL is not installed; pip install 'pyopencl[pocl]' brings an OpenCL for any CPU along")
    try:
        import pyopencl
    except (ImportError, OSError) as error:
        raise Unavailable(f"PyOpenCL is installed but cannot be imported ({error}); reinstall it") from error
    return pyopencl


def _devices(cl: Any) -> list[Any]:
    try:
        found = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    except cl.Error as error:
        raise Unavailable(
            f"no OpenCL platform is installed ({error}); install the GPU's driver, or pip install 'pyopencl[pocl]'"
        ) from error
    if not found:
        raise Unavailable("no OpenCL platform has a device; install the GPU's driver, or pip install 'pyopencl[pocl]'")
    return sorted(found, key=lambda device: not device.type & cl.device_type.GPU)


def _describe(cl: Any, device: Any, index: int) -> DeviceInfo:
    if device.type & cl.device_type.GPU:
        kind, why = "gpu", None
    elif device.type & cl.device_type.CPU:
        kind, why = "stand-in", "OpenCL on the CPU"
    else:
        kind, why = "stand-in", "an OpenCL device that is no GPU"
    return DeviceInfo(
        DeviceId(OpenclBackend.name, index),
        device.name.strip(),
        kind,  # type: ignore[arg-type]  # one of the three by the lines above
        OpenclBackend.name,
        uuid=_uuid(device),
        pci_bus_id=_pci_bus_id(device),
        memory_bytes=device.global_mem_size,
        why_stand_in=why,
    )


def _uuid(device: Any) -> str | None:
    """Return the UUID of an NVIDIA device as NVML writes it (cl_khr_device_uuid)."""
    if "NVIDIA" not in device.vendor:
        return None
    try:
        raw = device.uuid_khr
    except Exception:  # as in _pci_bus_id; PyOpenCL up to 2026.1 does not know it
        return None
    text = bytes(raw).hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _pci_bus_id(device: Any) -> str | None:
    """Return the PCI address where the vendor tells it (cl_nv_device_attribute_query)."""
    try:
        domain = device.pci_domain_id_nv
        bus, slot = device.pci_bus_id_nv, device.pci_slot_id_nv
    except Exception:  # another vendor: PyOpenCL raises LogicError or AttributeError by version
        return None
    return f"{domain:08X}:{bus:02X}:{slot >> 3:02X}.{slot & 7}"


class _Device(HostDevice):
    """One device, with one in-order queue whose events are profiled."""

    def __init__(self, cl: Any, device: Any, info: DeviceInfo) -> None:
        name_unknown_processor(device)
        self._cl = cl
        try:
            context = cl.Context([device])
            queue = cl.CommandQueue(context, properties=cl.command_queue_properties.PROFILING_ENABLE)
        except cl.Error as error:
            raise Unavailable(f"{info.name} cannot be opened ({error})") from error
        super().__init__(info, {"queue": queue, "device": device})
        self._device = device
        self._queue = queue
        self.timer = _Timer(cl, queue)
        self.backlog = _Gate(cl, context, queue)
        self.arrays = _Arrays(queue)
        self.flush = _Flush(cl, context, queue, device.global_mem_cache_size)
        self.yardsticks = _Yardsticks(cl, context, queue)
        self.lacks = {"memory": "OpenCL does not tell how much memory is in use"}

    def settings(self) -> Mapping[str, Fact]:
        """Return the versions of PyOpenCL, of the platform and of the driver."""
        of_device = {"opencl_platform": ("platform.version",), "opencl_driver": ("driver_version",)}
        return {
            **read_settings(self._cl, {"pyopencl": ("VERSION_TEXT",)}),
            **read_settings(self._device, of_device),
        }

    def synchronize(self) -> None:
        """Wait for the queue; OpenCL has no way to wait for queues that the workload made for itself."""
        self._queue.finish()


class _Timer:
    """Markers: the profiled end of a marker is the moment when all before it was done."""

    def __init__(self, cl: Any, queue: Any) -> None:
        self._cl = cl
        self._queue = queue

    def mark(self) -> Any:
        return self._cl.enqueue_marker(self._queue)

    def wait(self, mark: Any) -> None:
        mark.wait()

    def elapsed_s(self, start: Any, end: Any) -> float:
        return float(end.profile.end - start.profile.end) * 1e-9


class _Gate:
    """A barrier that a timer opens: what is enqueued behind it waits, and no kernel has to be compiled."""

    def __init__(self, cl: Any, context: Any, queue: Any) -> None:
        self._cl = cl
        self._context = context
        self._queue = queue

    def __call__(self, seconds: float) -> None:
        gate = self._cl.UserEvent(self._context)
        opened = self._cl.command_execution_status.COMPLETE
        self._cl.enqueue_barrier(self._queue, wait_for=[gate])
        timer = threading.Timer(seconds, gate.set_status, (opened,))
        timer.daemon = True
        timer.start()


class _Flush:
    """Fills a buffer larger than the device's cache; it is allocated when it is first needed."""

    def __init__(self, cl: Any, context: Any, queue: Any, cache_bytes: int) -> None:
        self._cl = cl
        self._context = context
        self._queue = queue
        self._bytes = flush_bytes(cache_bytes)
        self._buffer: Any = None

    def __call__(self) -> None:
        import numpy

        if self._buffer is None:
            self._buffer = self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, self._bytes)
        self._cl.enqueue_fill_buffer(self._queue, self._buffer, numpy.int32(0), 0, self._bytes)


class _Arrays:
    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def place(self, value: Any) -> Any:
        import numpy
        import pyopencl.array

        if isinstance(value, pyopencl.array.Array):
            value = value.get()
        if not isinstance(value, numpy.ndarray):
            return value
        whole = value if value.flags.forc else value.copy()  # PyOpenCL refuses slices
        return pyopencl.array.to_device(self._queue, whole)

    def download(self, value: Any) -> Any:
        return self.host(value)

    def host(self, value: Any) -> Any:
        import pyopencl.array

        return value.get(self._queue) if isinstance(value, pyopencl.array.Array) else value

    def precision(self, value: Any) -> float | None:
        return precision_of(value)


class _Yardsticks:
    """Copies between two buffers. OpenCL brings no matrix product along."""

    precisions: tuple[str, ...] = ()

    def __init__(self, cl: Any, context: Any, queue: Any) -> None:
        self._cl = cl
        self._context = context
        self._queue = queue

    def copy(self, nbytes: int) -> Callable[[], object]:
        import numpy

        source, target = (self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, nbytes) for _ in range(2))
        self._cl.enqueue_fill_buffer(self._queue, source, numpy.uint8(1), 0, nbytes)  # else there is no memory yet
        return lambda: self._cl.enqueue_copy(self._queue, target, source)

    def product(self, order: int, precision: str) -> Callable[[], object]:
        raise Unavailable(f"OpenCL brings no {precision} matrix product along")
