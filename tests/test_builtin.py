"""The package's own implementations of its hooks: what a record says of the machine."""

from __future__ import annotations

import subprocess
import sys

import numpy
import pytest

from pytest_gpuprof import Profiler, profile
from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.hookspecs import hookimpl

from .contracts.thirdparty import AbacusBackend


def test_a_device_of_an_outsider_need_not_tell_settings() -> None:
    """It has none of ours to derive from; the host is told all the same."""
    device: Device = AbacusBackend().open(DeviceId("abacus"))
    identity = Builtin().pytest_gpuprof_environment(device).identity
    assert identity["python"] == ".".join(map(str, sys.version_info[:3]))
    assert not [name for name in identity if name.startswith(("torch", "numpy", "cupy", "pyopencl"))]


def test_two_settings_that_differ_are_two_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an adapter tells of its framework becomes part of the key by which measurements are compared."""
    device = NumpyBackend().open(DeviceId("cpu"))
    before = Builtin().pytest_gpuprof_environment(device).identity
    assert before == Builtin().pytest_gpuprof_environment(device).identity
    monkeypatch.setattr(numpy, "__version__", "2.99")
    assert {**before, "numpy": "2.99"} == Builtin().pytest_gpuprof_environment(device).identity != before
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Builtin().pytest_gpuprof_environment(device).identity["OMP_NUM_THREADS"] == "1"


def test_no_framework_is_imported_for_a_fact() -> None:
    """A workload on one framework has nothing to do with the others."""
    script = (
        "import sys\n"
        "from pytest_gpuprof import profile\n"
        "taken = profile(lambda device: lambda: device.run(1e-3), backend='simulated', rounds=3)\n"
        "assert taken.environment.identity['python']\n"
        "assert not [name for name in ('torch', 'cupy', 'pyopencl') if name in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Lab:
    """A machine whose card is under a lowered power limit, on a host where launches block."""

    def __init__(self, **identity: object) -> None:
        self.backend = SimulatedBackend((Card(),), seed=1)
        self._identity = identity

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        """Bring the machine."""
        return [self.backend]

    @hookimpl
    def pytest_gpuprof_environment(self, device: Device) -> object:
        """Tell one fact by the kind of device, and those of the lab."""
        from pytest_gpuprof.core.environment import Environment

        return Environment({f"seen_{device.info.kind}": True, **self._identity})  # type: ignore[dict-item]  # facts

    def measure(self) -> Profile:
        """Measure a workload on it."""

        def work(device):  # type: ignore[no-untyped-def]  # a builder, as users write it
            return lambda: device.run(cpu=20e-3, gpu=1e-3)

        return profile(work, backend="simulated", rounds=3, profiler=Profiler(plugins=[self]))


def test_every_leg_tells_its_facts() -> None:
    """The CPU leg may be of another framework than the GPU leg."""
    identity = Lab().measure().environment.identity
    assert identity["seen_cpu"] is True
    assert identity["seen_stand-in"] is True


@pytest.mark.parametrize(
    ("identity", "codes"),
    [
        ({}, []),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, ["launches block"]),
        ({"gpu_power_limit_w": 300.0, "gpu_default_power_limit_w": 350.0}, ["power limit"]),
    ],
)
def test_a_setting_that_is_in_doubt_is_a_caution_of_the_profile(identity: dict[str, object], codes: list[str]) -> None:
    """It comes from the identity, whoever told it."""
    assert [each.code for each in Lab(**identity).measure().cautions] == codes


def test_what_board_and_host_went_through_is_state() -> None:
    """Kept beside the figures, and no part of the key by which measurements are compared."""
    environment = Lab().measure().environment
    assert environment.state["gpu_temperature_start_c"] == environment.state["gpu_temperature_end_c"] == 60.0
    assert environment.state["gpu_held_back_thermal"] == 0.0
    assert not [name for name in environment.identity if "temperature" in name or "held_back" in name]
