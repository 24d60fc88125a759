"""Measuring a job: rounds, then the passes that are needed, then one profile of it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import BudgetRule
from pytest_gpuprof.ceilings import Ceilings, beyond_peak
from pytest_gpuprof.core.environment import Environment, Fact
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.protocols import Board, Clock, Conditions, Device, EnergyCounter, FlopCounter, PeakMemory
from pytest_gpuprof.core.results import Caution, Leg, Measurement, Quality, Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import METRICS_ASKED, Job, Wanted
from pytest_gpuprof.meters.conditions import (
    board_cautions,
    board_state,
    clock_cautions,
    clock_under_load,
    setting_cautions,
)
from pytest_gpuprof.meters.host_use import host_cautions, host_state, host_use
from pytest_gpuprof.meters.memory import open_host_memory
from pytest_gpuprof.sampling.check import compare_outputs
from pytest_gpuprof.sampling.latency import latency_pass
from pytest_gpuprof.sampling.leak import leak_pass
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.memory import host_memory_pass, memory_pass
from pytest_gpuprof.sampling.passes import PassResult, energy_pass, flops_pass
from pytest_gpuprof.sampling.quiet import tracing
from pytest_gpuprof.sampling.sampler import LegRounds, Rounds, take_rounds

__all__ = ["Measuring", "unmeasured"]

_LEGS: tuple[Leg, ...] = ("cpu", "gpu", "reference")

_NOT_FIRST = Reading.unavailable("the FLOPs were counted before the rounds, so no timed call was the first")

_CHEAP_CALL_S = 1.0
"""The metric "memory" looks for leaks too, unless a call is longer than this: it takes eleven of them."""

Watch = Callable[[str], None]


class Measuring:
    """Measures one job once.

    Args:
        job: what to measure.
        wanted: which figures.
        extensions: the parts to measure with.
        ceilings: what devices can do at most.
        watch: told what is being done, between timed regions only.
    """

    def __init__(self, job: Job, wanted: Wanted, extensions: Extensions, ceilings: Ceilings, watch: Watch) -> None:
        self._job = job
        self._wanted = wanted
        self._extensions = extensions
        self._ceilings = ceilings
        self._watch = watch
        self._legs = {leg: plan for leg, plan in job.legs.items() if wanted.needs.get(leg)}
        self._output: Any = None
        self._peaks: Mapping[str, Reading] = {}
        self._counted = PassResult()

    def run(self, budgets: Sequence[Budget], doubts: Sequence[Caution]) -> Profile:
        """Return the profile, not judged yet.

        Args:
            budgets: rounds are taken until these are decided.
            doubts: what is already doubtful, e.g. other workers on this machine.

        Raises:
            Whatever the workload raises.
        """
        board = self._board()
        watched = _Watched(board, next(iter(self._legs.values())).device.clock) if self._legs else None
        self._peaks, unsure = self._find_peaks()
        first = any("flop count" in budget.needs for budget in budgets)  # to decide by, these have to be known
        if first:
            self._count_flops()
        rounds = self._rounds(budgets, watched)
        if not first:
            self._count_flops()
        results = {leg: self._passes(leg, board) for leg in self._legs}
        legs = {leg: _measurement(self._job, leg, rounds, results.get(leg)) for leg in _LEGS}
        for leg in self._wanted.legs("flop count") if first and self._counted.calls else ():
            if "first_call" in legs[leg].readings:
                legs[leg] = replace(legs[leg], readings={**legs[leg].readings, "first_call": _NOT_FIRST})
        environment = self._environment(board)
        cautions = [*doubts, *unsure, *setting_cautions(environment.identity)]
        if watched is not None:
            conditions, doubtful, state = watched.end(energy=bool(self._wanted.legs("energy")))
            cautions += doubtful
            environment |= state
            if legs["gpu"].device is not None:
                legs["gpu"] = replace(legs["gpu"], readings={**legs["gpu"].readings, **conditions})
        cautions += [caution for measurement in legs.values() for caution in measurement.cautions]
        taken = _profile(
            self._job,
            legs,
            peaks=self._peaks,
            stop_reason=rounds.stop_reason if rounds else "no rounds were needed",
            cautions=tuple(dict.fromkeys(cautions)),
            environment=environment,
            output=self._output,
        )
        beyond = beyond_peak(taken)
        gpu = replace(taken.gpu, cautions=(*taken.gpu.cautions, *beyond))  # it goes when the rounds go
        return replace(taken, gpu=gpu, cautions=(*taken.cautions, *beyond)) if beyond else taken

    def _board(self) -> Board | Reading:
        gpu = self._job.legs.get("gpu")
        if gpu is None:
            return Reading.unavailable("there is no GPU leg")
        return self._extensions.board(gpu.device)

    def _environment(self, board: Board | Reading) -> Environment:
        facts = Environment()
        for plan in self._legs.values():  # the legs may be of different frameworks: each tells its settings
            facts |= self._extensions.environment(plan.device)
        return facts if isinstance(board, Reading) else facts | board.facts()

    # -- work and limits --------------------------------------------------------------------------------------------

    def _find_peaks(self) -> tuple[Mapping[str, Reading], Sequence[Caution]]:
        """Return the peaks of the GPU leg's device if the workload says how much work it does, and the doubts."""
        job, gpu = self._job, self._legs.get("gpu")
        declared = job.workload.counts_flops or any(job.amounts.get(what) for what in ("flops", "bytes"))
        if gpu is None or not declared:
            return {}, ()
        return self._ceilings.of(gpu.device.info, self._extensions.facts(gpu.device), job.precision)

    def _count_flops(self) -> None:
        """Count the FLOPs of one call where that is wanted, on a leg built for nothing else."""
        for leg in self._wanted.legs("flop count"):
            plan = self._legs[leg]
            counter: FlopCounter | None = getattr(plan.device, "flop_counter", None)
            if counter is None:
                why = f"nothing counts the FLOPs of {plan.device.info.backend}; give flops= yourself"
                self._counted = PassResult({"flops": Reading.unavailable(why)})
                continue
            self._watch(f"counting FLOPs on {plan.device.info.id}")
            quality: Quality = "simulated" if _quality(plan.device) == "simulated" else "estimated"
            self._counted = flops_pass(plan, counter, threads=self._job.threads, quality=quality)

    # -- rounds and check -------------------------------------------------------------------------------------------

    def _rounds(self, budgets: Sequence[Budget], watched: _Watched | None) -> Rounds | None:
        timed = [self._legs[leg] for leg in self._wanted.legs("rounds")]
        checked = self._job.check is not False and {"cpu", "gpu"} <= self._job.legs.keys()
        compare = self._compare if checked else self._keep
        if checked and {plan.leg for plan in timed} >= {"cpu", "gpu"}:
            checked = False  # the first calls of the rounds are compared
        if checked:
            self._compare({leg: self._output_of(leg) for leg in ("cpu", "gpu")})
            compare = self._keep
        if not timed:
            return None
        return take_rounds(
            timed,
            self._job.plan,
            BudgetRule(self._limits(budgets), self._job.amounts.get("items"), work=self._work()),
            lambda plan: self._extensions.meters(plan.device, plan.leg),
            threads=self._job.threads,
            device_time=self._wanted.legs("device events"),
            transfers=[leg for leg in self._wanted.legs("transfers") if leg == "gpu"],  # the CPU's data is there
            compare=compare,
            observe=watched.observe if watched else lambda _: {},
            watch=self._watch,
        )

    def _work(self) -> Mapping[str, Any]:
        """Return what the figures of the rounds need besides the rounds."""
        flops, counted = self._job.amounts.get("flops"), self._counted.readings.get("flops")
        return {
            "flops": counted.value if flops is None and counted is not None else flops,
            "bytes": self._job.amounts.get("bytes"),
            "precision": self._job.precision,
            "peaks": self._peaks,
        }

    def _limits(self, budgets: Sequence[Budget]) -> list[tuple[Budget, float]]:
        """Return the budgets that have a limit on this device, with it."""
        found = []
        for budget in budgets:
            leg = self._job.legs.get("gpu" if "gpu" in budget.meaning.legs else "cpu")
            limit = None if leg is None else budget.limit_for(leg.device.info)
            if limit is not None:
                found.append((budget, limit))
        return found

    def _output_of(self, leg: Leg) -> Any:
        plan = self._job.legs[leg]
        with built(plan) as ready:
            output = ready.call()
            plan.device.synchronize()
            return output

    def _compare(self, outputs: Mapping[Leg, Any]) -> None:
        self._keep(outputs)
        legs = self._job.legs
        compare_outputs(
            self._job.name,
            outputs["cpu"],
            outputs["gpu"],
            self._job.check,
            (legs["cpu"].device.arrays, legs["gpu"].device.arrays),
        )

    def _keep(self, outputs: Mapping[Leg, Any]) -> None:
        self._output = outputs.get("gpu", outputs.get("cpu"))

    # -- passes -----------------------------------------------------------------------------------------------------

    def _passes(self, leg: Leg, board: Board | Reading) -> PassResult:
        needs = self._wanted.needs[leg]
        parts = [self._counted] if "flop count" in needs else []
        if "memory" in needs:
            parts.append(self._memory(leg))
        if leg == "gpu" and ("leak" in needs or self._asked_for_memory()):
            parts.append(self._leak(leg, longest_call_s=None if "leak" in needs else _CHEAP_CALL_S))
        if self._wanted.latency_calls.get(leg):
            parts.append(self._latency(leg, self._wanted.latency_calls[leg]))
        if needs & {"energy", "package energy"} and leg != "reference":
            parts.append(self._energy(leg, board))
        return PassResult(
            {name: reading for part in parts for name, reading in part.readings.items()},
            {name: series for part in parts for name, series in part.series.items()},
            tuple(caution for part in parts for caution in part.cautions),
            sum(part.calls for part in parts),
        )

    def _memory(self, leg: Leg) -> PassResult:
        plan = replace(self._legs[leg], cold=False)  # what evicts the cache takes memory itself
        self._watch(f"peak memory on {plan.device.info.id}")
        with plan.device.watch_memory() as watched:
            memory: PeakMemory | Reading = _unwatched(plan.device) if watched is None else watched
            if watched is None and plan.device.info.kind == "cpu":
                memory = open_host_memory()
            if isinstance(memory, Reading):
                return PassResult({"memory": memory, "workspace": memory})
            measure = host_memory_pass if watched is None else memory_pass
            return measure(plan, memory, threads=self._job.threads, quality=_quality(plan.device))

    def _asked_for_memory(self) -> bool:
        return self._job.metrics is not None and self._job.metrics >= METRICS_ASKED["memory"]

    def _leak(self, leg: Leg, longest_call_s: float | None) -> PassResult:
        plan = replace(self._legs[leg], cold=False)
        self._watch(f"memory gained per call on {plan.device.info.id}")
        with plan.device.watch_memory() as memory:
            if memory is None:
                return PassResult({"leak": _unwatched(plan.device)})
            return leak_pass(
                plan,
                memory,
                threads=self._job.threads,
                quality=_quality(plan.device),
                longest_call_s=longest_call_s,
            )

    def _latency(self, leg: Leg, calls: int) -> PassResult:
        plan = self._legs[leg]
        self._watch(f"{calls} single calls on {plan.device.info.id}")
        plan_of_job = self._job.plan
        return latency_pass(
            plan,
            calls,
            threads=self._job.threads,
            seconds=plan_of_job.max_time_s,
            warmup_s=plan_of_job.warmup_s,
        )

    def _energy(self, leg: Leg, board: Board | Reading) -> PassResult:
        plan = replace(self._legs[leg], cold=False)  # evicting the cache would be counted
        needs = self._wanted.needs[leg]
        wanted: dict[str, EnergyCounter | Reading] = {}
        if leg == "gpu" and "energy" in needs:
            wanted["energy"] = board if isinstance(board, Reading) else board.energy()
        if "package energy" in needs:
            wanted["package_energy"] = self._extensions.package_energy(plan.device)
        readings = {name: each for name, each in wanted.items() if isinstance(each, Reading)}
        if "energy" in readings:
            readings["power"] = readings["energy"]
        counters = {name: each for name, each in wanted.items() if not isinstance(each, Reading)}
        if not counters:
            return PassResult(readings)
        taken = energy_pass(
            plan, counters, self._job.plan, threads=self._job.threads, quality=_quality(plan.device), watch=self._watch
        )
        return PassResult({**readings, **taken.readings}, calls=taken.calls)


class _Watched:
    """The conditions of board and host over a measurement, from its beginning to :meth:`end`."""

    def __init__(self, board: Board | Reading, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._on_host = clock is SYSTEM_CLOCK  # a simulated machine has no quota and is not slowed by a tracer
        self._began_s = clock.now()
        self._board_before = None if isinstance(board, Reading) else board.conditions()
        self._host_before = host_use()
        self._seen: list[Conditions] = []
        self._traced = tracing() if self._on_host else None

    def observe(self, plan: LegPlan) -> Mapping[str, float]:
        """Return what the board says at the end of a leg's turn, and keep it for the doubts at the end."""
        if plan.leg == "cpu" or isinstance(self._board, Reading):
            return {}
        now = self._board.conditions()
        self._seen.append(now)
        clock = clock_under_load(now).value
        return {} if clock is None else {"sm_clock": clock}

    def end(self, *, energy: bool) -> tuple[Mapping[str, Reading], Sequence[Caution], Environment]:
        """Return the readings of the board now, the doubts about everything since the beginning, and what it was like.

        Args:
            energy: whether joules were measured, which others on the board would have a share in.
        """
        seconds = self._clock.now() - self._began_s
        cautions = [self._traced] if self._traced else []
        state: dict[str, Fact] = {}
        if self._on_host:
            host = host_use()
            cautions += host_cautions(self._host_before, host, seconds)
            state |= host_state(self._host_before, host, seconds)
        names = ("sm_clock", "temperature", "other_processes")
        if isinstance(self._board, Reading) or self._board_before is None:
            readings = {name: self._board for name in names if isinstance(self._board, Reading)}
            return readings, cautions, Environment(state=state)
        after = self._board.conditions()
        cautions += board_cautions(self._board_before, self._most_shared(after), seconds, energy=energy)
        cautions += clock_cautions([clock_under_load(each) for each in self._seen])
        state |= board_state(self._board_before, after, seconds)
        readings = dict(zip(names, (after.sm_clock_hz, after.temperature_c, after.other_processes), strict=True))
        return readings, cautions, Environment(state=state)

    def _most_shared(self, after: Conditions) -> Conditions:
        """Return the last state with the most other processes that any look saw: one may have come and gone."""
        looks = [each.other_processes for each in (*self._seen, after) if each.other_processes.value is not None]
        if after.other_processes.value is None or not looks:
            return after
        most = max(looks, key=lambda each: (each.value or 0.0, each.quality == "estimated"))
        return replace(after, other_processes=most)


def _unwatched(device: Device) -> Reading:
    return Reading.unavailable(device.lacks.get("memory", "the device does not tell its memory"))


def _quality(device: Device) -> Quality:
    return "simulated" if device.info.why_stand_in == "simulated" else "measured"


def _measurement(job: Job, leg: Leg, rounds: Rounds | None, passes: PassResult | None) -> Measurement:
    plan = job.legs.get(leg)
    timed = None if rounds is None else rounds.legs.get(leg)
    if plan is None or (timed is None and passes is None):
        return _absent(job, leg, None)
    readings: dict[str, Reading] = {}
    if timed is not None:
        readings["first_call"] = Reading(timed.first_call_s, quality=_quality(plan.device))
        readings |= _without_events(plan, timed)
    result = passes or PassResult()
    return Measurement(
        leg,
        plan.device.info,
        timed.rounds if timed else (),
        readings | dict(result.readings),
        result.series,
        calls=(timed.calls if timed else 0) + result.calls,
        cautions=(*(timed.cautions if timed else ()), *result.cautions),
    )


def _without_events(plan: LegPlan, timed: LegRounds) -> dict[str, Reading]:
    """Return why there is no device time: no events, or work that they do not see."""
    if plan.device.timer is None:
        return {"device_time": Reading.unavailable(plan.device.lacks.get("timer", "the device has no events"))}
    if timed.probe.escapes:
        return {"device_time": Reading.unavailable("work finished on another stream, which the events do not see")}
    return {}


def _absent(job: Job, leg: Leg, why: str | None) -> Measurement:
    part = {"cpu": job.cpu, "gpu": job.gpu, "reference": job.reference}[leg]
    if isinstance(part, Reading):
        return Measurement(leg, None, missing=part)
    if part is None:
        return Measurement.absent(leg, "there is no reference=")
    return Measurement.absent(leg, why or "nothing asked for this leg: name it in a budget or --gpu-profile-metrics")


def _profile(job: Job, legs: Mapping[Leg, Measurement], **facts: Any) -> Profile:
    return Profile(
        job.name,
        legs["cpu"],
        legs["gpu"],
        legs["reference"],
        backend=job.backend,
        threads=job.threads,
        items=job.amounts.get("items"),
        flops=job.amounts.get("flops"),
        bytes=job.amounts.get("bytes"),
        counts_flops=job.workload.counts_flops,
        precision=job.precision,
        params=job.params,
        not_judged=job.not_judged,
        **facts,
    )


def unmeasured(job: Job, why: str, *, out_of_time: bool = False) -> Profile:
    """Return the profile of a job of which nothing was measured, and why."""
    legs = {leg: _absent(job, leg, why) for leg in _LEGS}
    return _profile(job, legs, stop_reason=why, out_of_time=out_of_time)
