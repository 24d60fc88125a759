"""Legs on a simulated machine, and a rule that takes exactly so many rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.progress import Estimate, Progress
from pytest_gpuprof.core.protocols import Meter
from pytest_gpuprof.core.results import Leg, Round
from pytest_gpuprof.core.workload import Workload, as_workload
from pytest_gpuprof.meters.time import WallTime
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.sampler import Rounds, take_rounds

EXACT = Card(noise=0.0)
"""A card whose kernels always take as long as they say."""


def exact_machine(*cards: Card) -> SimulatedBackend:
    """Return a machine without noise on the CPU; without cards, with one exact card."""
    return SimulatedBackend(cards or (EXACT,), cpu_noise=0.0)


def device_of(machine: SimulatedBackend, leg: Leg = "gpu") -> SimulatedDevice:
    """Return the device of a leg."""
    return machine.open(DeviceId("cpu") if leg == "cpu" else DeviceId("simulated"))


def leg_on(
    machine: SimulatedBackend,
    builder: Callable[..., Any] | Workload,
    leg: Leg = "gpu",
    *,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> LegPlan:
    """Return the plan of a leg of this builder."""
    device = device_of(machine, leg)
    workload = builder if isinstance(builder, Workload) else as_workload(builder, **options)
    return LegPlan(leg, workload, device, params or {}, device.random.save())


def legs_on(machine: SimulatedBackend, builder: Callable[..., Any], **options: Any) -> list[LegPlan]:
    """Return the CPU leg and the GPU leg of a builder."""
    return [leg_on(machine, builder, "cpu", **options), leg_on(machine, builder, "gpu", **options)]


def running(seconds: float) -> Callable[..., Any]:
    """Return a builder of work that takes so long on any device."""

    def work(device: Any) -> Callable[[], Any]:
        return lambda: device.run(seconds)

    return work


def kernels(
    seconds: float, launches: int = 1, prelude: float = 0.0, *, synchronizes: bool = False
) -> Callable[..., Any]:
    """Return a builder of a call with so many kernels, of which the host thinks for a while first."""

    def work(device: Any) -> Callable[[], None]:
        def run() -> None:
            device.host(prelude)
            for _ in range(launches):
                device.run(seconds)
            if synchronizes:
                device.synchronize()

        return run

    return work


def meters(plan: LegPlan) -> Sequence[Meter]:
    """Return wall time."""
    return [WallTime(plan.device)]


class After:
    """Enough after so many rounds."""

    estimate: Estimate | None = None

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seen: list[dict[str, int]] = []

    def enough(self, legs: Mapping[str, Sequence[Round]]) -> str | None:
        """Return a reason when the count is reached."""
        self.seen.append({leg: len(rounds) for leg, rounds in legs.items()})
        return "that is enough" if all(len(rounds) >= self.rounds for rounds in legs.values()) else None


def texts(said: Callable[[str], Any]) -> Callable[[Progress], None]:
    """Return a watch that is told in words."""
    return lambda progress: said(str(progress))


def take(legs: Sequence[LegPlan], *, rounds: int = 3, plan: Plan | None = None, **more: Any) -> Rounds:
    """Take rounds on one thread, with device time where there are events."""
    more = {"device_time": ("gpu", "reference"), **more}
    return take_rounds(legs, plan or Plan(), After(rounds), meters, threads=1, **more)
