"""What identifies the host, and what state it is in.

The governor, turbo and SMT count as identity, like a GPU's power limit: somebody chose them, they stay, and each moves
the speed of the CPU leg by tens of percent. The clock and the load of the moment are state.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from pytest_gpuprof.backends.host import cpu_name
from pytest_gpuprof.core.environment import DeviceInfo, Environment, Fact
from pytest_gpuprof.meters.nvml_processes import mps_runs

__all__ = ["cpu_governor", "host_facts"]

_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "cpu": (
        "OMP_NUM_THREADS",
        "OMP_PROC_BIND",
        "OMP_PLACES",
        "OMP_WAIT_POLICY",
        "GOMP_CPU_AFFINITY",
        "KMP_AFFINITY",
        "KMP_BLOCKTIME",
        "MKL_NUM_THREADS",
        "MKL_DYNAMIC",
        "OPENBLAS_NUM_THREADS",
        "OPENBLAS_CORETYPE",
        "ONEDNN_MAX_CPU_ISA",
    ),
    "cuda": (
        "CUDA_MODULE_LOADING",
        "CUDA_LAUNCH_BLOCKING",
        "CUDA_DEVICE_MAX_CONNECTIONS",
        "CUDA_FORCE_PTX_JIT",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
        "CUBLAS_WORKSPACE_CONFIG",
        "NVIDIA_TF32_OVERRIDE",
        "HIP_LAUNCH_BLOCKING",
        "AMD_SERIALIZE_KERNEL",
    ),
    "torch": (
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_HIP_ALLOC_CONF",
        "PYTORCH_NO_CUDA_MEMORY_CACHING",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_BLAS_PREFER_CUBLASLT",
        "TORCHDYNAMO_DISABLE",
        "TORCHINDUCTOR_MAX_AUTOTUNE",
    ),
    "cupy": (
        "CUPY_ACCELERATORS",
        "CUPY_TF32",
        "CUPY_GPU_MEMORY_LIMIT",
        "CUPY_COMPILE_WITH_PTX",
        "CUPY_CUDA_ARRAY_INTERFACE_SYNC",
    ),
    "opencl": ("POCL_MAX_PTHREAD_COUNT", "POCL_AFFINITY", "POCL_WORK_GROUP_METHOD"),
    "jax": (
        "NPROC",
        "XLA_FLAGS",
        "XLA_PYTHON_CLIENT_PREALLOCATE",
        "XLA_PYTHON_CLIENT_MEM_FRACTION",
        "XLA_PYTHON_CLIENT_ALLOCATOR",
        "XLA_PYTHON_CLIENT_USE_TFRT_GPU_CLIENT",
    ),
}
"""Environment variables that change speed, by the type or the backend of the device whose speed they change. One that
is not set is no fact: its default belongs to the versions, which are facts."""


def host_facts(
    info: DeviceInfo, threads: int, root: Path = Path("/"), variables: Mapping[str, str] = os.environ
) -> Environment:
    """Return what is known of the host, as far as it concerns a device.

    Args:
        info: the device; it decides which environment variables count.
        threads: how many threads this process may usefully run.
        root: where ``proc`` and ``sys`` are.
        variables: the environment variables.
    """
    identity: dict[str, Fact] = {
        "cpu": cpu_name(),
        "cpu_threads": threads,
        **_cpu_facts(root),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if info.id.type == "cuda":
        identity["cuda_mps"] = mps_runs(root, variables)
    for name in (*_VARIABLES.get(info.id.type, ()), *_VARIABLES.get(info.backend, ())):
        if name in variables:
            identity[name] = variables[name]
    state: dict[str, Fact] = {"kernel": platform.release()}
    if hasattr(os, "getloadavg"):
        state["load_average_1min"] = round(os.getloadavg()[0], 2)
    return Environment(identity, state)


def _cpu_facts(root: Path) -> Mapping[str, Fact]:
    """Return what Linux tells of the CPUs; a virtual machine often tells none of it, and then it is left out."""
    folder = root / "sys/devices/system/cpu"
    facts: dict[str, Fact] = {}
    cores = _physical_cores(root)
    if cores:
        facts["cpu_cores"] = cores
    smt = _text(folder / "smt/active")
    if smt in ("0", "1"):
        facts["cpu_smt"] = smt == "1"
    governor = cpu_governor(root)
    if governor is not None:
        facts["cpu_governor"] = governor
    for name, when_on in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        setting = _text(folder / name)
        if setting in ("0", "1"):
            facts["cpu_turbo"] = setting == when_on
            break
    return facts


def cpu_governor(root: Path = Path("/")) -> str | None:
    """Return what decides the CPUs' clocks, several joined by commas; ``None`` where Linux does not tell.

    Args:
        root: where ``sys`` is.
    """
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({governor for file in files if (governor := _text(file))})) or None


def _physical_cores(root: Path) -> int:
    """Return how many cores there are; 0 where the processor does not number them (not x86)."""
    cores, package = set(), ""
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "physical id":
            package = value
        elif key == "core id":
            cores.add((package, value))
    return len(cores)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
