"""The open questions about energy, each a function of NVML, a load and a clock; it returns number, unit, sentence."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.protocols import Clock

__all__ = ["THROTTLE_FIELDS", "Nvml", "fields", "idle_watts", "peak", "period", "polling", "power", "spread"]

Found = tuple[float, str, str]


class Load(Protocol):
    """Keeps the card busy."""

    def __call__(self, seconds: float, meanwhile: Callable[[], object] | None = None, every_s: float = 0.02) -> None:
        """Return after about ``seconds``; call ``meanwhile`` every so often while the card is busy."""


INSTANT_POWER = 186
"""NVML_FI_DEV_POWER_INSTANT: not averaged over a second, as nvmlDeviceGetPowerUsage is on newer cards."""

THROTTLE_FIELDS = {
    74: "software power cap",
    76: "sync boost",
    269: "software thermal slowdown",
    270: "hardware thermal slowdown",
    271: "hardware power brake",
}
"""Cumulative nanoseconds of throttling, by NVML field (nvml.h of driver 580)."""


class Nvml:
    """One card, asked by pynvml directly: here the questions are about NVML itself."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._pynvml = pynvml
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def energy_j(self) -> float:
        """Return what the energy counter shows."""
        return float(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3

    def power_w(self) -> float:
        """Return the power now: the instantaneous field, or the averaged reading where there is none."""
        found = self.field(INSTANT_POWER)
        milliwatts = self._pynvml.nvmlDeviceGetPowerUsage(self._handle) if found is None else found
        return float(milliwatts) * 1e-3

    def field(self, number: int) -> int | None:
        """Return a field's whole number, ``None`` if the driver does not offer it."""
        (entry,) = self._pynvml.nvmlDeviceGetFieldValues(self._handle, [number])
        if entry.nvmlReturn != 0:
            return None
        slot = {1: "uiVal", 2: "ulVal", 3: "ullVal"}.get(entry.valueType)
        return None if slot is None else int(getattr(entry.value, slot))

    def peak_flops(self) -> float:
        """Return the derived peak in single precision: cores, two operations of each per cycle, highest clock."""
        cores = self._pynvml.nvmlDeviceGetNumGpuCores(self._handle)
        clock = self._pynvml.nvmlDeviceGetMaxClockInfo(self._handle, self._pynvml.NVML_CLOCK_SM)
        return 2.0 * cores * clock * 1e6


def _steps(nvml: Nvml, load: Load, seconds: float, clock: Clock) -> list[float]:
    """Return the times between renewals of the counter, polled every 5 ms under load."""
    load(1.0)
    moments: list[float] = []
    before = nvml.energy_j()

    def look() -> None:
        nonlocal before
        shown = nvml.energy_j()
        if shown != before:
            moments.append(clock.now())
            before = shown

    load(seconds, look, 0.005)
    return [later - earlier for earlier, later in pairwise(moments)]


def period(nvml: Nvml, load: Load, clock: Clock, seconds: float) -> Found:
    """Return the median time between renewals of the energy counter."""
    steps = _steps(nvml, load, seconds, clock)
    if len(steps) < 5:
        raise Unavailable(f"the energy counter was renewed only {len(steps)} times in {seconds:g} s")
    return (
        1e3 * statistics.median(steps), "ms",
        f"{len(steps)} renewals, {1e3 * min(steps):.0f} to {1e3 * max(steps):.0f} ms, polled every 5 ms.",
    )  # fmt: skip


def _window_w(nvml: Nvml, load: Load, clock: Clock, seconds: float) -> float:
    """Return mean power of a window under load, by two readings of the counter."""
    before, began = nvml.energy_j(), clock.now()
    load(seconds)
    after, ended = nvml.energy_j(), clock.now()
    return (after - before) / (ended - began)


def polling(nvml: Nvml, load: Load, clock: Clock, seconds: float) -> Found:
    """Return by how much windows right after a second of polling differ from windows after a quiet second."""
    load(2.0)
    quiet, polled = [], []
    for _ in range(3):
        load(1.0)
        quiet.append(_window_w(nvml, load, clock, seconds))
        _steps(nvml, load, 1.0, clock)
        polled.append(_window_w(nvml, load, clock, seconds))
    change = statistics.fmean(polled) / statistics.fmean(quiet) - 1
    return 100 * abs(change), "%", f"Three windows of {seconds:g} s of each kind, in turn; {100 * change:+.2f} %."


def power(nvml: Nvml, load: Load, clock: Clock, seconds: float) -> Found:
    """Return the counter's joules over those of instantaneous power, integrated by the trapezoidal rule."""
    load(2.0)
    before, began = nvml.energy_j(), clock.now()
    samples: list[tuple[float, float]] = []
    load(seconds, lambda: samples.append((clock.now(), nvml.power_w())))
    counted, ended = nvml.energy_j() - before, clock.now()
    if not samples:
        raise Unavailable("no power was read")
    # What was seen first and last held until the edges of the window.
    integrated = _integral([(began, samples[0][1]), *samples, (ended, samples[-1][1])])
    if integrated <= 0 or counted <= 0:
        raise Unavailable(f"the counter shows {counted:.3g} J and power {integrated:.3g} J")
    return counted / integrated, "", f"{counted:.1f} J counted, {integrated:.1f} J from {len(samples)} readings."


def _integral(samples: Sequence[tuple[float, float]]) -> float:
    return sum((later - earlier) * (first + second) / 2 for (earlier, first), (later, second) in pairwise(samples))


def fields(nvml: Nvml) -> Found:
    """Return how many counters of throttled time the driver offers."""
    missing = [f"{number} ({what})" for number, what in THROTTLE_FIELDS.items() if nvml.field(number) is None]
    return float(len(THROTTLE_FIELDS) - len(missing)), "", f"Not offered: {', '.join(missing) or 'none'}."


def idle_watts(nvml: Nvml, clock: Clock, seconds: float) -> float:
    """Return mean power of an idle card by its counter, after a second for it to calm down."""
    clock.sleep(1.0)
    before, began = nvml.energy_j(), clock.now()
    clock.sleep(seconds)
    after, ended = nvml.energy_j(), clock.now()
    return (after - before) / (ended - began)


def context(without_w: float | None, with_w: float) -> Found:
    """Return how much more power an idle card takes with a context than without."""
    if without_w is None:
        raise Unavailable("there was a context before the first reading; run the benchmark in a process of its own")
    return with_w - without_w, "W", f"{without_w:.1f} W without, {with_w:.1f} W with."


def peak(nvml: Nvml, flops_per_s: float) -> Found:
    """Return the achieved rate of a matrix product over the derived peak."""
    derived = nvml.peak_flops()
    return flops_per_s / derived, "", f"{flops_per_s / 1e12:.1f} of {derived / 1e12:.1f} TFLOP/s, without TF32."


def spread(nvml: Nvml, load: Load, clock: Clock, seconds: float, trials: int = 5) -> Found:
    """Return the range of the mean power of windows of a fixed load, over their mean."""
    load(2.0)
    found = [_window_w(nvml, load, clock, seconds) for _ in range(trials)]
    return (
        100 * (max(found) - min(found)) / statistics.fmean(found), "%",
        f"{trials} windows of {seconds:g} s under the same load, {statistics.fmean(found):.1f} W on average.",
    )  # fmt: skip


def mapping(boards: Sequence[Any]) -> Found:
    """Return the share of devices whose card was found; what is no board says why."""
    refused = [board.reason for board in boards if hasattr(board, "reason")]
    if not boards:
        raise Unavailable("torch finds no device")
    return (
        (len(boards) - len(refused)) / len(boards),
        "",
        f"{len(boards)} devices; refused: {'; '.join(refused) or 'none'}.",
    )
