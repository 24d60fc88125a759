"""What this machine can measure: devices, backends and readings, each available, or why not and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_gpuprof import __version__
from pytest_gpuprof.backends.host import cpu_name
from pytest_gpuprof.ceilings import rate_unit
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import GpuprofError, UsageError
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.meters.host_facts import cpu_governor
from pytest_gpuprof.meters.memory import open_host_memory
from pytest_gpuprof.meters.nvml_doctor import diagnose
from pytest_gpuprof.sampling.quiet import allowed_threads, tracing
from pytest_gpuprof.storage.calibrations import Calibrations

__all__ = ["Line", "examine"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report.

    Args:
        section: the heading under which it stands.
        what: what was looked for.
        found: what there is, ``None`` if it is unavailable.
        reason: for what is unavailable, why and what to do.
    """

    section: str
    what: str
    found: str | None
    reason: str = ""


def examine(extensions: Extensions | None = None) -> Iterator[Line]:
    """Yield what this machine can measure, line by line, as it is found out.

    Args:
        extensions: the parts there are; ``None`` for ours and the installed ones.
    """
    parts = extensions or Extensions.standalone()
    yield Line("host", "pytest-gpuprof", __version__)
    yield Line("host", "CPU", f"{cpu_name()}, {allowed_threads()} threads allowed")
    yield _governor()
    yield _line("host", "peak memory of the CPU leg", open_host_memory(), "resettable, by /proc/self/clear_refs")
    yield _package(parts)
    watched = tracing()
    yield Line("host", "tracing", "nothing watches Python code" if watched is None else None, str(watched or ""))
    accelerators: list[DeviceInfo] = []
    for name in parts.registry.names:
        found = parts.registry.devices(name)
        if isinstance(found, Reading):
            yield Line("backends", name, None, found.reason)
            continue
        only_cpu = name != "numpy" and all(info.kind == "cpu" for info in found)
        ids = ", ".join(str(info.id) for info in found)
        yield Line(
            "backends", name, f"{ids} only: it finds no GPU, or was built without support for one" if only_cpu else ids
        )
        accelerators += [info for info in found if info.kind != "cpu" and info.why_stand_in != "simulated"]
    if not accelerators:
        yield Line(
            "devices", "accelerators", None, "no backend finds one; install a GPU's driver and a framework for it"
        )
    for info in accelerators:
        yield from _device(parts, info)
    yield from (Line("NVIDIA driver", each.what, each.found, each.reason) for each in diagnose())


def _device(parts: Extensions, info: DeviceInfo) -> Iterator[Line]:
    """Open a device and ask it for each ability that a figure needs."""
    title = f"{info.id} by {info.backend}"
    yield Line("devices", title, f"{info.label}{_size(info)}")
    try:
        device = parts.registry.open(info.backend, info.id)
        device.synchronize()
    except (GpuprofError, RuntimeError, OSError) as error:
        yield Line("devices", f"{title}: opening it", None, f"{error}; see whether other programs can use it")
        return
    timer = "events of the device" if device.timer is not None else None
    yield Line("devices", f"{title}: device time", timer, device.lacks.get("timer", "it has no events"))
    with device.watch_memory() as memory:
        peak = None if memory is None else "statistics of its allocator"
    yield Line("devices", f"{title}: peak memory", peak, device.lacks.get("memory", "it does not tell"))
    board = parts.board(device)
    energy = board if isinstance(board, Reading) else board.energy()
    yield _line("devices", f"{title}: energy and power", energy, "energy counter of the board")
    yield _calibrated(parts, device, f"{title}: peak rates")


def _calibrated(parts: Extensions, device: Device, what: str) -> Line:
    try:
        found = Calibrations().of(device.info, parts.facts(device))
    except UsageError as error:
        return Line("devices", what, None, str(error))
    if isinstance(found, Reading):
        return Line("devices", what, None, found.reason)
    rates = ", ".join(
        f"{'copy' if rate == 'bandwidth' else rate} {format_quantity(reading.value, rate_unit(rate))}"
        for rate, reading in found.rates.items()
        if reading.value is not None
    )
    return Line("devices", what, f"calibrated on {found.date}: {rates}")


def _governor() -> Line:
    governor = cpu_governor()
    if governor is None:
        return Line("host", "CPU governor", None, "Linux tells none here; in a virtual machine, ask its host")
    hint = "" if governor == "performance" else "; sudo cpupower frequency-set -g performance holds the clock steadier"
    return Line("host", "CPU governor", f"{governor}{hint}")


def _package(parts: Extensions) -> Line:
    """Ask for the energy of the CPU package, which the CPU device of any backend has."""
    for name in ("numpy", *parts.registry.names):
        found = parts.registry.devices(name)
        if isinstance(found, Reading):
            continue
        for info in found:
            if info.kind == "cpu" and name != "simulated":
                counter = parts.package_energy(parts.registry.open(name, info.id))
                return _line("host", "energy of the CPU package", counter, "RAPL")
    return Line("host", "energy of the CPU package", None, "no backend runs on the CPU; pip install numpy")


def _line(section: str, what: str, answer: object, found: str) -> Line:
    return Line(section, what, None, answer.reason) if isinstance(answer, Reading) else Line(section, what, found)


def _size(info: DeviceInfo) -> str:
    return "" if info.memory_bytes is None else f", {format_quantity(float(info.memory_bytes), 'B')}"
