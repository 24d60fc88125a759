"""cuda.core, NVIDIA's own Python layer over the CUDA driver: events and streams without any array library.

What cuda.core does through the CUDA runtime (waiting for a device, PCI addresses) is asked of the driver here, by
``cuda.bindings.driver``: the answers are the same, and one library less takes part in a measurement.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from pytest_gpuprof.backends.host import HostDevice, flush_bytes, read_settings
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import Backlog, PeakMemory

__all__ = ["CudaBackend", "CudaError"]

_SPIN = "gpuprof_spin_ns"
_SPIN_PTX = f"""
.version 6.0
.target sm_50
.address_size 64

.visible .entry {_SPIN}(.param .u64 asked_ns)
{{
    .reg .pred %over;
    .reg .u64 %asked, %start, %now, %first_cycle, %cycle, %most_cycles;

    ld.param.u64 %asked, [asked_ns];
    shl.b64 %most_cycles, %asked, 2;
    mov.u64 %start, %globaltimer;
    mov.u64 %first_cycle, %clock64;
again:
    mov.u64 %now, %globaltimer;
    sub.u64 %now, %now, %start;
    setp.ge.u64 %over, %now, %asked;
    @%over bra done;
    mov.u64 %cycle, %clock64;
    sub.u64 %cycle, %cycle, %first_cycle;
    setp.lt.u64 %over, %cycle, %most_cycles;
    @%over bra again;
done:
    ret;
}}
"""
"""A kernel that waits until the GPU's nanosecond clock has gone on by what it is asked.

It is in PTX, which every driver compiles by itself, so that no compiler has to be installed; sm_50 with PTX 6.0 (CUDA
9) runs on all later GPUs. It ends in any case: after four cycles per nanosecond asked for, which no GPU does in less,
it stops even where ``%globaltimer`` stands still.
"""


class CudaBackend:
    """The adapter to cuda.core."""

    name = "cuda"
    parameters = ("stream",)
    frameworks = ("cuda",)
    host = "numpy"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the CUDA devices."""
        core, driver = _import()
        return tuple(_describe(core, driver, index) for index in range(_ask(driver, "cuDeviceGetCount")))

    def open(self, device: DeviceId) -> HostDevice:
        """Return the device; builders get a ``cuda.core.Stream`` on it, which device time is measured on."""
        for info in self.devices():
            if info.id == device:
                return _Device(info)
        raise DeviceError(f"cuda.core has no device {device}; it has {', '.join(str(i.id) for i in self.devices())}")

    def owns(self, value: Any) -> bool:
        """Return ``False``: cuda.core has buffers, which know neither shape nor type, and no arrays."""
        return False


class CudaError(RuntimeError):
    """The driver refused a call, or says that the device broke down before."""


def _ask(driver: Any, name: str, *arguments: Any) -> Any:
    """Return what a function of the driver gives besides its error code.

    Raises:
        CudaError: if the code is an error.
    """
    error, *values = getattr(driver, name)(*arguments)
    if error:
        text = driver.cuGetErrorString(error)[1] or b"unknown"
        raise CudaError(f"{error.name} ({text.decode()}), told by {name}")
    return values[0] if values else None


def _import() -> tuple[Any, Any]:
    """Return ``cuda.core`` and the driver's bindings, with the driver started."""
    install = "pip install cuda-core cuda-bindings"
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None:
        raise Unavailable(f"cuda.core is not installed; {install}")
    try:
        import cuda.bindings
        import cuda.core as core
        from cuda.bindings import driver
    except (ImportError, OSError) as error:
        raise Unavailable(f"cuda.core is installed but cannot be imported ({error}); {install}") from error
    if not hasattr(core, "Device"):
        raise Unavailable(
            f"cuda.core {core.__version__} is too old; upgrade to 1.0 or newer with pip install -U cuda-core"
        )
    _start(driver, cuda.bindings.__version__)
    return core, driver


def _start(driver: Any, bindings: str) -> None:
    try:
        version = _ask(driver, "cuDriverGetVersion")
    except RuntimeError as error:
        raise Unavailable(f"cuda.core finds no NVIDIA driver ({error}); install the NVIDIA driver") from error
    major, minor = version // 1000, version % 1000 // 10
    if major < int(bindings.partition(".")[0]):
        raise Unavailable(
            f"the NVIDIA driver is for CUDA {major}.{minor}, and cuda-bindings {bindings} is for a newer one; update "
            f"the driver, or pip install 'cuda-bindings=={major}.*'"
        )
    try:
        _ask(driver, "cuInit", 0)
    except CudaError as error:
        if driver.CUresult.CUDA_ERROR_NO_DEVICE.name in str(error):
            remedy = "check CUDA_VISIBLE_DEVICES, and whether nvidia-smi lists a GPU"
            raise Unavailable(f"cuda.core finds no CUDA device ({error}); {remedy}") from error
        raise Unavailable(
            f"the NVIDIA driver does not start ({error}); see whether nvidia-smi answers, else reboot"
        ) from error


def _describe(core: Any, driver: Any, index: int) -> DeviceInfo:
    device = core.Device(index)
    address: bytes = _ask(driver, "cuDeviceGetPCIBusId", 32, index)  # "0000:65:00.0", and what follows the zero byte
    return DeviceInfo(
        DeviceId("cuda", index),
        device.name,
        "gpu",
        CudaBackend.name,
        uuid=f"GPU-{device.uuid}",
        pci_bus_id=address.partition(b"\0")[0].decode(),
        memory_bytes=int(_ask(driver, "cuDeviceTotalMem", index)),
    )


class _Context:
    """A device's primary context and our stream in it, made when they are first used.

    Not before: the board is opened earlier, and finds out by the context that appears which process is ours.
    """

    def __init__(self, index: int) -> None:
        self.core, self.driver = _import()
        self.index = index

    @contextmanager
    def current(self) -> Iterator[Any]:
        """Make it the calling thread's, and the one before it afterwards."""
        before = _ask(self.driver, "cuCtxGetCurrent")
        device = self.core.Device(self.index)
        device.set_current()
        try:
            yield device
        finally:
            _ask(self.driver, "cuCtxSetCurrent", before)

    @cached_property
    def handle(self) -> int:
        """The driver's handle."""
        with self.current():
            return int(_ask(self.driver, "cuCtxGetCurrent"))

    @cached_property
    def stream(self) -> Any:
        """Our stream. It keeps order with the legacy default stream, so that events see what is launched there too."""
        with self.current() as device:
            return device.create_stream(options=self.core.StreamOptions(nonblocking=False))

    def synchronize(self) -> None:
        """Wait for all streams."""
        if int(_ask(self.driver, "cuCtxGetCurrent")) == self.handle:  # the usual case, in which a switch would be timed
            _ask(self.driver, "cuCtxSynchronize")
        else:
            with self.current():
                _ask(self.driver, "cuCtxSynchronize")


class _Arguments(Mapping[str, Any]):
    """What builders can get; the stream is made when the first asks for it."""

    def __init__(self, context: _Context) -> None:
        self._context = context

    def __getitem__(self, name: str) -> Any:
        if name not in CudaBackend.parameters:
            raise KeyError(name)
        return self._context.stream

    def __iter__(self) -> Iterator[str]:
        return iter(CudaBackend.parameters)

    def __len__(self) -> int:
        return len(CudaBackend.parameters)


class _Device(HostDevice):
    def __init__(self, info: DeviceInfo) -> None:
        self._context = _Context(info.id.index)
        super().__init__(info, _Arguments(self._context))
        self.timer = _Timer(self._context)
        self.flush = _Flush(self._context)
        self.lacks = {"memory": "the device's memory resource is none of the driver's pools, which alone keep a peak"}

    @cached_property
    def backlog(self) -> Backlog | None:  # type: ignore[override]  # nobody sets it
        """The spin kernel, ``None`` where the driver cannot compile it."""
        try:
            return _Spin(self._context)
        except Exception as error:  # cuda.core's CUDAError is private, and its kinds differ by version
            self.lacks = MappingProxyType(
                {**self.lacks, "backlog": f"the driver cannot load the spin kernel ({error})"}
            )
            return None

    def settings(self) -> Mapping[str, Fact]:
        """Return the version of cuda.core."""
        return read_settings(self._context.core, {"cuda-core": ("__version__",)})

    def synchronize(self) -> None:
        """Wait for all streams of the device."""
        self._context.synchronize()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it CUDA's current device."""
        with self._context.current():
            yield

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer the pool that the device's memory resource takes from; what is allocated elsewhere is not seen."""
        with self._context.current() as device:
            resource = device.memory_resource
        yield _Pool(self._context.driver, resource) if hasattr(resource, "attributes") else None


class _Timer:
    def __init__(self, context: _Context) -> None:
        self._context = context
        fields = context.core.EventOptions.__dataclass_fields__
        timed = "timing_enabled" if "timing_enabled" in fields else "enable_timing"  # its name before cuda.core 1.0
        self._options = context.core.EventOptions(**{timed: True})

    def mark(self) -> Any:
        return self._context.stream.record(options=self._options)

    def wait(self, mark: Any) -> None:
        mark.sync()

    def elapsed_s(self, start: Any, end: Any) -> float:
        return float(end - start) * 1e-3


class _Spin:
    """One thread that watches the clock on our stream."""

    def __init__(self, context: _Context) -> None:
        import numpy

        core = context.core
        with context.current():
            kernel = core.ObjectCode.from_ptx(_SPIN_PTX.encode()).get_kernel(_SPIN)
        self._launch = partial(core.launch, context.stream, core.LaunchConfig(grid=1, block=1), kernel)
        self._nanoseconds = numpy.uint64

    def __call__(self, seconds: float) -> None:
        self._launch(self._nanoseconds(seconds * 1e9))


class _Flush:
    """Fills a buffer larger than the L2 cache on our stream; it is allocated when it is first needed."""

    def __init__(self, context: _Context) -> None:
        self._context = context
        self._buffer: Any = None

    def __call__(self) -> None:
        stream = self._context.stream
        if self._buffer is None:
            driver = self._context.driver
            attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
            size = flush_bytes(_ask(driver, "cuDeviceGetAttribute", attribute, self._context.index))
            with self._context.current() as device:
                self._buffer = device.allocate(size, stream=stream)
        self._buffer.fill(b"\0", stream=stream)


class _Pool:
    """A pool of the driver's: *used* is what was asked for and not freed, *reserved* what the pool holds."""

    def __init__(self, driver: Any, resource: Any) -> None:
        self._driver = driver
        self._resource = resource  # its handle ends with it
        self._attributes = driver.CUmemPool_attribute

    def _bytes(self, attribute: Any) -> int:
        return int(_ask(self._driver, "cuMemPoolGetAttribute", self._resource.handle, attribute))

    def live_bytes(self) -> int:
        return self._bytes(self._attributes.CU_MEMPOOL_ATTR_USED_MEM_CURRENT)

    def reset_peak(self) -> None:
        mark, zero = self._attributes.CU_MEMPOOL_ATTR_USED_MEM_HIGH, self._driver.cuuint64_t(0)
        _ask(self._driver, "cuMemPoolSetAttribute", self._resource.handle, mark, zero)  # 0 is the only value it takes

    def peak_bytes(self) -> int:
        return self._bytes(self._attributes.CU_MEMPOOL_ATTR_USED_MEM_HIGH)

    def reserved_bytes(self) -> int | None:
        return self._bytes(self._attributes.CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
