"""A simulated machine on a clock set by hand: one CPU and any number of GPUs, without waiting.

Everything that the measuring loop can meet is modelled: launch cost and latency, a bounded queue, streams, events of
finite resolution, noise, memory and running out of it, a power curve with an energy counter that is refreshed now and
then, throttling, and a context that breaks. Figures measured on it are *simulated*, and say so.

Users can prove their own budgets with it:

>>> from pytest_gpuprof import profile
>>> def addition(device):
...     return lambda: device.run(cpu=20e-3, gpu=1e-3)
>>> 19 < profile(addition, backend="simulated").speedup < 21
True
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.errors import DeviceError
from pytest_gpuprof.core.protocols import Conditions, EnergyCounter, PeakMemory
from pytest_gpuprof.core.results import Reading

__all__ = [
    "Card",
    "SimulatedBackend",
    "SimulatedClock",
    "SimulatedContextError",
    "SimulatedDevice",
    "SimulatedOutOfMemory",
]


class SimulatedOutOfMemory(RuntimeError):
    """An allocation was larger than what is free on the simulated device."""


class SimulatedContextError(RuntimeError):
    """The simulated device's context is broken; nothing runs on it any more."""


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
        idle_w, busy_w: power without and under load.
        energy_period_s: how often the energy counter is refreshed.
        has_energy: whether there is an energy counter at all.
        speed_at: relative clock speed at a time, for throttling; ``None`` is always 1.
        shared_from: the time from which another process uses the card, ``None`` for never.
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
    idle_w: float = 70.0
    busy_w: float = 350.0
    energy_period_s: float = 0.1
    has_energy: bool = True
    speed_at: Callable[[float], float] | None = None
    shared_from: float | None = None


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


class SimulatedBackend:
    """The adapter to a simulated machine.

    Args:
        cards: its GPUs.
        seed: of the noise.
        cpu_noise: relative spread of each call on the CPU.
        cpu_watts: power of the CPU package, which is always the same, ``None`` if it cannot be read.
    """

    name = "simulated"
    parameters = ("device",)
    frameworks: tuple[str, ...] = ()
    host = "simulated"

    def __init__(
        self,
        cards: Sequence[Card] = (Card(),),
        *,
        seed: int = 0,
        cpu_noise: float = 0.003,
        cpu_watts: float | None = None,
    ) -> None:
        self.clock = SimulatedClock()
        self._random = random.Random(seed)
        self._cards = tuple(cards)
        self._opened: dict[DeviceId, SimulatedDevice] = {}
        self._cpu_noise = cpu_noise
        self.cpu_watts = cpu_watts

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the simulated GPUs, then the simulated CPU."""
        cards = tuple(
            DeviceInfo(
                DeviceId(self.name, index),
                card.name,
                "stand-in",
                self.name,
                memory_bytes=card.memory_bytes,
                why_stand_in="simulated",
            )
            for index, card in enumerate(self._cards)
        )
        return (*cards, DeviceInfo(DeviceId("cpu"), "Simulated CPU", "cpu", self.name))

    def open(self, device: DeviceId) -> SimulatedDevice:
        """Return the device; builders get it as ``device``. Opening twice gives the same device."""
        if device not in self._opened:
            infos = {info.id: info for info in self.devices()}
            if device not in infos:
                raise DeviceError(
                    f"there is no device {device}; the simulated machine has {', '.join(map(str, infos))}"
                )
            card = None if device.type == "cpu" else self._cards[device.index]
            self._opened[device] = SimulatedDevice(
                infos[device], card, self.clock, self._random, self._cpu_noise, self.cpu_watts
            )
        return self._opened[device]

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a simulated buffer."""
        return isinstance(value, SimulatedBuffer)


class SimulatedDevice(HostDevice):
    """One simulated device: what a builder gets, and what the loop measures on."""

    def __init__(
        self,
        info: DeviceInfo,
        card: Card | None,
        clock: SimulatedClock,
        rng: random.Random,
        cpu_noise: float,
        package_watts: float | None = None,
    ) -> None:
        super().__init__(info, {"device": self})
        self.clock: SimulatedClock = clock
        self.card = card
        self._random = rng
        self._noise = cpu_noise if card is None else card.noise
        self._tails: dict[int, float] = {}
        self._pending: deque[float] = deque()
        self._broken: str | None = None
        self._memory = _Memory(card.memory_bytes if card else None)
        self._power = _PowerCurve(card) if card else None
        self._package_watts = package_watts
        if card is None:
            self.lacks = {"timer": "a CPU has no device events; its wall time is its time"}
        else:
            self.timer = _Timer(self)
            self.backlog = self._occupy

    # -- what a workload does -------------------------------------------------------------------------------------

    def run(
        self, seconds: float | None = None, *, cpu: float | None = None, gpu: float | None = None, stream: int = 0
    ) -> None:
        """Do work that takes ``seconds``, or ``cpu`` seconds on a CPU and ``gpu`` seconds on a GPU.

        A CPU is busy for that long; a GPU is given the work and goes on alone, in order on each ``stream``.
        """
        duration = (cpu if self.card is None else gpu) if seconds is None else seconds
        if duration is None:
            raise TypeError("run() takes seconds, or cpu= and gpu=")
        self._check()
        duration *= math.exp(self._noise * self._random.gauss(0.0, 1.0))
        if self.card is None:
            self.clock.sleep(duration)
            return
        self.clock.sleep(self.card.launch_s)
        self._enqueue(duration, stream)

    def host(self, seconds: float) -> None:
        """Keep the host busy: framework overhead before a launch, or work that runs on the CPU in both legs."""
        self.clock.sleep(seconds)

    def allocate(self, nbytes: int) -> SimulatedBuffer:
        """Return memory that is live until the buffer is deleted or closed."""
        self._check()
        return SimulatedBuffer(self._memory, nbytes, self.info.label)

    def break_context(self, reason: str = "an illegal memory access was encountered") -> None:
        """Let every later use of the device fail, as after a fault in a kernel."""
        self._broken = reason

    # -- what the loop does ---------------------------------------------------------------------------------------

    def synchronize(self) -> None:
        """Wait until all streams are empty."""
        self._check()
        if self.card is not None:
            self.clock.advance_to(max(self._tails.values(), default=0.0))
            self.clock.sleep(self.card.sync_s)

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer exact accounting of :meth:`allocate`."""
        yield self._memory

    def board(self) -> _Board | None:
        """Return the simulated sensors, ``None`` for the CPU."""
        return None if self._power is None or self.card is None else _Board(self.card, self._power, self.clock)

    def package_energy(self) -> EnergyCounter | None:
        """Return the counter of the machine's CPU package, ``None`` if it has none."""
        return None if self._package_watts is None else _PackageCounter(self._package_watts, self.clock)

    def _check(self) -> None:
        if self._broken is not None:
            raise SimulatedContextError(f"simulated device error: {self._broken}")

    def _occupy(self, seconds: float) -> None:
        self.run(seconds)

    def _enqueue(self, duration: float, stream: int) -> float:
        card, clock = self.card, self.clock
        assert card is not None and self._power is not None
        while self._pending and self._pending[0] <= clock.time:
            self._pending.popleft()
        if len(self._pending) >= card.queue_depth:
            clock.advance_to(self._pending.popleft())
        start = max(self._tails.get(stream, 0.0), clock.time + card.latency_s)
        end = start + duration / (card.speed_at(start) if card.speed_at else 1.0)
        self._tails[stream] = end
        if duration:
            self._pending.append(end)
            self._power.busy(start, end)
        return end

    def _mark(self) -> float:
        assert self.card is not None
        self._check()
        self.clock.sleep(self.card.mark_s)
        return self._enqueue(0.0, stream=0)


class _Timer:
    """Events whose clock has the card's resolution."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def mark(self) -> float:
        return self._device._mark()

    def wait(self, mark: float) -> None:
        self._device._check()
        self._device.clock.advance_to(mark)
        self._device.clock.sleep(self._device.card.sync_s if self._device.card else 0.0)

    def elapsed_s(self, start: float, end: float) -> float:
        step = self._device.card.resolution_s if self._device.card else 0.0
        return end - start if step <= 0 else (math.floor(end / step) - math.floor(start / step)) * step


class SimulatedBuffer:
    """Simulated memory, live until it is deleted or closed."""

    def __init__(self, memory: _Memory, nbytes: int, label: str) -> None:
        self._memory: _Memory | None = None
        memory.take(nbytes, label)
        self._memory = memory
        self.nbytes = nbytes

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.give(self.nbytes)
            self._memory = None

    def __del__(self) -> None:
        self.close()


class _Memory:
    def __init__(self, total: int | None) -> None:
        self._total = total
        self._live = 0
        self._peak = 0

    def take(self, nbytes: int, label: str) -> None:
        if self._total is not None and self._live + nbytes > self._total:
            raise SimulatedOutOfMemory(
                f"out of memory on {label}: tried to allocate {nbytes} bytes, {self._total - self._live} are free"
            )
        self._live += nbytes
        self._peak = max(self._peak, self._live)

    def give(self, nbytes: int) -> None:
        self._live -= nbytes

    def live_bytes(self) -> int:
        return self._live

    def reset_peak(self) -> None:
        self._peak = self._live

    def peak_bytes(self) -> int:
        return self._peak

    def reserved_bytes(self) -> int | None:
        return None


class _PowerCurve:
    """Idle power, and busy power while at least one kernel runs; its integral is what a counter counts."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._done_s = 0.0  # busy time of intervals that are over
        self._open: deque[tuple[float, float]] = deque()  # disjoint and in order
        self._end = 0.0

    def busy(self, start: float, end: float) -> None:
        start = max(start, self._end)  # streams that overlap count once
        if end > start:
            self._open.append((start, end))
            self._end = end

    def energy_j(self, moment: float) -> float:
        """Return joules since time 0. ``moment`` must not fall by more than one refresh period between calls."""
        margin = moment - 10 * self._card.energy_period_s
        while self._open and self._open[0][1] <= margin:
            start, end = self._open.popleft()
            self._done_s += end - start
        busy = self._done_s + sum(max(0.0, min(end, moment) - start) for start, end in self._open if start < moment)
        return self._card.idle_w * moment + (self._card.busy_w - self._card.idle_w) * busy


class _Board:
    """The simulated card's sensors."""

    def __init__(self, card: Card, power: _PowerCurve, clock: SimulatedClock) -> None:
        self._card = card
        self._power = power
        self._clock = clock

    def energy(self) -> EnergyCounter | Reading:
        if not self._card.has_energy:
            return Reading.unavailable(f"{self._card.name} has no energy counter (simulated)")
        return _EnergyCounter(self._card, self._power, self._clock)

    def conditions(self) -> Conditions:
        now = self._clock.time
        speed = self._card.speed_at(now) if self._card.speed_at else 1.0
        shared = self._card.shared_from is not None and now >= self._card.shared_from
        rated_hz = 1.5e9
        return Conditions(
            sm_clock_hz=Reading(rated_hz * speed, quality="simulated"),
            rated_clock_hz=Reading(rated_hz, quality="simulated"),
            temperature_c=Reading(60.0, quality="simulated"),
            other_processes=Reading(float(shared), quality="simulated"),
            throttled_s={"thermal": self._throttled_until(now)},
            reasons=frozenset({"thermal"} if speed < 1.0 else ()),
        )

    def _throttled_until(self, now: float) -> float:
        """Return how long the clock was below its rated speed, in steps of 10 ms since the machine started."""
        if self._card.speed_at is None:
            return 0.0
        step, start = 0.01, 1000.0
        return step * sum(self._card.speed_at(start + i * step) < 1.0 for i in range(int((now - start) / step)))

    def facts(self) -> Environment:
        return Environment({"gpu": self._card.name, "simulated": True})


class _PackageCounter:
    """A package that takes the same power all the time, counted every millisecond as RAPL does."""

    period_s = 1e-3
    gain_error = 0.05

    def __init__(self, watts: float, clock: SimulatedClock) -> None:
        self._watts = watts
        self._clock = clock

    def read(self) -> Reading:
        refreshed = math.floor(self._clock.time / self.period_s) * self.period_s
        return Reading(self._watts * refreshed, quality="simulated")

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        return Reading(after - before, quality="simulated")


class _EnergyCounter:
    gain_error = 0.05

    def __init__(self, card: Card, power: _PowerCurve, clock: SimulatedClock) -> None:
        self.period_s = card.energy_period_s
        self._power = power
        self._clock = clock

    def read(self) -> Reading:
        refreshed = math.floor(self._clock.time / self.period_s) * self.period_s
        return Reading(self._power.energy_j(refreshed), quality="simulated")

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        if after < before:
            return Reading.unavailable("the energy counter went backwards")
        return Reading(after - before, quality="simulated")
