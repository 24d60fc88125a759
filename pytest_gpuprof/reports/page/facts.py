"""Where the run was: the facts of all its workloads, each told once where it is the same for all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_gpuprof.core.environment import DeviceInfo, Fact
from pytest_gpuprof.core.quantities import format_number, format_quantity
from pytest_gpuprof.reports.workloads import Workload

__all__ = ["Device", "Facts", "devices_of", "fact_text", "facts_of"]

_MOST_VALUES = 4
"""So many different values of a fact are told; of more, their number."""

_UNITS: Mapping[str, str] = {"_bytes": "B", "_hz": "Hz", "_w": "W", "_bytes_per_s": "B/s"}
"""How a fact's name tells its unit."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a run of one sort.

    Args:
        told: each by name, in words: its value, or its values with how many workloads each has.
        varying: the names of those that differ between workloads.
    """

    told: Mapping[str, str]
    varying: frozenset[str]


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was measured, and on how many workloads."""

    id: str
    label: str
    kind: str
    backend: str
    memory: str
    workloads: int


def facts_of(found: Sequence[Workload], sort: str) -> Facts:
    """Return the facts of all workloads.

    Args:
        found: the workloads.
        sort: ``"identity"`` or ``"state"``.
    """
    values: dict[str, list[Fact]] = {}
    for workload in found:
        for name, fact in getattr(workload.profile.environment, sort).items():
            values.setdefault(name, []).append(fact)
    told, varying = {}, set()
    for name, each in values.items():
        if len(set(map(str, each))) == 1:
            told[_name(name)] = fact_text(name, each[0])
            if len(each) < len(found):
                varying.add(name)
        else:
            told[_name(name)] = _several(name, each)
            varying.add(name)
    return Facts(told, frozenset(varying))


def fact_text(name: str, fact: Fact) -> str:
    """Return a fact as people read it.

    >>> fact_text("gpu_power_limit_w", 700), fact_text("cpu_smt", False)
    ('700 W', 'no')
    """
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, (int, float)):
        unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), None)
        if unit is not None:
            return format_quantity(fact, unit, digits=4)  # type: ignore[arg-type]  # base units
        return str(fact) if isinstance(fact, int) else format_number(fact)
    return str(fact)


def _name(name: str) -> str:
    for suffix in ("_bytes", "_hz", "_w"):
        name = name.removesuffix(suffix)
    return name.replace("_", " ")


def _several(name: str, facts: Sequence[Fact]) -> str:
    numbers = [each for each in facts if isinstance(each, (int, float)) and not isinstance(each, bool)]
    texts = list(dict.fromkeys(fact_text(name, each) for each in facts))
    if len(numbers) == len(facts) and len(texts) > _MOST_VALUES:
        return f"{fact_text(name, min(numbers))} to {fact_text(name, max(numbers))}"
    if len(texts) > _MOST_VALUES:
        return f"{len(texts)} different values"
    counted = [f"{text} ({sum(fact_text(name, each) == text for each in facts)})" for text in texts]
    return "; ".join(counted)


def devices_of(found: Sequence[Workload]) -> list[Device]:
    """Return the devices, the accelerators first; with the number of workloads that ran on each."""
    seen: dict[tuple[str, str, str], tuple[DeviceInfo, set[int]]] = {}
    for number, each in enumerate(found):
        for device in (each.profile.gpu.device, each.profile.cpu.device):
            if device is not None:
                key = str(device.id), device.label, device.backend
                seen.setdefault(key, (device, set()))[1].add(number)
    made = []
    for (name, label, backend), (first, numbers) in seen.items():
        memory = "" if first.memory_bytes is None else format_quantity(first.memory_bytes, "B")
        made.append(Device(name, label, first.kind, backend, memory, len(numbers)))
    return sorted(made, key=lambda each: each.kind == "cpu")
