"""What identifies the host: only what concerns the device, and only what is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.meters.host_facts import cpu_governor, host_facts
from pytest_gpuprof.meters.nvml_processes import mps_runs

CPU = DeviceInfo(DeviceId("cpu"), "a CPU", "cpu", "torch")
CUDA = DeviceInfo(DeviceId("cuda"), "a GPU", "gpu", "torch")
CUPY = DeviceInfo(DeviceId("cuda"), "a GPU", "gpu", "cupy")
OPENCL = DeviceInfo(DeviceId("opencl"), "a GPU", "gpu", "opencl")

Write = Callable[[str, str], None]

CPUINFO = """\
processor : 0
physical id : 0
core id : 0

processor : 1
physical id : 0
core id : 1

processor : 2
physical id : 0
core id : 0

processor : 3
physical id : 1
core id : 0
"""
"""Four threads on three cores in two packages."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of a machine of which nothing else is told."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def identity(root: Path, info: DeviceInfo = CPU, variables: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """Return the identity of a host under ``root``."""
    return host_facts(info, 4, root, variables or {}).identity


def test_a_host_that_tells_nothing_has_no_facts_about_it(tmp_path: Path) -> None:
    """A virtual machine hides its clocks; what is not told is left out, not guessed."""
    assert set(identity(tmp_path)) == {"cpu", "cpu_threads", "python", "system"}


def test_a_host_that_tells_all(write: Write, tmp_path: Path) -> None:
    """Cores, SMT, governors and turbo, as Linux has them."""
    write("proc/cpuinfo", CPUINFO)
    write("sys/devices/system/cpu/smt/active", "1\n")
    for index, governor in enumerate(["powersave", "performance", "powersave"]):
        write(f"sys/devices/system/cpu/cpu{index}/cpufreq/scaling_governor", f"{governor}\n")
    write("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n")
    facts = identity(tmp_path)
    assert facts["cpu_threads"] == 4
    assert facts["cpu_cores"] == 3
    assert facts["cpu_smt"] is True
    assert facts["cpu_governor"] == "performance, powersave"
    assert facts["cpu_turbo"] is False


@pytest.mark.parametrize(
    ("file", "text", "turbo"),
    [
        ("intel_pstate/no_turbo", "0\n", True),
        ("intel_pstate/no_turbo", "1\n", False),
        ("cpufreq/boost", "1\n", True),
        ("cpufreq/boost", "0\n", False),
        ("cpufreq/boost", "maybe\n", None),
    ],
)
def test_turbo_is_told_in_two_ways(write: Write, tmp_path: Path, file: str, text: str, turbo: bool | None) -> None:
    """Intel's driver counts the other way round."""
    write(f"sys/devices/system/cpu/{file}", text)
    assert identity(tmp_path).get("cpu_turbo") is turbo


def test_no_governor(tmp_path: Path) -> None:
    """Nothing is nothing, not a name."""
    assert cpu_governor(tmp_path) is None


def test_a_governor_that_differs_is_another_identity(write: Write, tmp_path: Path) -> None:
    """Somebody chose it, and it moves the CPU leg: so it is compared, not only kept."""
    file = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    write(file, "powersave")
    saving = identity(tmp_path)
    write(file, "performance")
    assert identity(tmp_path) != saving


@pytest.mark.parametrize(
    ("name", "counts_on"),
    [
        ("CUDA_MODULE_LOADING", {CUDA, CUPY}),
        ("CUDA_LAUNCH_BLOCKING", {CUDA, CUPY}),
        ("NVIDIA_TF32_OVERRIDE", {CUDA, CUPY}),
        ("PYTORCH_ALLOC_CONF", {CPU, CUDA}),
        ("PYTORCH_CUDA_ALLOC_CONF", {CPU, CUDA}),
        ("CUPY_TF32", {CUPY}),
        ("CUPY_ACCELERATORS", {CUPY}),
        ("OMP_NUM_THREADS", {CPU}),
        ("MKL_NUM_THREADS", {CPU}),
        ("HOME", set()),
    ],
)
def test_a_variable_counts_where_it_changes_speed(tmp_path: Path, name: str, counts_on: set[DeviceInfo]) -> None:
    """As it is written; on a device that it does not concern, and where it is not set, it is no fact."""
    for info in (CPU, CUDA, CUPY, OPENCL):
        assert identity(tmp_path, info, {name: "1"}).get(name) == ("1" if info in counts_on else None)
        assert name not in identity(tmp_path, info)


def test_the_daemon_of_mps_is_noted_for_cuda(write: Write, tmp_path: Path) -> None:
    """By its pipe, in the folder that the variable or its default names."""
    assert identity(tmp_path, CUDA)["cuda_mps"] is False
    assert "cuda_mps" not in identity(tmp_path, OPENCL)
    elsewhere = {"CUDA_MPS_PIPE_DIRECTORY": "/run/mps"}
    write("tmp/nvidia-mps/control", "")
    assert identity(tmp_path, CUDA)["cuda_mps"] is True
    assert mps_runs(tmp_path, elsewhere) is False
    write("run/mps/control", "")
    assert mps_runs(tmp_path, elsewhere) is True


def test_the_load_is_state() -> None:
    """It happens to be so, and is not compared."""
    facts = host_facts(CPU, 4)
    assert "load_average_1min" in facts.state
    assert "load_average_1min" not in facts.identity
