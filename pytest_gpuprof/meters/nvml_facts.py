"""What identifies an NVIDIA card, and what state it is in.

Two measurements may be compared if the identities of their cards are equal; the state is context. A fact that NVML does
not tell is the text ``unavailable: …``, so that a record shows what is missing and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.environment import Environment, Fact
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml_library import CUDA_VERSION, GPU_SENSOR, MEMORY_CLOCK, SM_CLOCK, TEMPERATURE, Card

__all__ = ["card_facts", "cuda_version"]


def card_facts(card: Card) -> Environment:
    """Return what two runs on the same kind of card have in common, and the state that this one is in."""
    return Environment(
        identity={fact.key: fact.of(card) for fact in _IDENTITY},
        state={fact.key: fact.of(card) for fact in _STATE},
    )


@dataclass(frozen=True, slots=True)
class _Fact:
    """One fact: its key in a record, the question, and how the answer is written."""

    key: str
    functions: str | tuple[str, ...]
    arguments: tuple[Any, ...] = ()
    write: Callable[[Any], Fact] = str
    about_card: bool = True

    def of(self, card: Card) -> Fact:
        """Return the fact, or the text ``unavailable: …``."""
        answer = (card.ask if self.about_card else card.nvml.ask)(self.functions, *self.arguments)
        return f"unavailable: {answer.reason}" if isinstance(answer, Reading) else self.write(answer)


_COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")  # nvmlComputeMode_t
_VIRTUALIZATION_MODES = ("none", "passthrough", "vGPU", "host of vGPUs", "host of vSGAs")  # by nvml.h, of that name


def _hz(megahertz: int) -> int:
    return megahertz * 1_000_000


def _watts(milliwatts: int) -> float:
    return milliwatts / 1000


def cuda_version(number: int) -> str:
    """Return the CUDA version as people write it; NVML writes 13.0 as 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _one_of(names: Sequence[str]) -> Callable[[int], str]:
    """Return what writes a number by its name; a number of the future stays one."""
    return lambda number: names[number] if 0 <= number < len(names) else str(number)


def _short_hash(uuid: str) -> str:
    """Return what recognizes a card among a user's own without publishing its UUID; 40 bits tell a million apart."""
    return hashlib.sha256(f"pytest-gpuprof {uuid}".encode()).hexdigest()[:10]


_IDENTITY = (
    _Fact("gpu", "nvmlDeviceGetName"),
    _Fact("gpu_compute_capability", "nvmlDeviceGetCudaComputeCapability", write=lambda pair: f"{pair[0]}.{pair[1]}"),
    _Fact("gpu_memory_bytes", "nvmlDeviceGetMemoryInfo", write=lambda memory: int(memory.total)),
    _Fact("gpu_max_sm_clock_hz", "nvmlDeviceGetMaxClockInfo", (SM_CLOCK,), _hz),
    _Fact("gpu_max_memory_clock_hz", "nvmlDeviceGetMaxClockInfo", (MEMORY_CLOCK,), _hz),
    _Fact("gpu_cores", "nvmlDeviceGetNumGpuCores", write=int),
    _Fact("gpu_memory_bus_bits", "nvmlDeviceGetMemoryBusWidth", write=int),
    _Fact("gpu_power_limit_w", "nvmlDeviceGetEnforcedPowerLimit", write=_watts),
    _Fact("gpu_default_power_limit_w", "nvmlDeviceGetPowerManagementDefaultLimit", write=_watts),
    _Fact("gpu_ecc", "nvmlDeviceGetEccMode", write=lambda modes: bool(modes[0])),
    _Fact("gpu_mig", "nvmlDeviceGetMigMode", write=lambda modes: bool(modes[0])),
    _Fact("gpu_compute_mode", "nvmlDeviceGetComputeMode", write=_one_of(_COMPUTE_MODES)),
    _Fact("gpu_persistence", "nvmlDeviceGetPersistenceMode", write=bool),
    _Fact("gpu_virtualization", "nvmlDeviceGetVirtualizationMode", write=_one_of(_VIRTUALIZATION_MODES)),
    # The most that the card and its slot can do together: what is in use falls when the card is idle.
    _Fact("gpu_pcie_generation", "nvmlDeviceGetMaxPcieLinkGeneration", write=int),
    _Fact("gpu_pcie_width", "nvmlDeviceGetMaxPcieLinkWidth", write=int),
    _Fact("gpu_vbios", "nvmlDeviceGetVbiosVersion"),
    _Fact("nvidia_driver", "nvmlSystemGetDriverVersion", about_card=False),
    _Fact("cuda_driver", CUDA_VERSION, write=cuda_version, about_card=False),
)

_STATE = (
    _Fact("gpu_card", "nvmlDeviceGetUUID", write=_short_hash),
    _Fact("gpu_temperature_c", TEMPERATURE, (GPU_SENSOR,), int),
    _Fact("gpu_sm_clock_hz", "nvmlDeviceGetClockInfo", (SM_CLOCK,), _hz),
    _Fact("gpu_memory_clock_hz", "nvmlDeviceGetClockInfo", (MEMORY_CLOCK,), _hz),
    _Fact("gpu_pstate", "nvmlDeviceGetPerformanceState", write=lambda number: f"P{number}"),
    _Fact("gpu_power_w", "nvmlDeviceGetPowerUsage", write=_watts),
)
