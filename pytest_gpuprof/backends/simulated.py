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
from typing import Any

from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.simulated_hardware import (
    Card,
    HostBuffer,
    Memory,
    PackageCounter,
    PowerCurve,
    SimulatedBoard,
    SimulatedBuffer,
    SimulatedClock,
    SimulatedOutOfMemory,
)
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError
from pytest_gpuprof.core.protocols import EnergyCounter, PeakMemory

__all__ = [
    "Card",
    "SimulatedBackend",
    "SimulatedClock",
    "SimulatedContextError",
    "SimulatedDevice",
    "SimulatedOutOfMemory",
]


class SimulatedContextError(RuntimeError):
    """The simulated device's context is broken; nothing runs on it any more."""


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
        self._memory = Memory(card.memory_bytes if card else None)
        self._power = PowerCurve(card) if card else None
        self._board = SimulatedBoard(card, self._power, clock) if card and self._power else None
        self._package_watts = package_watts
        self._cold = False
        self.arrays = _Arrays(self)
        self.flush = self._evict
        if card is None:
            self.lacks = {"timer": "a CPU has no device events; its wall time is its time"}
        else:
            self.timer = _Timer(self)
            self.backlog = self._occupy
            if card.peak_flops and card.peak_bytes_per_s:
                self.yardsticks = _Yardsticks(self, card.peak_flops, card.peak_bytes_per_s)
        self.flops = 0.0
        self.flop_counter = _FlopCounter(self)

    # -- what a workload does -------------------------------------------------------------------------------------

    def run(
        self,
        seconds: float | None = None,
        *,
        cpu: float | None = None,
        gpu: float | None = None,
        cold: float | None = None,
        stream: int = 0,
        flops: float = 0.0,
    ) -> None:
        """Do work that takes ``seconds``, or ``cpu`` seconds on a CPU and ``gpu`` seconds on a GPU.

        A CPU is busy for that long; a GPU is given the work and goes on alone, in order on each ``stream``. Right after
        its cache was evicted, the work takes ``cold`` seconds, if that is given. With ``flops="auto"`` the workload's
        FLOPs are the sum of ``flops``.
        """
        duration = (cpu if self.card is None else gpu) if seconds is None else seconds
        if self._cold and cold is not None:
            duration = cold
        self._cold = False
        if duration is None:
            raise TypeError("run() takes seconds, or cpu= and gpu=")
        self._check()
        self.flops += flops
        duration *= math.exp(self._noise * self._random.gauss(0.0, 1.0))
        if self.card is None:
            self.clock.sleep(duration)
            return
        self.clock.sleep(self.card.launch_s)
        self._enqueue(duration, stream)

    def host(self, seconds: float) -> None:
        """Keep the host busy: framework overhead before a launch, or work that runs on the CPU in both legs."""
        self.clock.sleep(seconds)

    def allocate(self, nbytes: int, *, counted: bool = True) -> SimulatedBuffer:
        """Return memory that is live until the buffer is deleted or closed.

        With ``counted=False`` it is taken past the allocator, as by a library that asks the driver itself.
        """
        self._check()
        return SimulatedBuffer(self._memory, nbytes, self.info.label, counted=counted)

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

    def board(self) -> SimulatedBoard | None:
        """Return the simulated sensors, ``None`` for the CPU."""
        return self._board

    def package_energy(self) -> EnergyCounter | None:
        """Return the counter of the machine's CPU package, ``None`` if it has none."""
        return None if self._package_watts is None else PackageCounter(self._package_watts, self.clock)

    def _check(self) -> None:
        if self._broken is not None:
            raise SimulatedContextError(f"simulated device error: {self._broken}")

    def _occupy(self, seconds: float) -> None:
        cold, self._cold = self._cold, False
        self.run(seconds)
        self._cold = cold  # a kernel that only spins leaves the cache as it is

    def _evict(self) -> None:
        self.run(100e-6 if self.card is None else self.card.flush_s)
        self._cold = True

    def copy(self, nbytes: int) -> None:
        """Let the host wait for a copy between its memory and the device's."""
        if self.card is not None:
            self.run(nbytes / self.card.copy_bytes_per_s)
            self.synchronize()

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


class _Arrays:
    """Buffers: they have a size and no content."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def place(self, value: Any) -> Any:
        if not isinstance(value, HostBuffer):
            return value
        self._device.copy(value.nbytes)
        return self._device.allocate(value.nbytes)

    def download(self, value: Any) -> Any:
        if not isinstance(value, SimulatedBuffer):
            return value
        self._device.copy(value.nbytes)
        return HostBuffer(value.nbytes)

    def host(self, value: Any) -> Any:
        return value

    def precision(self, value: Any) -> float | None:
        return None


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


class _FlopCounter:
    """Counts what :meth:`SimulatedDevice.run` is told."""

    name = "the simulated machine"
    knows = "what run(flops=) says"

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def count(self, function: Callable[[], Any]) -> int:
        before = self._device.flops
        function()
        return int(self._device.flops - before)


class _Yardsticks:
    """Work that takes as long as the card's peaks allow."""

    precisions = ("fp32",)

    def __init__(self, device: SimulatedDevice, flops_per_s: float, bytes_per_s: float) -> None:
        self._device = device
        self._flops_per_s = flops_per_s
        self._bytes_per_s = bytes_per_s

    def copy(self, nbytes: int) -> Callable[[], object]:
        return lambda: self._device.run(2 * nbytes / self._bytes_per_s)

    def product(self, order: int, precision: str) -> Callable[[], object]:
        return lambda: self._device.run(2 * order**3 / self._flops_per_s)
