"""The sensors of an NVIDIA board, read through NVML: energy, clocks, temperature, throttling, who else uses it.

A device of a framework is found by its UUID, else by its PCI address, and then checked by its name or its memory.
Never by its index: NVML counts in PCI order, CUDA by speed and by ``CUDA_VISIBLE_DEVICES``.

Nothing here raises: what cannot be read is unavailable, with the reason and the remedy. A board that was lost once is
lost for the rest of the session, and every later reading says so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_gpuprof.core.environment import DeviceInfo, Environment
from pytest_gpuprof.core.protocols import Board, Conditions, EnergyCounter
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml_facts import card_facts
from pytest_gpuprof.meters.nvml_library import GPU_SENSOR, LIBRARY, SM_CLOCK, TEMPERATURE, Card, Library
from pytest_gpuprof.meters.nvml_processes import CardUsers

__all__ = ["board_of", "open_board"]

_MEMORY_TOLERANCE = 0.05
"""CUDA counts a little less than NVML, without what the driver reserves; models differ by far more than this."""

_REASONS_NOW = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")

_THROTTLE_COUNTERS: Mapping[str, tuple[int, int]] = {
    "power": (74, 0),
    "thermal": (75, 1),
    "sync boost": (76, 2),
    "board limit": (77, 3),
}
"""By reason: the field of its nanoseconds (NVML_FI_DEV_PERF_POLICY_*), and the policy of nvmlDeviceGetViolationStatus.

Not the newer NVML_FI_DEV_CLOCKS_EVENT_REASON_* fields: their numbers differ between drivers and headers.
"""

_REASONS: Mapping[int, str] = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "power",
    0x008: "hardware",
    0x010: "sync boost",
    0x020: "thermal",  # by software
    0x040: "thermal",  # by hardware
    0x080: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""By bit of the event reasons (nvml.h); where a reason is also counted, by the same name."""

_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""By nvmlValueType_t: the member of the union that holds the value."""

_MIG = Reading.unavailable(
    "MIG instance: NVML has no energy per instance; measure on a whole card, or turn MIG off (sudo nvidia-smi -mig 0)"
)


def open_board(info: DeviceInfo, library: Library = LIBRARY) -> Board | Reading:
    """Return the sensors of an NVIDIA device.

    Open the board before the framework makes its context on the device: where the numbers of processes differ between
    container and host, that is how our own process is later told from others.

    Args:
        info: the device; its UUID (``GPU-…`` or ``MIG-…``) or its PCI address leads to its board.
        library: the door to NVML.

    Returns:
        The board, the same one each time; or the reading that says why there is none.
    """
    if info.kind != "gpu":
        return Reading.unavailable(f"{info.label} is no NVIDIA GPU, so NVML has no readings of it; measure on one")
    unusable = library.why_unusable()
    if unusable is not None:
        return unusable
    card = _find_card(info, library)
    return card if isinstance(card, Reading) else board_of(card)


def _find_card(info: DeviceInfo, library: Library) -> Card | Reading:
    refusals = []
    for finder, address in _addresses(info):
        card = library.card(finder, address)
        refusal = card.why_missing()
        if refusal is None:
            return _mistaken(info, card) or card
        if card.lost is not None:
            return card.lost
        refusals.append(refusal.reason)
    why = refusals[0] if refusals else f"{info.label} tells neither its UUID nor its PCI address; update its framework"
    return Reading.unavailable(f"device mapping not verified: {why}")


def _addresses(info: DeviceInfo) -> Iterator[tuple[str, str]]:
    """Yield functions that find a device, and what to give them, the surest first."""
    if info.uuid is not None:
        by_uuid, digits = "nvmlDeviceGetHandleByUUID", info.uuid.removeprefix("GPU-").removeprefix("MIG-")
        yield by_uuid, f"{'MIG' if info.is_mig else 'GPU'}-{digits}"
        yield by_uuid, f"{'GPU' if info.is_mig else 'MIG'}-{digits}"  # frameworks write either for an instance
    if info.pci_bus_id is not None and not info.is_mig:  # the address of an instance is that of its whole card
        yield "nvmlDeviceGetHandleByPciBusId", info.pci_bus_id


def _mistaken(info: DeviceInfo, card: Card) -> Reading | None:
    """Return why the card may be another than the device, ``None`` if its name or its memory agrees."""
    name, memory = card.ask("nvmlDeviceGetName"), card.ask("nvmlDeviceGetMemoryInfo")
    if card.lost is not None:
        return card.lost
    if isinstance(name, str) and _is_name_of(info, name):
        return None
    if not isinstance(memory, Reading) and _is_size_of(info, memory.total):
        return None
    found = name.reason if isinstance(name, Reading) else f"NVML finds {name!r} where the framework has {info.name!r}"
    return Reading.unavailable(f"device mapping not verified: {found}; compare with nvidia-smi -L")


def _is_name_of(info: DeviceInfo, name: str) -> bool:
    ours, theirs = _plain(info.name), _plain(name)
    return ours.startswith(theirs) if info.is_mig else ours == theirs  # an instance is called "<card> MIG 1g.10gb"


def _is_size_of(info: DeviceInfo, memory_bytes: int) -> bool:
    ours = info.memory_bytes
    return ours is not None and abs(memory_bytes - ours) <= _MEMORY_TOLERANCE * ours


def _plain(name: str) -> str:
    return name.casefold().removeprefix("nvidia").strip()  # drivers before 470 leave the maker out


@functools.cache  # it remembers who used the card before we did
def board_of(card: Card) -> _Board:
    """Return the board of a card that was found, the same one each time."""
    return _Board(card)


class _Board:
    """The sensors of one card, or of one MIG instance as far as it has any."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._users = CardUsers(card)

    def energy(self) -> EnergyCounter | Reading:
        """Return the energy counter of the whole board."""
        if self._is_divided():
            return _MIG
        counter = _EnergyCounter(self._card)
        first = counter.read()
        return counter if first.value is not None else first

    def conditions(self) -> Conditions:
        """Return the state now; each call takes some ten questions to the driver."""
        ask = self._card.ask
        return Conditions(
            # First, while it still tells of the load: cards before Ampere renew it within 20 to 100 ms.
            power_w=_reading(ask("nvmlDeviceGetPowerUsage"), 1e-3),
            sm_clock_hz=_reading(ask("nvmlDeviceGetClockInfo", SM_CLOCK), 1e6),
            rated_clock_hz=_reading(ask("nvmlDeviceGetMaxClockInfo", SM_CLOCK), 1e6),
            temperature_c=_reading(ask(TEMPERATURE, GPU_SENSOR)),
            other_processes=self._users.others(),
            throttled_s=_throttled_s(self._card),
            reasons=_reasons(self._card),
        )

    def facts(self) -> Environment:
        """Return what two runs on the same kind of card have in common, and the state that this one is in."""
        return card_facts(self._card)

    def _is_divided(self) -> bool:
        """Return whether work runs on a part of the card: on this instance, or on an instance of this card."""
        is_instance = self._card.ask("nvmlDeviceIsMigDeviceHandle")
        if not isinstance(is_instance, Reading) and getattr(is_instance, "value", is_instance):
            return True
        mode = self._card.ask("nvmlDeviceGetMigMode")  # current and pending
        return not isinstance(mode, Reading) and bool(mode[0])


class _EnergyCounter:
    """The board's counter, in joules since the driver was loaded."""

    period_s = 0.1
    """Data-centre cards renew it about every 100 ms. A card that does so faster is not believed: consumer cards disturb
    their counter when it is read fast. One that does so slower is found out by watching it."""

    gain_error = 0.05
    """About 5 % from board to board, and constant for one: Yang, Adámek and Armour, SC24, arXiv:2312.02741."""

    def __init__(self, card: Card) -> None:
        self._card = card

    def read(self) -> Reading:
        """Return joules since an arbitrary start."""
        return _reading(self._card.ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3)

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        """Return the joules between two readings ``seconds`` apart. 64 bits of millijoules do not wrap."""
        if after < before:
            return Reading.unavailable(
                f"the energy counter went backwards, from {before:.3f} J to {after:.3f} J: the driver was reloaded; "
                "keep it loaded with sudo nvidia-smi -pm 1"
            )
        if after > before:
            return Reading(after - before)
        if seconds < 2 * self.period_s:
            return Reading.unavailable(
                f"the window of {seconds:.3g} s was shorter than the energy counter's refresh (about "
                f"{self.period_s:g} s); measure more calls at once"
            )
        return Reading.unavailable(
            f"the energy counter stood still for {seconds:.3g} s; see whether nvidia-smi shows any power, and update "
            "the driver"
        )


def _reading(answer: Any, scale: float = 1.0) -> Reading:
    """Return NVML's number in base units; why there is none stays what it is."""
    return answer if isinstance(answer, Reading) else Reading(answer * scale)


def _throttled_s(card: Card) -> Mapping[str, float]:
    """Return the seconds counted for each reason; one that is not counted is left out, which is not the same as 0."""
    fields = card.ask("nvmlDeviceGetFieldValues", [field for field, _ in _THROTTLE_COUNTERS.values()])
    entries = [None] * len(_THROTTLE_COUNTERS) if isinstance(fields, Reading) else list(fields)
    seconds = {}
    for (reason, (_, policy)), entry in zip(_THROTTLE_COUNTERS.items(), entries, strict=True):
        nanoseconds = None if entry is None else _field_value(entry)
        if nanoseconds is None:
            status = card.ask("nvmlDeviceGetViolationStatus", policy)
            nanoseconds = None if isinstance(status, Reading) else status.violationTime
        if nanoseconds is not None:
            seconds[reason] = nanoseconds * 1e-9
    return seconds


def _field_value(entry: Any) -> float | None:
    """Return the value of one field: the call succeeds even where a field does not, so each has a status of its own."""
    if entry.nvmlReturn != 0 or not 0 <= entry.valueType < len(_VALUE_FIELDS):
        return None
    value: float = getattr(entry.value, _VALUE_FIELDS[entry.valueType])
    return value


def _reasons(card: Card) -> frozenset[str]:
    bits = card.ask(_REASONS_NOW)
    return frozenset() if isinstance(bits, Reading) else frozenset(name for bit, name in _REASONS.items() if bits & bit)
