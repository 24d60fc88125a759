"""PyTorch, by the calls that are the same for every accelerator: ``torch.accelerator`` and ``torch.Event``.

CUDA, ROCm, XPU, MPS and PrivateUse1 devices run the same lines. What only some of them have (a UUID, a spin kernel)
is asked for and, where it is missing, not offered.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_gpuprof.backends.host import (
    HostDevice,
    HostRandom,
    cpu_name,
    evict_cpu_caches,
    flush_bytes,
    precision_of,
    read_settings,
)
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import PeakMemory

__all__ = ["TorchBackend"]

_GPU_TYPES = frozenset({"cuda", "xpu", "mps"})
"""The device types of torch that are GPUs. ROCm calls itself ``cuda``; a PrivateUse1 device can be anything."""

_PRODUCTS: Mapping[str, tuple[str, ...]] = {"cpu": ("fp64", "fp32"), "cuda": ("fp64", "fp32", "tf32", "bf16", "fp16")}
"""The precisions in which a device type is asked for matrix products; every other type for those of a CPU and bf16."""

_DTYPES = {"fp64": "float64", "fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}

_SPIN_PROBE_CYCLES = 5_000_000
"""About 3 ms at 1.5 GHz: long against the 0.5 µs resolution of events, short against a warm-up."""


_SETTINGS: Mapping[str, Sequence[str]] = {
    "torch": ("__version__",),
    "torch_default_dtype": ("get_default_dtype",),
    "torch_deterministic": ("are_deterministic_algorithms_enabled",),
    # Of the two ways to say it, the newer answers for both; reading the older raises once the newer was used.
    "torch_matmul_fp32": ("backends.cuda.matmul.fp32_precision", "backends.cuda.matmul.allow_tf32"),
    "torch_convolution_fp32": ("backends.cudnn.conv.fp32_precision", "backends.cudnn.allow_tf32"),
    "torch_cpu_matmul_fp32": ("backends.mkldnn.matmul.fp32_precision", "get_float32_matmul_precision"),
    "torch_fp32": ("backends.fp32_precision",),
    "torch_mkldnn": ("backends.mkldnn.enabled",),
    "torch_interop_threads": ("get_num_interop_threads",),
}
"""What changes the speed of torch on any device, and where torch tells it (2.9 to 2.13)."""

_CUDA_SETTINGS: Mapping[str, Sequence[str]] = {
    "torch_cuda": ("version.cuda",),
    "torch_hip": ("version.hip",),
    "torch_allocator": ("cuda.memory.get_allocator_backend",),
    "torch_cudnn": ("backends.cudnn.version",),
    "torch_cudnn_enabled": ("backends.cudnn.enabled",),
    "torch_cudnn_benchmark": ("backends.cudnn.benchmark",),
    "torch_cudnn_deterministic": ("backends.cudnn.deterministic",),
    "torch_fp16_accumulation": ("backends.cuda.matmul.allow_fp16_accumulation",),
    "torch_fp16_reduced_precision": ("backends.cuda.matmul.allow_fp16_reduced_precision_reduction",),
    "torch_bf16_reduced_precision": ("backends.cuda.matmul.allow_bf16_reduced_precision_reduction",),
    "torch_blas": ("backends.cuda.preferred_blas_library",),
    "torch_attention_flash": ("backends.cuda.flash_sdp_enabled",),
    "torch_attention_memory_efficient": ("backends.cuda.mem_efficient_sdp_enabled",),
    "torch_attention_cudnn": ("backends.cuda.cudnn_sdp_enabled",),
}
"""The same for CUDA and ROCm devices only."""

_UNCACHED = ("PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_NO_HIP_MEMORY_CACHING")
"""With one of these in the environment, whatever its value, torch asks the driver for each tensor, uncounted."""


class TorchBackend:
    """The adapter to PyTorch."""

    name = "torch"
    parameters = ("device",)
    frameworks = ("torch",)
    host = "torch"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the accelerators, then the CPU."""
        torch = _import()
        found = []
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if accelerator is not None:
            found = [_describe(torch, accelerator.type, index) for index in range(torch.accelerator.device_count())]
        return (*found, DeviceInfo(DeviceId("cpu"), cpu_name(), "cpu", self.name))

    def open(self, device: DeviceId) -> HostDevice:
        """Return the device; builders get its ``torch.device``."""
        for info in self.devices():
            if info.id == device:
                return _Cpu(info) if info.kind == "cpu" else _Accelerator(info)
        raise DeviceError(f"torch has no device {device}; it has {', '.join(str(i.id) for i in self.devices())}")

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a tensor or a module."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(value, (torch.Tensor, torch.nn.Module))


def _import() -> Any:
    if importlib.util.find_spec("torch") is None:
        raise Unavailable("PyTorch is not installed; see https://pytorch.org/get-started for the build for this GPU")
    try:
        import torch
    except (ImportError, OSError) as error:
        raise Unavailable(f"PyTorch is installed but cannot be imported ({error}); reinstall it") from error
    if not hasattr(torch, "accelerator"):
        raise Unavailable(f"PyTorch {torch.__version__} has no torch.accelerator; upgrade to 2.9 or newer")
    return torch


def _describe(torch: Any, kind: str, index: int) -> DeviceInfo:
    module = torch.get_device_module(kind)
    properties = None
    if hasattr(module, "get_device_properties"):
        properties = module.get_device_properties(index)
    name = getattr(properties, "name", None)
    if name is None:
        name = module.get_device_name(index) if hasattr(module, "get_device_name") else kind
    uuid = getattr(properties, "uuid", None)
    pci: list[Any] = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    return DeviceInfo(
        DeviceId(kind, index),
        name,
        "gpu" if kind in _GPU_TYPES else "stand-in",
        TorchBackend.name,
        uuid=None if uuid is None else _uuid_text(str(uuid)),
        pci_bus_id=None if None in pci else "{:08X}:{:02X}:{:02X}.0".format(*map(int, pci)),
        memory_bytes=getattr(properties, "total_memory", None),
        why_stand_in=None if kind in _GPU_TYPES else f"no GPU: a torch device of type {kind!r}",
    )


def _uuid_text(uuid: str) -> str:
    """Return the UUID as NVML writes it; torch leaves the prefix out."""
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


class _Cpu(HostDevice):
    """torch on the CPU."""

    def __init__(self, info: DeviceInfo) -> None:
        torch = _import()
        self._torch = torch
        device = torch.device("cpu")
        super().__init__(info, {"device": device})
        self.arrays = _Arrays(torch, device)
        self.random = _Random(torch, None)
        self.threads = _Threads(torch)
        self.flush = evict_cpu_caches
        self.compilations = _compilations
        self.flop_counter = _FlopCounter()
        self.yardsticks = _Yardsticks(torch, device)
        self.lacks = {"timer": "a CPU has no device events; its wall time is its time"}

    def settings(self) -> Mapping[str, Fact]:
        """Return torch's version, and the precisions and switches in force."""
        return read_settings(self._torch, _SETTINGS)


class _Accelerator(HostDevice):
    """Whatever torch calls its accelerator."""

    def __init__(self, info: DeviceInfo) -> None:
        torch = _import()
        self._torch = torch
        self._index = info.id.index
        device = torch.device(info.id.type, info.id.index)
        super().__init__(info, {"device": device})
        self.timer = _Timer(torch, device)
        self.arrays = _Arrays(torch, device)
        self.random = _Random(torch, device)
        self.flop_counter = _FlopCounter()
        self.yardsticks = _Yardsticks(torch, device)
        self._uncached = next((name for name in _UNCACHED if info.id.type == "cuda" and name in os.environ), None)
        self.lacks = {"memory": f"torch keeps no memory statistics for {info.id.type}"}
        if self._uncached is not None:
            self.lacks["memory"] = f"torch counts no memory while {self._uncached} is set; unset it"
        self.compilations = _compilations
        module = torch.get_device_module(info.id.type)
        sleep = getattr(module, "_sleep", None)  # no public twin; flashinfer and torchrec rest on it too
        if sleep is not None:
            self.backlog = _Spin(sleep, self.timer)
        self.flush = _Flush(torch, device)

    def settings(self) -> Mapping[str, Fact]:
        """Return torch's version, and the precisions, switches and allocator in force."""
        return read_settings(self._torch, {**_SETTINGS, **(_CUDA_SETTINGS if self.info.id.type == "cuda" else {})})

    def synchronize(self) -> None:
        """Wait for all streams of the device."""
        self._torch.accelerator.synchronize(self._index)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it torch's current device."""
        before = self._torch.accelerator.current_device_index()
        self._torch.accelerator.set_device_index(self._index)
        try:
            yield
        finally:
            self._torch.accelerator.set_device_index(before)

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer the allocator's statistics, which torch keeps wherever it has an allocator of its own."""
        if self._uncached is not None:
            yield None
            return
        memory = _Memory(self._torch, self.info.id.type, self._index)
        try:
            self._torch.accelerator.reset_peak_memory_stats(self._index)
        except (RuntimeError, NotImplementedError, AttributeError):  # an accelerator without a caching allocator
            yield None
        else:
            yield memory


class _Timer:
    def __init__(self, torch: Any, device: Any) -> None:
        self._event = torch.Event
        self._device = device

    def mark(self) -> Any:
        event = self._event(self._device, enable_timing=True)
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def elapsed_s(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) * 1e-3


class _Spin:
    """CUDA's and ROCm's spin kernel. Its clock is found by timing it once, so no driver query can mislead it."""

    def __init__(self, sleep: Callable[[int], None], timer: _Timer) -> None:
        self._sleep = sleep
        self._timer = timer
        self._cycles_per_s: float | None = None

    def __call__(self, seconds: float) -> None:
        if self._cycles_per_s is None:
            self._sleep(_SPIN_PROBE_CYCLES)  # the first launch loads the kernel
            start = self._timer.mark()
            self._sleep(_SPIN_PROBE_CYCLES)
            end = self._timer.mark()
            self._timer.wait(end)
            self._cycles_per_s = _SPIN_PROBE_CYCLES / self._timer.elapsed_s(start, end)
        self._sleep(int(seconds * self._cycles_per_s))


def _compilations() -> int:
    """Return how many functions torch.compile has compiled so far; it counts only once it has been imported."""
    utilities = sys.modules.get("torch._dynamo.utils")
    return 0 if utilities is None else int(utilities.counters["frames"]["total"])


class _Flush:
    """Fills a tensor larger than the L2 cache; it is allocated when it is first needed."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device
        self._tensor: Any = None

    def __call__(self) -> None:
        if self._tensor is None:
            elements = flush_bytes(self._cache_bytes()) // 4
            self._tensor = self._torch.empty(elements, dtype=self._torch.int32, device=self._device)
        self._tensor.zero_()

    def _cache_bytes(self) -> int | None:
        module = self._torch.get_device_module(self._device.type)
        if not hasattr(module, "get_device_properties"):
            return None
        return getattr(module.get_device_properties(self._device), "L2_cache_size", None)


class _Memory:
    """The caching allocator: *allocated* is live tensors and repeats exactly, *reserved* is what it keeps.

    Both are told by CUDA's own ``cudaMallocAsync`` too, which counts nothing else: zeros stand there for no figure.
    """

    def __init__(self, torch: Any, kind: str, index: int) -> None:
        self._api = torch.accelerator
        self._index = index
        self._counts_events = kind != "cuda" or torch.cuda.memory.get_allocator_backend() == "native"

    def live_bytes(self) -> int:
        return int(self._api.memory_allocated(self._index))

    def reset_peak(self) -> None:
        # Only an empty cache makes a figure repeat: a block that is found in it may be up to 1 MiB larger than needed.
        self._api.empty_cache()
        self._api.reset_peak_memory_stats(self._index)

    def peak_bytes(self) -> int:
        return int(self._api.max_memory_allocated(self._index))

    def reserved_bytes(self) -> int | None:
        return int(self._api.memory_reserved(self._index))

    def free_bytes(self) -> int | None:
        if not hasattr(self._api, "get_memory_info"):  # torch 2.9
            return None
        try:
            return int(self._api.get_memory_info(self._index)[0])
        except (RuntimeError, NotImplementedError):  # an accelerator whose driver does not tell
            return None

    def flushes(self) -> int | None:
        count = self._api.memory_stats(self._index).get("num_alloc_retries") if self._counts_events else None
        return None if count is None else int(count)


class _Arrays:
    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device

    def place(self, value: Any) -> Any:
        if isinstance(value, self._torch.nn.Module):
            return copy.deepcopy(value).to(self._device)  # .to() would move the caller's own module
        if isinstance(value, self._torch.Tensor):
            # Each leg gets its own copy: a callable may write into its inputs.
            moved = value.detach().to(self._device, copy=True)
            return moved.requires_grad_(value.requires_grad)
        return value

    def download(self, value: Any) -> Any:
        return value.detach().to("cpu", copy=True) if isinstance(value, self._torch.Tensor) else value

    def host(self, value: Any) -> Any:
        if not isinstance(value, self._torch.Tensor):
            return value
        value = value.detach().to("cpu")
        if value.layout is not self._torch.strided:
            value = value.to_dense()
        if value.is_floating_point() and value.element_size() < 4:
            value = value.float()  # NumPy has no bfloat16 and no float8; `precision` remembers what it was
        return value.resolve_conj().resolve_neg().numpy()

    def precision(self, value: Any) -> float | None:
        if isinstance(value, self._torch.Tensor) and (value.is_floating_point() or value.is_complex()):
            return float(self._torch.finfo(value.dtype).eps)
        return precision_of(value)  # a callable may end with .numpy()


class _Random(HostRandom):
    """torch's CPU generator and the device's, besides Python's and NumPy's."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._index = None if device is None else device.index
        self._module = None if device is None else torch.get_device_module(device.type)

    def save(self) -> Any:
        on_device = None
        if self._module is not None and hasattr(self._module, "get_rng_state"):
            on_device = self._module.get_rng_state(self._index)
        return super().save(), self._torch.get_rng_state(), on_device

    def restore(self, state: Any) -> None:
        elsewhere, on_cpu, on_device = state
        super().restore(elsewhere)
        self._torch.set_rng_state(on_cpu)
        if on_device is not None and self._module is not None:
            self._module.set_rng_state(on_device, self._index)


class _Threads:
    def __init__(self, torch: Any) -> None:
        self._torch = torch

    @contextmanager
    def limit(self, count: int) -> Iterator[None]:
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(count)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


class _FlopCounter:
    """torch's own counter: from the shapes of the operators that it knows, forward and backward."""

    name = "torch's FlopCounterMode"
    knows = "matrix products, convolutions and attention"

    def count(self, function: Callable[[], Any]) -> int:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            function()
        return int(counter.get_total_flops())


class _Yardsticks:
    """Copies and matrix products into memory that is there already."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device
        self.precisions = _PRODUCTS.get(device.type, (*_PRODUCTS["cpu"], "bf16"))

    def copy(self, nbytes: int) -> Callable[[], object]:
        # Not zeros: a host maps fresh zeros to one page, which never leaves its cache.
        source = self._torch.full((nbytes,), 1, dtype=self._torch.uint8, device=self._device)
        target = self._torch.empty_like(source)
        return lambda: target.copy_(source)

    def product(self, order: int, precision: str) -> Callable[[], object]:
        torch, dtype = self._torch, getattr(self._torch, _DTYPES[precision])
        # Random numbers: products of equal ones take less power, and a card at its power limit is faster with them.
        left, right = (torch.rand(order, order).to(device=self._device, dtype=dtype) for _ in range(2))
        target = torch.empty_like(left)
        if self._device.type != "cuda" or dtype is not torch.float32:
            return lambda: torch.mm(left, right, out=target)
        settings, wanted = torch.backends.cuda.matmul, "tf32" if precision == "tf32" else "ieee"

        def multiply() -> object:
            before, settings.fp32_precision = settings.fp32_precision, wanted
            try:
                return torch.mm(left, right, out=target)
            finally:
                settings.fp32_precision = before

        return multiply
