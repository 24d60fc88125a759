"""From end to end: pytest measures workloads written with the real cuda.core, on a simulated driver and NVML.

One inner run of one test file; the tests look at what it said and exported. The device that is measured is CUDA's
number 0 and NVML's number 1, on the real clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]

CONFTEST = """
import pytest_gpuprof.watching
from pytest_gpuprof.meters.host_use import HostUse

# Whatever else this machine does is no doubt about a simulated device.
pytest_gpuprof.watching.host_use = lambda: HostUse(None, 0.0, None, 1)
"""

TESTS = '''
import numpy
import pytest
from cuda.core import Device, LaunchConfig, ObjectCode, launch

KERNELS = b"""
.version 6.0
.target sm_50
.visible .entry sim_busy_2ms() { ret; }
.visible .entry stray() { ret; }
"""
SHAPE = LaunchConfig(grid=132, block=128)
MIB = 1 << 20


def kernel(name):
    return ObjectCode.from_ptx(KERNELS).get_kernel(name)


def busy(stream):
    work = kernel("sim_busy_2ms")
    return lambda: launch(stream, SHAPE, work)


def sorting():
    values = numpy.random.default_rng(0).random(3_000_000)  # keeps any CPU for far longer than 3 ms
    return lambda: numpy.sort(values)


def hungry(stream):
    work, kept = kernel("sim_busy_2ms"), stream.device.allocate(32 * MIB, stream=stream)

    def function():
        scratch = stream.device.allocate(8 * MIB, stream=stream)
        launch(stream, SHAPE, work)
        scratch.close()
        return kept

    return function


def elsewhere(stream):
    """Gives its work to the legacy default stream."""
    work, default = kernel("sim_busy_2ms"), stream.device.default_stream
    return lambda: launch(default, SHAPE, work)


@pytest.mark.gpu_budget(min_speedup=1.5, max_device_time="2.5 ms")
def test_faster(gpu_profile):
    gpu_profile(busy, cpu=sorting)


@pytest.mark.gpu_budget(min_speedup=10_000)
def test_too_slow(gpu_profile):
    gpu_profile(busy, cpu=sorting)


@pytest.mark.gpu_budget(max_device_time="2.5 ms")
def test_on_the_default_stream(gpu_profile):
    assert gpu_profile(elsewhere, cpu=sorting).gpu.device_time_s >= 2e-3


@pytest.mark.gpu_budget(max_gpu_memory="40 MiB", max_gpu_workspace="8 MiB")
def test_memory(gpu_profile):
    gpu_profile(hungry, cpu=sorting)


@pytest.mark.gpu_budget(max_gpu_memory="39 MiB")
def test_too_much_memory(gpu_profile):
    gpu_profile(hungry, cpu=sorting)


@pytest.mark.gpu_budget(max_energy="1.4 J")
def test_energy(gpu_profile):
    profile = gpu_profile(busy, cpu=sorting)
    profile.require(max_energy="0.3 J")


@pytest.mark.gpu_budget(max_device_time="1 s")
def test_that_breaks_the_gpu(gpu_profile):
    gpu_profile(lambda stream: lambda work=kernel("stray"): launch(stream, SHAPE, work), cpu=sorting)


@pytest.mark.gpu_budget(max_device_time="1 s")
def test_after_that(gpu_profile):
    gpu_profile(busy, cpu=sorting)


@pytest.mark.gpu_budget(max_device_time="2.5 ms")
def test_on_the_other_gpu(gpu_profile):
    gpu_profile(busy, cpu=sorting, devices="cuda:1")
'''

CARD = {"name": "Simulated L4", "busy_w": 350, "idle_w": 1, "energy_gain": 1}
"""Nearly no power while it waits for the host, so that a call's energy does not depend on how busy this machine is."""

OTHER_CARD = {"name": "Simulated L4", "load": "0:10000:900"}
"""Whoever takes CUDA's index for NVML's reads 900 W."""


@dataclass(frozen=True)
class Inner:
    """What the inner run left behind."""

    code: int
    output: str
    exported: dict[str, Any]

    def record(self, test: str) -> dict[str, Any]:
        """Return the only record of a test."""
        (found,) = (each for each in self.exported["records"] if each["test"].endswith(f"::{test}"))
        record: dict[str, Any] = found
        return record

    def readings(self, test: str) -> dict[str, Any]:
        """Return the readings of the GPU leg."""
        readings: dict[str, Any] = self.record(test)["legs"]["gpu"]["readings"]
        return readings

    def outcomes(self, test: str) -> dict[str, str]:
        """Return each verdict's outcome by its budget."""
        return {each["budget"]: each["outcome"] for each in self.record(test)["verdicts"]}


@pytest.fixture(scope="module")
def inner(on_simulated_cuda: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Inner:
    """One run of the test file above."""
    folder = tmp_path_factory.mktemp("cuda-core")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_inner.py").write_text(TESTS, encoding="utf-8")
    environment = on_simulated_cuda(nvml={"devices": [OTHER_CARD, CARD]}, crash="stray")
    done = subprocess.run(
        [*f"{sys.executable} -m pytest -ra -p no:cacheprovider --gpu-profile".split(), "--gpu-profile-export=json:out"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(REPOSITORY), "GPUPROF_LOCK_DIR": str(folder / "locks"), "COLUMNS": "300"},
    )
    exported = json.loads((folder / "out").read_text(encoding="utf-8"))
    return Inner(done.returncode, done.stdout, exported)


def test_a_speedup_is_met_and_another_missed(inner: Inner) -> None:
    """The budgets are judged on the kernel's known time and NumPy's real one."""
    assert inner.outcomes("test_faster") == {"min_speedup": "met", "max_device_time": "met"}
    assert inner.outcomes("test_too_slow") == {"min_speedup": "missed"}
    assert "misses min_speedup 10000x" in inner.output


def test_it_is_a_gpu_and_its_name_says_that_it_is_simulated(inner: Inner) -> None:
    """The kind is a GPU's, so that everything runs as on one; nobody can take its figures for a real card's."""
    device = inner.record("test_faster")["legs"]["gpu"]["device"]
    assert (device["id"], device["kind"], device["backend"]) == ("cuda:0", "gpu", "cuda")
    assert "Simulated" in device["name"]
    assert "('busy' on cuda:0 Simulated L4, the CPU leg with" in inner.output


def test_device_time_is_the_kernels(inner: Inner) -> None:
    """Also of one that is launched on the legacy default stream, which our stream keeps order with."""
    for test in ("test_faster", "test_on_the_default_stream"):
        rounds = inner.record(test)["legs"]["gpu"]["rounds"]
        times = [seconds for each in rounds for seconds in each["samples"]["device_time"]]
        assert min(times) >= 2e-3
        assert inner.outcomes(test)["max_device_time"] == "met"


def test_memory_is_what_the_pool_had_at_once(inner: Inner) -> None:
    """To the byte: 32 MiB of the builder's and 8 of the call's."""
    assert inner.readings("test_memory")["memory"]["value"] == 40 << 20
    assert inner.readings("test_memory")["workspace"]["value"] == 8 << 20
    assert inner.outcomes("test_memory") == {"max_gpu_memory": "met", "max_gpu_workspace": "met"}
    assert inner.outcomes("test_too_much_memory") == {"max_gpu_memory": "missed"}


def test_energy_is_that_of_the_card_with_the_same_uuid(inner: Inner) -> None:
    """2 ms at 350 W; NVML's card of the same index draws 900 W."""
    energy, power = (inner.readings("test_energy")[name] for name in ("energy", "power"))
    assert energy["interval"][0] <= 350 * 2e-3 <= energy["interval"][1]
    assert power["interval"][0] <= 350
    assert [each["outcome"] for each in inner.record("test_energy")["verdicts"]] == ["met", "missed"]
    assert "misses max_energy 300 mJ" in inner.output


def test_a_kernel_that_crashes_fails_its_test_with_its_own_error(inner: Inner) -> None:
    """With the driver's name for it, and which leg and call raised it."""
    assert "FAILED test_inner.py::test_that_breaks_the_gpu" in inner.output
    assert "CudaError: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered)" in inner.output
    assert "raised by the gpu leg on cuda:0 of '<lambda>', in the first call" in inner.output


def test_later_tests_on_that_device_say_who_broke_it(inner: Inner) -> None:
    """They cannot be judged, and do not repeat the error as if it were theirs; the other device goes on."""
    (verdict,) = inner.record("test_after_that")["verdicts"]
    assert verdict["outcome"] == "unavailable"
    assert "cuda:0 was broken by test_inner.py::test_that_breaks_the_gpu" in verdict["sentence"]
    assert inner.outcomes("test_on_the_other_gpu") == {"max_device_time": "met"}


def test_the_other_results_survive(inner: Inner) -> None:
    """Each test has the outcome of its own budgets, and its record."""
    failed = {"too_slow", "too_much_memory", "energy", "that_breaks_the_gpu", "after_that"}
    lines = inner.output.splitlines()
    assert {line.split("::test_")[1].split(" ")[0] for line in lines if line.startswith("FAILED")} == failed
    assert inner.code == 1
    assert len(inner.exported["records"]) == 8  # of nine tests one raised before it had anything to record


def test_the_version_of_cuda_core_is_part_of_the_identity(inner: Inner) -> None:
    """Two measurements with different versions are not compared."""
    assert inner.record("test_faster")["environment"]["identity"]["cuda-core"]
