"""NumPy: the CPU. It runs the CPU leg of every workload whose framework has no CPU device of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_gpuprof.backends.host import HostDevice, cpu_name, evict_cpu_caches, precision_of
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact
from pytest_gpuprof.core.errors import DeviceError, Unavailable

__all__ = ["NumpyBackend"]


class NumpyBackend:
    """The adapter to NumPy."""

    name = "numpy"
    parameters = ("xp",)
    frameworks: tuple[str, ...] = ()  # every module uses NumPy: its presence points nowhere
    host = "numpy"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the CPU."""
        if importlib.util.find_spec("numpy") is None:
            raise Unavailable("NumPy is not installed; pip install numpy")
        return (DeviceInfo(DeviceId("cpu"), cpu_name(), "cpu", self.name),)

    def open(self, device: DeviceId) -> HostDevice:
        """Return the CPU; builders get ``xp=numpy``."""
        info = self.devices()[0]
        if device != info.id:
            raise DeviceError(f"NumPy has no device {device.type}:{device.index}; it has {info.id}")
        import numpy

        opened = _Cpu(info, {"xp": numpy, "device": "cpu"})
        opened.arrays = _Arrays()
        opened.threads = _Threads()
        opened.flush = evict_cpu_caches
        opened.lacks = {"timer": "a CPU has no device events; its wall time is its time"}
        return opened

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a NumPy array."""
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(value, numpy.ndarray)


class _Cpu(HostDevice):
    """The CPU."""

    def settings(self) -> Mapping[str, Fact]:
        """Return the versions of NumPy and of the BLAS that it was built with."""
        import numpy

        built = numpy.show_config(mode="dicts")
        blas = built.get("Build Dependencies", {}).get("blas", {}) if isinstance(built, dict) else {}
        names = [str(blas[key]) for key in ("name", "version") if key in blas]
        return {"numpy": numpy.__version__, **({"numpy_blas": " ".join(names)} if names else {})}


class _Arrays:
    """Arrays stay where they are, but each leg gets its own copy: a callable may write into its inputs."""

    def place(self, value: Any) -> Any:
        import numpy

        if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):  # CuPy's, without importing it
            return value.get()
        return value.copy(order="K") if isinstance(value, numpy.ndarray) else value

    def download(self, value: Any) -> Any:
        return value

    def host(self, value: Any) -> Any:
        return value

    def precision(self, value: Any) -> float | None:
        return precision_of(value)


class _Threads:
    """The thread pools of the BLAS and OpenMP libraries that are loaded, by threadpoolctl."""

    @contextmanager
    def limit(self, count: int) -> Iterator[None]:
        import threadpoolctl

        with threadpoolctl.threadpool_limits(limits=count):
            yield
