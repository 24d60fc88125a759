"""PyTorch, by the calls that are the same for every accelerator: ``torch.accelerator`` and ``torch.Event``.

CUDA, ROCm, XPU, MPS and PrivateUse1 devices run the same lines. What only some of them have (a UUID, a spin kernel)
is asked for and, where it is missing, not offered.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_gpuprof.backends.host import (
    HostDevice,
    cpu_name,
    evict_cpu_caches,
    read_settings,
)
from pytest_gpuprof.backends.torch_arrays import Arrays, Random
from pytest_gpuprof.backends.torch_memory import UNCACHED, Memory
from pytest_gpuprof.backends.torch_timing import Flush, Spin, Timer, compilations
from pytest_gpuprof.backends.torch_work import FlopCounter, Yardsticks
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import PeakMemory

__all__ = ["TorchBackend"]

_GPU_TYPES = frozenset({"cuda", "xpu", "mps"})
"""The device types of torch that are GPUs. ROCm calls itself ``cuda``; a PrivateUse1 device can be anything."""


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
        self.arrays = Arrays(torch, device)
        self.random = Random(torch, None)
        self.threads = _Threads(torch)
        self.flush = evict_cpu_caches
        self.compilations = compilations
        self.flop_counter = FlopCounter()
        self.yardsticks = Yardsticks(torch, device)
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
        self.timer = Timer(torch, device)
        self.arrays = Arrays(torch, device)
        self.random = Random(torch, device)
        self.flop_counter = FlopCounter()
        self.yardsticks = Yardsticks(torch, device)
        self._uncached = next((name for name in UNCACHED if info.id.type == "cuda" and name in os.environ), None)
        self.lacks = {"memory": f"torch keeps no memory statistics for {info.id.type}"}
        if self._uncached is not None:
            self.lacks["memory"] = f"torch counts no memory while {self._uncached} is set; unset it"
        self.compilations = compilations
        module = torch.get_device_module(info.id.type)
        sleep = getattr(module, "_sleep", None)  # no public twin; flashinfer and torchrec rest on it too
        if sleep is not None:
            self.backlog = Spin(sleep, self.timer)
        self.flush = Flush(torch, device)

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
        memory = Memory(self._torch, self.info.id.type, self._index)
        try:
            self._torch.accelerator.reset_peak_memory_stats(self._index)
        except (RuntimeError, NotImplementedError, AttributeError):  # an accelerator without a caching allocator
            yield None
        else:
            yield memory


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
