"""Names → adapters: which backends there are, which devices they have, and why one is not available."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import Backend, Device
from pytest_gpuprof.core.results import Reading

__all__ = ["Registry", "builtin_backends"]


def builtin_backends() -> tuple[Backend, ...]:
    """Return a fresh adapter for each framework that the package knows. No framework is imported by this."""
    from pytest_gpuprof.backends.cuda import CudaBackend
    from pytest_gpuprof.backends.cupy import CupyBackend
    from pytest_gpuprof.backends.jax import JaxBackend
    from pytest_gpuprof.backends.numpy import NumpyBackend
    from pytest_gpuprof.backends.opencl import OpenclBackend
    from pytest_gpuprof.backends.simulated import SimulatedBackend
    from pytest_gpuprof.backends.torch import TorchBackend

    return (
        TorchBackend(),
        CupyBackend(),
        JaxBackend(),
        OpenclBackend(),
        CudaBackend(),
        NumpyBackend(),
        SimulatedBackend(),
    )


class Registry:
    """The backends of one run, each asked for its devices once and only when wanted.

    Args:
        backends: the adapters; a later one of the same name replaces an earlier one, so that a conftest can bring its
            own simulated machine.
    """

    def __init__(self, backends: Iterable[Backend]) -> None:
        self._backends: dict[str, Backend] = {backend.name: backend for backend in backends}
        self._devices: dict[str, tuple[DeviceInfo, ...] | Reading] = {}
        self._opened: dict[tuple[str, DeviceId], Device] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all backends, available or not."""
        return tuple(self._backends)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of a builder's first parameter that some backend serves."""
        return tuple(dict.fromkeys(name for each in self._backends.values() for name in each.parameters))

    @cached_property
    def frameworks(self) -> Mapping[str, str]:
        """Backend by the top-level module that points to it."""
        return {module: each.name for each in self._backends.values() for module in each.frameworks}

    def backend(self, name: str) -> Backend:
        """Return a backend by name.

        Raises:
            DeviceError: if there is none; the message lists those that there are.
        """
        if name not in self._backends:
            raise DeviceError(f"there is no backend {name!r}; there are {', '.join(self.names)}")
        return self._backends[name]

    def serving(self, parameter: str) -> tuple[Backend, ...]:
        """Return the backends that serve a builder whose first parameter has this name."""
        return tuple(each for each in self._backends.values() if parameter in each.parameters)

    def devices(self, name: str) -> tuple[DeviceInfo, ...] | Reading:
        """Return a backend's devices, the best first, or the reading that says why it is not available."""
        if name not in self._devices:
            try:
                self._devices[name] = tuple(self.backend(name).devices())
            except Unavailable as reason:
                self._devices[name] = Reading.unavailable(str(reason), cause="no device")
        return self._devices[name]

    def known_devices(self) -> tuple[DeviceInfo, ...]:
        """Return the devices of all backends that are available."""
        found: list[DeviceInfo] = []
        for name in self._backends:
            devices = self.devices(name)
            if not isinstance(devices, Reading):
                found += devices
        return tuple(found)

    def open(self, backend: str, device: DeviceId) -> Device:
        """Return the opened device; opening it again gives the same one.

        Raises:
            DeviceError: if the backend has no such device.
            Unavailable: if it cannot be opened.
        """
        key = (backend, device)
        if key not in self._opened:
            self._opened[key] = self.backend(backend).open(device)
        return self._opened[key]
