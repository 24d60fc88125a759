"""What NVML tells on this machine, card by card, and what to do where it does not: for the ``doctor`` command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml import board_of
from pytest_gpuprof.meters.nvml_facts import cuda_version
from pytest_gpuprof.meters.nvml_library import CUDA_VERSION, LIBRARY, Card, Library
from pytest_gpuprof.meters.nvml_processes import CardUsers, mps_runs

__all__ = ["Finding", "diagnose"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Args:
        what: what was looked for, e.g. ``"GPU 0: power"``.
        found: what there is, with its unit; ``None`` if it is unavailable.
        reason: for what is unavailable, why, and after a semicolon what to do about it.

    >>> print(Finding("GPU 0: power", "70.0 W"))
    GPU 0: power: 70.0 W
    >>> print(Finding("NVML", None, "the NVIDIA driver is not loaded; load it with sudo modprobe nvidia, or reboot"))
    NVML: unavailable, because the NVIDIA driver is not loaded; load it with sudo modprobe nvidia, or reboot
    """

    what: str
    found: str | None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.found is None) != bool(self.reason):
            raise ValueError("a finding has either what was found, or the reason why nothing was")

    def __str__(self) -> str:
        return f"{self.what}: " + (f"unavailable, because {self.reason}" if self.found is None else self.found)


def diagnose(library: Library = LIBRARY) -> tuple[Finding, ...]:
    """Return what NVML has to tell: the driver, then each GPU and each of its readings.

    Nothing is raised; without a driver there is one finding, which says so.

    Args:
        library: the door to NVML.
    """
    unusable = library.why_unusable()
    if unusable is not None:
        return (Finding("NVML", None, unusable.reason),)
    return tuple(_findings(library))


def _findings(library: Library) -> Iterator[Finding]:
    yield _finding("NVIDIA driver", library.ask("nvmlSystemGetDriverVersion"))
    yield _finding("NVML", library.ask("nvmlSystemGetNVMLVersion"))
    cuda = library.ask(CUDA_VERSION)
    yield _finding("CUDA driver", cuda if isinstance(cuda, Reading) else cuda_version(cuda))
    count = library.ask("nvmlDeviceGetCount")
    yield _finding("GPUs", count)
    yield Finding("MPS", "its daemon runs: other clients compute beside this process" if mps_runs() else "not running")
    for index in range(0 if isinstance(count, Reading) else count):
        # An index is right for a list. It is never what leads from a framework's device to its card.
        yield from _card_findings(f"GPU {index}", library.card("nvmlDeviceGetHandleByIndex", index))


def _card_findings(title: str, card: Card) -> Iterator[Finding]:
    missing = card.why_missing()
    if missing is not None:
        yield Finding(title, None, missing.reason)
        return
    yield _finding(title, card.ask("nvmlDeviceGetName"))
    yield _finding(f"{title}: UUID", card.ask("nvmlDeviceGetUUID"))
    board = board_of(card)
    counter = board.energy()
    yield _finding(f"{title}: energy", counter if isinstance(counter, Reading) else counter.read(), "{:.0f} J so far")
    milliwatts = card.ask("nvmlDeviceGetPowerUsage")
    yield _finding(f"{title}: power", milliwatts if isinstance(milliwatts, Reading) else milliwatts / 1000, "{:.1f} W")
    now = board.conditions()
    yield _power_limit(f"{title}: power limit", card)
    yield _finding(f"{title}: SM clock", _in_mhz(now.sm_clock_hz), "{:.0f} MHz")
    yield _finding(f"{title}: rated SM clock", _in_mhz(now.rated_clock_hz), "{:.0f} MHz")
    yield _finding(f"{title}: temperature", now.temperature_c, "{:.0f} °C")
    counted = ", ".join(f"{reason} {seconds:.1f} s" for reason, seconds in now.throttled_s.items())
    # Nothing is counted only if the oldest of the two questions is refused as well.
    yield _finding(f"{title}: throttling", counted or card.ask("nvmlDeviceGetViolationStatus", 0))
    users = CardUsers(card).pids()
    yield _finding(f"{title}: processes", users if isinstance(users, Reading) else len(users))
    yield _mode(f"{title}: persistence", card.ask("nvmlDeviceGetPersistenceMode"), _NO_PERSISTENCE)
    mig = card.ask("nvmlDeviceGetMigMode")  # current and pending
    yield _mode(f"{title}: MIG", mig if isinstance(mig, Reading) else mig[0], on=_MIG)


_NO_PERSISTENCE = "the driver may forget its energy counter between runs; sudo nvidia-smi -pm 1 turns it on"
_MIG = "no instance has an energy of its own; sudo nvidia-smi -mig 0 makes it a whole card again"


def _mode(what: str, answer: Any, off: str = "", on: str = "") -> Finding:
    """Return whether a mode is on, and what that means where it matters."""
    if isinstance(answer, Reading):
        return Finding(what, None, answer.reason)
    state, meaning = ("on", on) if answer else ("off", off)
    return Finding(what, f"{state}: {meaning}" if meaning else state)


def _power_limit(what: str, card: Card) -> Finding:
    limit = card.ask("nvmlDeviceGetEnforcedPowerLimit")
    if isinstance(limit, Reading):
        return Finding(what, None, limit.reason)
    default = card.ask("nvmlDeviceGetPowerManagementDefaultLimit")
    if isinstance(default, Reading) or limit >= default:
        return Finding(what, f"{limit / 1000:.0f} W")
    raising = f"sudo nvidia-smi -pl {default / 1000:.0f} raises it"
    return Finding(what, f"{limit / 1000:.0f} W of {default / 1000:.0f} W by default: {raising}")


def _finding(what: str, answer: Any, form: str = "{}") -> Finding:
    value = answer.value if isinstance(answer, Reading) else answer
    return Finding(what, None, answer.reason) if value is None else Finding(what, form.format(value))


def _in_mhz(reading: Reading) -> Reading:
    return reading if reading.value is None else Reading(reading.value / 1e6)
