"""What a simulated machine is made of: a clock set by hand, cards, memory that runs out, sensors that lag behind."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.protocols import Conditions, EnergyCounter
from pytest_gpuprof.core.results import Reading

__all__ = [
    "Card",
    "HostBuffer",
    "Memory",
    "PackageCounter",
    "PowerCurve",
    "SimulatedBoard",
    "SimulatedBuffer",
    "SimulatedClock",
    "SimulatedOutOfMemory",
]


class SimulatedOutOfMemory(RuntimeError):
    """An allocation was larger than what is free on the simulated device."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a simulated GPU is like. The defaults are of the order of a data-centre card driven from Python.

    Args:
        name: shown by reports; budgets given per device match it.
        launch_s: host time to launch one kernel.
        latency_s: time from launch to start on an idle device.
        mark_s: host time to record an event.
        sync_s: host time of a synchronization, beyond waiting.
        resolution_s: step of the events' clock.
        queue_depth: launches outstanding before the host blocks.
        noise: relative spread of each kernel's time (log-normal).
        memory_bytes: its memory.
        copy_bytes_per_s: how fast data travels between host and card.
        flush_s: time of evicting its cache.
        idle_w, busy_w: power without and under load.
        power_at: busy power relative to ``busy_w`` at a time, for load whose power varies; ``None`` is always 1.
        has_energy: whether there is an energy counter at all.
        energy_period_s: how often the energy counter is refreshed.
        energy_lag_s: how old what it shows is, beyond that.
        energy_gain: what it counts of each joule; below 1 it under-reports.
        energy_read_s: time of which each reading of the counter loses the energy, as far as the time since the reading
            before goes: *r* of *r + t*. With 16 ms, reading every 10 ms loses 62 % and every second 1.6 %, about what
            consumer cards do (Dauner et al., HotCarbon 2026).
        energy_stops_at, energy_resets_at: when the counter stands still for good, and when it starts again from 0.
        temperature_at: degrees Celsius at a time; ``None`` is always 60.
        speed_at: relative clock speed at a time, for throttling; ``None`` is always 1.
        shared_from: the time from which another process uses the card, ``None`` for never.
        peak_flops, peak_bytes_per_s: its highest rates, in fp32 and of its memory; ``None`` if it does not tell them.
    """

    name: str = "Simulated GPU"
    launch_s: float = 4e-6
    latency_s: float = 1.5e-6
    mark_s: float = 0.9e-6
    sync_s: float = 8e-6
    resolution_s: float = 0.5e-6
    queue_depth: int = 1024
    noise: float = 0.003
    memory_bytes: int = 16 * 2**30
    copy_bytes_per_s: float = 25e9
    flush_s: float = 65e-6
    idle_w: float = 70.0
    busy_w: float = 350.0
    power_at: Callable[[float], float] | None = None
    has_energy: bool = True
    energy_period_s: float = 0.1
    energy_lag_s: float = 0.0
    energy_gain: float = 1.0
    energy_read_s: float = 0.0
    energy_stops_at: float | None = None
    energy_resets_at: float | None = None
    temperature_at: Callable[[float], float] | None = None
    speed_at: Callable[[float], float] | None = None
    shared_from: float | None = None
    peak_flops: float | None = None
    peak_bytes_per_s: float | None = None


class SimulatedClock:
    """A host clock that moves only when something takes time. Reading it takes a little, as on a real host."""

    def __init__(self, read_s: float = 60e-9) -> None:
        self._now = 1000.0
        self._read_s = read_s

    def now(self) -> float:
        """Return the simulated time in seconds."""
        self._now += self._read_s
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def advance_to(self, moment: float) -> None:
        """Let time pass until ``moment``, if that is still to come."""
        self._now = max(self._now, moment)

    @property
    def time(self) -> float:
        """The simulated time, without the cost of reading it."""
        return self._now


class SimulatedBuffer:
    """Simulated memory, live until it is deleted or closed."""

    def __init__(self, memory: Memory, nbytes: int, label: str, *, counted: bool = True) -> None:
        self._memory: Memory | None = None
        memory.take(nbytes, label, counted=counted)
        self._memory = memory
        self._counted = counted
        self.nbytes = nbytes

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.give(self.nbytes, counted=self._counted)
            self._memory = None

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class HostBuffer:
    """Simulated memory of the host: what a download yields, and an upload takes."""

    nbytes: int


class Memory:
    """Exact accounting of what is allocated, with a limit or without; what is not counted takes room all the same."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._live = 0
        self._peak = 0
        self._uncounted = 0

    def take(self, nbytes: int, label: str, *, counted: bool = True) -> None:
        """Allocate, or raise SimulatedOutOfMemory."""
        free = self.free_bytes()
        if free is not None and nbytes > free:
            raise SimulatedOutOfMemory(f"out of memory on {label}: tried to allocate {nbytes} bytes, {free} are free")
        if not counted:
            self._uncounted += nbytes
            return
        self._live += nbytes
        self._peak = max(self._peak, self._live)

    def give(self, nbytes: int, *, counted: bool = True) -> None:
        """Free."""
        if counted:
            self._live -= nbytes
        else:
            self._uncounted -= nbytes

    def free_bytes(self) -> int | None:
        """Return what is left, ``None`` without a limit."""
        return None if self._total is None else self._total - self._live - self._uncounted

    def flushes(self) -> int | None:
        """Return ``None``: there is no cache to flush."""
        return None

    def live_bytes(self) -> int:
        """Return the bytes live now."""
        return self._live

    def reset_peak(self) -> None:
        """Forget the peak."""
        self._peak = self._live

    def peak_bytes(self) -> int:
        """Return the most bytes live since the peak was forgotten."""
        return self._peak

    def reserved_bytes(self) -> int | None:
        """Return ``None``: nothing is kept that is not live."""
        return None


class PowerCurve:
    """Idle power, and busy power while at least one kernel runs; its integral is what a counter counts."""

    def __init__(self, card: Card) -> None:
        self._card = card
        # Busy intervals, disjoint and in order: where each begins and ends, the watts above idle in it, and the joules
        # above idle before it.
        self._starts = array("d")
        self._ends = array("d")
        self._watts = array("d")
        self._joules = array("d")

    def busy(self, start: float, end: float) -> None:
        """Draw busy power between two moments."""
        if self._ends:
            start = max(start, self._ends[-1])  # streams that overlap count once
        if end <= start:
            return
        card = self._card
        level = card.busy_w * (card.power_at(start) if card.power_at else 1.0)
        before = self._joules[-1] + self._watts[-1] * (self._ends[-1] - self._starts[-1]) if self._ends else 0.0
        self._starts.append(start)
        self._ends.append(end)
        self._watts.append(level - card.idle_w)
        self._joules.append(before)

    def energy_j(self, moment: float) -> float:
        """Return joules since time 0."""
        last = bisect_right(self._starts, moment) - 1
        above = 0.0
        if last >= 0:
            busy_s = min(self._ends[last], moment) - self._starts[last]
            above = self._joules[last] + self._watts[last] * busy_s
        return self._card.idle_w * moment + above

    def mean_w(self, moment: float, seconds: float) -> float:
        """Return the mean power over the time before a moment."""
        return (self.energy_j(moment) - self.energy_j(moment - seconds)) / seconds


class SimulatedBoard:
    """The simulated card's sensors."""

    def __init__(self, card: Card, power: PowerCurve, clock: SimulatedClock) -> None:
        self._card = card
        self._power = power
        self._clock = clock
        self._counter = _EnergyCounter(card, power, clock)

    def energy(self) -> EnergyCounter | Reading:
        """Return the energy counter, or why the card has none."""
        if not self._card.has_energy:
            return Reading.unavailable(f"{self._card.name} has no energy counter (simulated)")
        return self._counter

    def conditions(self) -> Conditions:
        """Return the state now."""
        now = self._clock.time
        speed = self._card.speed_at(now) if self._card.speed_at else 1.0
        shared = self._card.shared_from is not None and now >= self._card.shared_from
        rated_hz = 1.5e9
        return Conditions(
            sm_clock_hz=Reading(rated_hz * speed, quality="simulated"),
            rated_clock_hz=Reading(rated_hz, quality="simulated"),
            temperature_c=Reading(
                self._card.temperature_at(now) if self._card.temperature_at else 60.0, quality="simulated"
            ),
            other_processes=Reading(float(shared), quality="simulated"),
            throttled_s={"thermal": self._throttled_until(now)},
            reasons=frozenset({"thermal"} if speed < 1.0 else ()),
            power_w=Reading(self._power.mean_w(now, 1.0), quality="simulated"),  # NVML's mean, Ampere and newer
        )

    def _throttled_until(self, now: float) -> float:
        """Return how long the clock was below its rated speed, in steps of 10 ms since the machine started."""
        if self._card.speed_at is None:
            return 0.0
        step, start = 0.01, 1000.0
        return step * sum(self._card.speed_at(start + i * step) < 1.0 for i in range(int((now - start) / step)))

    def facts(self) -> Environment:
        """Return what identifies the card."""
        peaks = {"gpu_peak_fp32_flops": self._card.peak_flops, "gpu_peak_bytes_per_s": self._card.peak_bytes_per_s}
        told = {key: peak for key, peak in peaks.items() if peak is not None}
        return Environment({"gpu": self._card.name, "simulated": True, **told})


class PackageCounter:
    """A package that takes the same power all the time, counted every millisecond as RAPL does."""

    period_s = 1e-3
    gain_error = 0.05

    def __init__(self, watts: float, clock: SimulatedClock) -> None:
        self._watts = watts
        self._clock = clock

    def read(self) -> Reading:
        """Return joules since the clock's zero."""
        refreshed = math.floor(self._clock.time / self.period_s) * self.period_s
        return Reading(self._watts * refreshed, quality="simulated")

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        """Return the joules between two readings."""
        return Reading(after - before, quality="simulated")


class _EnergyCounter:
    period_s = 0.1  # as of NVML's counters: what is faster is not believed, and what is slower has to be found out
    gain_error = 0.05

    def __init__(self, card: Card, power: PowerCurve, clock: SimulatedClock) -> None:
        self._card = card
        self._power = power
        self._clock = clock
        self._read_at: float | None = None
        self._read_j = 0.0  # what was counted until then, whatever was shown
        self._lost_j = 0.0

    def read(self) -> Reading:
        card, now = self._card, self._clock.time
        counted = self._counted_j(now)
        if self._read_at is not None and card.energy_read_s:
            part = card.energy_read_s / (card.energy_read_s + now - self._read_at)
            self._lost_j += max(0.0, counted - self._read_j) * part
        self._read_at, self._read_j = now, counted
        shown = counted - self._lost_j
        if card.energy_resets_at is not None and now >= card.energy_resets_at:
            shown -= self._counted_j(card.energy_resets_at)
        return Reading(max(0.0, shown), quality="simulated")

    def _counted_j(self, moment: float) -> float:
        card = self._card
        moment -= card.energy_lag_s
        if card.energy_stops_at is not None:
            moment = min(moment, card.energy_stops_at)
        period_s = card.energy_period_s
        return self._power.energy_j(math.floor(moment / period_s) * period_s) * card.energy_gain

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        if after < before:
            return Reading.unavailable("the energy counter went backwards (simulated)")
        if after == before:
            return Reading.unavailable("the energy counter stood still (simulated)")
        return Reading(after - before, quality="simulated")
