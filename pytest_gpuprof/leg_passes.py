"""The passes that a leg's figures need besides its rounds: memory, leaks, single calls, energy."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from functools import partial

from pytest_gpuprof.assembling import quality_of
from pytest_gpuprof.core.progress import Watch
from pytest_gpuprof.core.protocols import Board, Device, EnergyCounter, PeakMemory
from pytest_gpuprof.core.results import Leg, Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import METRICS_ASKED, Job, Wanted
from pytest_gpuprof.meters.memory import open_host_memory
from pytest_gpuprof.sampling.energy import Instruments, energy_pass
from pytest_gpuprof.sampling.latency import latency_pass
from pytest_gpuprof.sampling.leak import leak_pass
from pytest_gpuprof.sampling.memory import host_memory_pass, memory_pass
from pytest_gpuprof.sampling.passes import PassResult

__all__ = ["LegPasses", "Pass"]

_CHEAP_CALL_S = 1.0
"""The metric "memory" looks for leaks too, unless a call is longer than this: it takes eleven of them."""

Pass = tuple[str, Callable[[], PassResult]]
"""A pass of its own: what it is called while it is taken, and how to take it."""


class LegPasses:
    """Knows which passes a leg needs, and takes them.

    Args:
        job: what is measured.
        wanted: which figures.
        extensions: the parts to measure with.
        board: the sensors of the GPU leg's card, or why there are none.
        periods: how often energy counters are refreshed, as far as that is known; what is learnt is added.
        left_s: tells how many seconds are left for measuring.
        onward: whom a pass tells what it does.
    """

    def __init__(
        self,
        job: Job,
        wanted: Wanted,
        extensions: Extensions,
        board: Board | Reading,
        periods: MutableMapping[str, float],
        left_s: Callable[[], float],
        onward: Watch | None,
    ) -> None:
        self._job = job
        self._wanted = wanted
        self._extensions = extensions
        self._board = board
        self._periods = periods
        self._left_s = left_s
        self._onward = onward

    def of(self, leg: Leg) -> Sequence[Pass]:
        """Return the passes that a leg needs, each with its name."""
        needs = self._wanted.needs[leg]
        passes: list[Pass] = []
        if "memory" in needs:
            passes.append(("peak memory", partial(self._memory, leg)))
        if leg == "gpu" and ("leak" in needs or self._asked_for_memory()):
            longest_call_s = None if "leak" in needs else _CHEAP_CALL_S
            passes.append(("memory gained per call", partial(self._leak, leg, longest_call_s)))
        if calls := self._wanted.latency_calls.get(leg):
            passes.append(("single calls", partial(self._latency, leg, calls)))
        if needs & {"energy", "package energy"} and leg != "reference":
            passes.append(("energy", partial(self._energy, leg)))
        return passes

    def _memory(self, leg: Leg) -> PassResult:
        plan = replace(self._job.legs[leg], cold=False)  # what evicts the cache takes memory itself
        with plan.device.watch_memory() as watched:
            memory: PeakMemory | Reading = _unwatched(plan.device) if watched is None else watched
            if watched is None and plan.device.info.kind == "cpu":
                memory = open_host_memory()
            if isinstance(memory, Reading):
                return PassResult({"memory": memory, "workspace": memory})
            measure = host_memory_pass if watched is None else memory_pass
            return measure(plan, memory, threads=self._job.threads, quality=quality_of(plan.device))

    def _asked_for_memory(self) -> bool:
        return self._job.metrics is not None and self._job.metrics >= METRICS_ASKED["memory"]

    def _leak(self, leg: Leg, longest_call_s: float | None) -> PassResult:
        plan = replace(self._job.legs[leg], cold=False)
        with plan.device.watch_memory() as memory:
            if memory is None:
                return PassResult({"leak": _unwatched(plan.device)})
            return leak_pass(
                plan,
                memory,
                threads=self._job.threads,
                quality=quality_of(plan.device),
                longest_call_s=longest_call_s,
            )

    def _latency(self, leg: Leg, calls: int) -> PassResult:
        plan = self._job.legs[leg]
        plan_of_job = self._job.plan
        return latency_pass(
            plan,
            calls,
            threads=self._job.threads,
            seconds=plan_of_job.max_time_s,
            warmup_s=plan_of_job.warmup_s,
        )

    def _energy(self, leg: Leg) -> PassResult:
        board = self._board
        plan = replace(self._job.legs[leg], cold=False)  # evicting the cache would be counted
        needs = self._wanted.needs[leg]
        wanted: dict[str, EnergyCounter | Reading] = {}
        if leg == "gpu" and "energy" in needs:
            wanted["energy"] = board if isinstance(board, Reading) else board.energy()
        if "package energy" in needs:
            wanted["package_energy"] = self._extensions.package_energy(plan.device)
        net = leg == "gpu" and "net energy" in needs
        readings = {name: each for name, each in wanted.items() if isinstance(each, Reading)}
        if "energy" in readings:
            readings["power"] = readings["energy"]
            readings |= {"net_energy": readings["energy"]} if net else {}
        counters = {name: each for name, each in wanted.items() if not isinstance(each, Reading)}
        if not counters:
            return PassResult(readings)
        sampling = self._job.plan
        longest_s, left_s = sampling.longest_s(timed=False, energy_legs=1, net=net), self._left_s()
        if longest_s > left_s:
            # Windows that are cut short would be another measurement than the one that was asked for.
            why = f"energy takes up to {longest_s:.0f} s on {plan.place}, and {max(0.0, left_s):.0f} s are left"
            late = Reading.unavailable(why, "out of time")
            names = [*counters, *(("power",) if "energy" in counters else ()), *(("net_energy",) if net else ())]
            return PassResult({**dict.fromkeys(names, late), **readings})
        taken = energy_pass(
            plan,
            Instruments(
                counters,
                board if leg == "gpu" and not isinstance(board, Reading) else None,
                self._periods,
                {"energy": f"{self._job.backend} {plan.device.info.id}"},
            ),
            sampling,
            threads=self._job.threads,
            quality=quality_of(plan.device),
            net=net,
            watch=self._onward,
        )
        return replace(taken, readings={**readings, **taken.readings})


def _unwatched(device: Device) -> Reading:
    return Reading.unavailable(device.lacks.get("memory", "the device does not tell its memory"))
