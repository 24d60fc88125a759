"""Random workloads on a simulated GPU, with the truth about each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.protocols import Backend

__all__ = ["Case", "OneMachine", "cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """A workload, and the card it runs on.

    Args:
        seed: of the card's noise.
        kernel_s: nominal time of each kernel.
        launches: kernels per call.
        prelude_s: host time before the first launch of each call: the framework's and the user's Python.
        launch_s, latency_s, mark_s, sync_s, resolution_s, noise: as in the card's description.
    """

    seed: int
    kernel_s: float
    launches: int
    prelude_s: float
    launch_s: float
    latency_s: float
    mark_s: float
    sync_s: float
    resolution_s: float
    noise: float

    @property
    def truth_s(self) -> float:
        """Device time of a call: the sum of its kernels' nominal times.

        It is what the call costs a device that never waits for its host: kernels of one stream follow each other there
        without a gap, and an event takes none of the device's time. Gaps in which the device waits to be told what to
        do belong to the host, and to wall time. The noise has a median of 1, so the nominal time is the median's truth.
        """
        return self.launches * self.kernel_s

    def machine(self) -> SimulatedBackend:
        """Return a fresh machine with the card."""
        card = Card(
            launch_s=self.launch_s, latency_s=self.latency_s, mark_s=self.mark_s, sync_s=self.sync_s,
            resolution_s=self.resolution_s, noise=self.noise,
        )  # fmt: skip
        return SimulatedBackend((card,), seed=self.seed)

    def build(self, device: Any) -> Callable[[], None]:
        """Build the workload: the host prepares, then launches its kernels one after the other."""

        def call() -> None:
            device.host(self.prelude_s)
            for _ in range(self.launches):
                device.run(cpu=self.kernel_s, gpu=self.kernel_s)

        return call


class OneMachine:
    """Brings one machine in place of the built-in simulated one, as a plugin of the profiler."""

    def __init__(self, machine: SimulatedBackend) -> None:
        self._machine = machine

    @hookimpl
    def pytest_gpuprof_backends(self) -> Sequence[Backend]:
        """Return the machine's backend."""
        return [self._machine]


def cases(count: int, seed: int = 20) -> list[Case]:
    """Return that many workloads; the same ones each time.

    Kernels from 2 µs to 5 ms, log-uniform: from the shortest a card can run to where launching no longer shows. The
    prelude is that of a call from C (1 µs) to one through layers of Python (100 µs). A launch costs 1.5 to 9 µs of host
    time and starts 0.5 to 4 µs later; a synchronization 5 to 40 µs (timing reports of several frameworks' users).
    Resolutions are those of current cards (32 ns), of CUDA's documentation (0.5 µs), and of older cards (1.024 µs).
    """
    rng = random.Random(seed)
    return [
        Case(
            seed=index,
            kernel_s=_log_uniform(rng, 2e-6, 5e-3),
            launches=rng.randint(1, 5),
            prelude_s=_log_uniform(rng, 1e-6, 100e-6),
            launch_s=rng.uniform(1.5e-6, 9e-6),
            latency_s=rng.uniform(0.5e-6, 4e-6),
            mark_s=rng.uniform(0.5e-6, 1.5e-6),
            sync_s=rng.uniform(5e-6, 40e-6),
            resolution_s=rng.choice((32e-9, 0.5e-6, 1.024e-6)),
            noise=rng.uniform(0.0, 0.01),
        )
        for index in range(count)
    ]


def _log_uniform(rng: random.Random, least: float, most: float) -> float:
    return math.exp(rng.uniform(math.log(least), math.log(most)))
