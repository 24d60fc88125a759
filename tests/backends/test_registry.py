"""Names → adapters: looked up, replaced, asked once, and never imported before they are wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.backends.registry import Registry, builtin_backends
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.results import Reading

FRAMEWORKS = ("torch", "cupy", "pyopencl", "numpy", "cuda.core")


def in_a_fresh_process(code: str) -> str:
    """Return what code prints about the frameworks that it has imported."""
    told = f"\nimport sys\nprint(*sorted(set({FRAMEWORKS}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code + told], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Counted(NumpyBackend):
    """A backend that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def devices(self) -> tuple[DeviceInfo, ...]:
        self.asked += 1
        return tuple(super().devices())


class Missing(NumpyBackend):
    """A backend whose framework is not there."""

    name = "missing"
    parameters = ("place_of_its_own",)
    frameworks = ("nowhere",)

    def devices(self) -> tuple[DeviceInfo, ...]:
        raise Unavailable("Nowhere is not installed; pip install nowhere")


def test_no_framework_is_imported_until_asked() -> None:
    """Making adapters, looking them up and asking whose value it is import nothing."""
    code = """
from pytest_gpuprof.backends.registry import Registry, builtin_backends
registry = Registry(builtin_backends())
registry.parameters, registry.frameworks
for name in registry.names:
    backend = registry.backend(name)
    assert not backend.owns(1.0) and not backend.owns([object()]), name
    registry.serving("device")
"""
    assert in_a_fresh_process(code) == ""


def test_asking_one_backend_imports_no_other() -> None:
    """NumPy's devices are known without torch, CuPy or OpenCL, and even without NumPy."""
    code = """
from pytest_gpuprof.backends.registry import Registry, builtin_backends
registry = Registry(builtin_backends())
registry.devices("numpy"), registry.devices("simulated")
"""
    assert in_a_fresh_process(code) == ""


def test_the_built_in_backends() -> None:
    """Their names, and the names of a builder's first parameter that they serve."""
    registry = Registry(builtin_backends())
    assert registry.names == ("torch", "cupy", "jax", "opencl", "cuda", "numpy", "simulated")
    assert registry.parameters == ("device", "xp", "queue", "stream")
    modules = {"torch": "torch", "cupy": "cupy", "jax": "jax", "pyopencl": "opencl", "cuda": "cuda"}
    assert registry.frameworks == modules
    assert [each.name for each in registry.serving("xp")] == ["cupy", "jax", "numpy"]
    assert registry.serving("abacus") == ()


def test_every_backend_has_a_host() -> None:
    """The backend that runs the CPU leg exists, and is its own host."""
    registry = Registry(builtin_backends())
    for name in registry.names:
        host = registry.backend(registry.backend(name).host)
        assert host.host == host.name


def test_a_later_backend_replaces_an_earlier_one_of_its_name() -> None:
    """So a conftest brings its own simulated machine."""
    mine = SimulatedBackend((Card("Mine"), Card("Mine too")))
    registry = Registry([*builtin_backends(), mine])
    assert registry.backend("simulated") is mine
    assert registry.names.count("simulated") == 1
    devices = registry.devices("simulated")
    assert isinstance(devices, tuple)
    assert [info.name for info in devices] == ["Mine", "Mine too", "Simulated CPU"]


def test_an_unknown_backend_is_refused() -> None:
    """The error lists those that there are."""
    with pytest.raises(DeviceError, match="there is no backend 'jax'; there are numpy, simulated"):
        Registry([NumpyBackend(), SimulatedBackend()]).backend("jax")


def test_a_backend_is_asked_for_its_devices_once() -> None:
    """Also through the list of all devices: asking may import a framework and start a driver."""
    backend = Counted()
    registry = Registry([backend])
    first = registry.devices("numpy")
    assert registry.devices("numpy") is first
    assert registry.known_devices() == first
    assert backend.asked == 1


def test_a_backend_that_is_not_available_says_why() -> None:
    """Its devices are a reading with the remedy, and the devices of the others are still known."""
    registry = Registry([Missing(), SimulatedBackend()])
    reading = registry.devices("missing")
    assert isinstance(reading, Reading)
    assert reading.reason == "Nowhere is not installed; pip install nowhere"
    assert reading.cause == "no device"
    assert {info.backend for info in registry.known_devices()} == {"simulated"}


def test_a_device_is_opened_once() -> None:
    """Opening it again gives the same one, with its queue; the CPU of another backend is another."""
    registry = Registry([NumpyBackend(), SimulatedBackend()])
    cpu = DeviceId("cpu")
    assert registry.open("numpy", cpu) is registry.open("numpy", cpu)
    assert registry.open("numpy", cpu) is not registry.open("simulated", cpu)
    with pytest.raises(DeviceError, match="simulated:7"):
        registry.open("simulated", DeviceId("simulated", 7))
