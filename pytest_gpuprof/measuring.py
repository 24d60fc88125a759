"""Measuring a job: rounds, then the passes that are needed, then one profile of it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import BudgetRule
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.protocols import Board, Clock, Device, EnergyCounter, PeakMemory
from pytest_gpuprof.core.results import Caution, Leg, Measurement, Quality, Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import Job, Wanted
from pytest_gpuprof.meters.conditions import board_cautions, host_cautions, host_use
from pytest_gpuprof.meters.memory import open_host_memory
from pytest_gpuprof.sampling.check import compare_outputs
from pytest_gpuprof.sampling.energy import Instruments, energy_pass
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.passes import PassResult, latency_pass, memory_pass
from pytest_gpuprof.sampling.quiet import tracing
from pytest_gpuprof.sampling.sampler import LegRounds, Rounds, take_rounds

__all__ = ["Measuring", "unmeasured"]

_LEGS: tuple[Leg, ...] = ("cpu", "gpu", "reference")

Watch = Callable[[str], None]


class Measuring:
    """Measures one job once.

    Args:
        job: what to measure.
        wanted: which figures.
        extensions: the parts to measure with.
        watch: told what is being done, between timed regions only.
        periods: how often energy counters are refreshed, as far as that is known; what is learnt is added.
    """

    def __init__(
        self,
        job: Job,
        wanted: Wanted,
        extensions: Extensions,
        watch: Watch,
        periods: MutableMapping[str, float] | None = None,
    ) -> None:
        self._job = job
        self._wanted = wanted
        self._extensions = extensions
        self._watch = watch
        self._periods = {} if periods is None else periods
        self._legs = {leg: plan for leg, plan in job.legs.items() if wanted.needs.get(leg)}
        self._output: Any = None

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
        rounds = self._rounds(budgets)
        results = {leg: self._passes(leg, board) for leg in self._legs}
        legs = {leg: _measurement(self._job, leg, rounds, results.get(leg)) for leg in _LEGS}
        cautions = list(doubts)
        if watched is not None:
            conditions, doubtful = watched.end()
            cautions += doubtful
            if legs["gpu"].device is not None:
                legs["gpu"] = replace(legs["gpu"], readings={**legs["gpu"].readings, **conditions})
        cautions += _not_said(cautions, [each for measurement in legs.values() for each in measurement.cautions])
        return _profile(
            self._job,
            legs,
            stop_reason=rounds.stop_reason if rounds else "no rounds were needed",
            cautions=tuple(dict.fromkeys(cautions)),
            environment=self._environment(board),
            output=self._output,
        )

    def _board(self) -> Board | Reading:
        gpu = self._job.legs.get("gpu")
        if gpu is None:
            return Reading.unavailable("there is no GPU leg")
        return self._extensions.board(gpu.device)

    def _environment(self, board: Board | Reading) -> Environment:
        plan = next(iter(self._legs.values()), None)
        facts = Environment() if plan is None else self._extensions.environment(plan.device)
        if isinstance(board, Reading):
            return facts
        of_board = board.facts()
        return Environment({**facts.identity, **of_board.identity}, {**facts.state, **of_board.state})

    # -- rounds and check -------------------------------------------------------------------------------------------

    def _rounds(self, budgets: Sequence[Budget]) -> Rounds | None:
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
            BudgetRule(self._limits(budgets), self._job.amounts.get("items")),
            lambda plan: self._extensions.meters(plan.device, plan.leg),
            threads=self._job.threads,
            compare=compare,
            watch=self._watch,
        )

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
        parts = []
        if "memory" in needs:
            parts.append(self._memory(leg))
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
        plan = self._legs[leg]
        self._watch(f"peak memory on {plan.device.info.id}")
        with plan.device.watch_memory() as watched:
            memory: PeakMemory | Reading | None = watched
            exact = memory is not None
            if memory is None and plan.device.info.kind == "cpu":
                memory = open_host_memory()
            if memory is None:
                memory = Reading.unavailable(plan.device.lacks.get("memory", "the device does not tell its memory"))
            if isinstance(memory, Reading):
                return PassResult({"memory": memory, "workspace": memory})
            return memory_pass(plan, memory, exact=exact, threads=self._job.threads, quality=_quality(plan.device))

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
        plan = self._legs[leg]
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
        taken = energy_pass(
            plan,
            Instruments(
                counters,
                board if leg == "gpu" and not isinstance(board, Reading) else None,
                self._periods,
                {"energy": f"{self._job.backend} {plan.device.info.id}"},
            ),
            self._job.plan,
            threads=self._job.threads,
            quality=_quality(plan.device),
            net=net,
            watch=self._watch,
        )
        return replace(taken, readings={**readings, **taken.readings})


class _Watched:
    """The conditions of board and host over a measurement, from its beginning to :meth:`end`."""

    def __init__(self, board: Board | Reading, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._on_host = clock is SYSTEM_CLOCK  # a simulated machine has no quota and is not slowed by a tracer
        self._began_s = clock.now()
        self._board_before = None if isinstance(board, Reading) else board.conditions()
        self._host_before = host_use()
        self._traced = tracing() if self._on_host else None

    def end(self) -> tuple[Mapping[str, Reading], Sequence[Caution]]:
        """Return the state of the board now, and the doubts about everything since the beginning."""
        seconds = self._clock.now() - self._began_s
        cautions = [self._traced] if self._traced else []
        if self._on_host:
            cautions += host_cautions(self._host_before, host_use(), seconds)
        names = ("sm_clock", "temperature", "other_processes")
        if isinstance(self._board, Reading) or self._board_before is None:
            return {name: self._board for name in names if isinstance(self._board, Reading)}, cautions
        after = self._board.conditions()
        cautions += board_cautions(self._board_before, after, seconds)
        readings = (after.sm_clock_hz, after.temperature_c, after.other_processes)
        return dict(zip(names, readings, strict=True)), cautions


def _not_said(said: Sequence[Caution], more: Sequence[Caution]) -> Sequence[Caution]:
    """Return the doubts of ``more`` that say more than one of the same kind in ``said`` does."""

    def repeats(caution: Caution) -> bool:
        return any(
            each.code == caution.code
            and caution.spoils <= each.spoils
            and (each.legs is None or (caution.legs is not None and caution.legs <= each.legs))
            for each in said
        )

    return [caution for caution in more if not repeats(caution)]


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
        params=job.params,
        not_judged=job.not_judged,
        **facts,
    )


def unmeasured(job: Job, why: str, *, out_of_time: bool = False) -> Profile:
    """Return the profile of a job of which nothing was measured, and why."""
    legs = {leg: _absent(job, leg, why) for leg in _LEGS}
    return _profile(job, legs, stop_reason=why, out_of_time=out_of_time)
