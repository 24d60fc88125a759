"""Measuring a job: rounds, then the passes that are needed, then one profile of it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_gpuprof.assembling import LEGS, measurement_of, profile_of, quality_of
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.stopping import BudgetRule
from pytest_gpuprof.ceilings import Ceilings, beyond_peak
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.progress import Progress, Watch
from pytest_gpuprof.core.protocols import Board, FlopCounter
from pytest_gpuprof.core.results import Caution, Leg, Quality, Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import Job, Wanted
from pytest_gpuprof.leg_passes import LegPasses, Pass
from pytest_gpuprof.meters.conditions import setting_cautions
from pytest_gpuprof.sampling.check import compare_outputs
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.passes import PassResult, flops_pass
from pytest_gpuprof.sampling.preflight import preflight
from pytest_gpuprof.sampling.sampler import Rounds, take_rounds
from pytest_gpuprof.sampling.turn import EventsOf
from pytest_gpuprof.watching import Watched, not_said

__all__ = ["Measuring"]

_NOT_FIRST = Reading.unavailable("the FLOPs were counted before the rounds, so no timed call was the first")


class Measuring:
    """Measures one job once.

    Args:
        job: what to measure.
        wanted: which figures.
        extensions: the parts to measure with.
        ceilings: what devices can do at most.
        watch: told what is being done, between timed regions only; ``None`` if nobody wants to know.
        periods: how often energy counters are refreshed, as far as that is known; what is learnt is added.
        events_of: tells what the events of a device are good for.
        left_s: tells how many seconds are left for measuring.
    """

    def __init__(
        self,
        job: Job,
        wanted: Wanted,
        extensions: Extensions,
        ceilings: Ceilings,
        watch: Watch | None,
        periods: MutableMapping[str, float] | None = None,
        events_of: EventsOf = preflight,
        left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._job = job
        self._wanted = wanted
        self._extensions = extensions
        self._ceilings = ceilings
        self._watch = watch
        self._periods = {} if periods is None else periods
        self._events_of = events_of
        self._left_s = left_s
        self._legs = {leg: plan for leg, plan in job.legs.items() if wanted.needs.get(leg)}
        self._output: Any = None
        self._peaks: Mapping[str, Reading] = {}
        self._counted = PassResult()
        self._ahead: list[str] = []  # what comes after what is done now

    def run(self, budgets: Sequence[Budget], doubts: Sequence[Caution], deciding: Sequence[Budget] = ()) -> Profile:
        """Return the profile, not judged yet.

        Args:
            budgets: rounds are taken until these are decided.
            deciding: and until these are, which nobody judges.
            doubts: what is already doubtful, e.g. other workers on this machine.

        Raises:
            Whatever the workload raises.
        """
        board = self._board()
        watched = Watched(board, next(iter(self._legs.values())).device.clock) if self._legs else None
        self._peaks, unsure = self._find_peaks()
        first = any("flop count" in budget.needs for budget in budgets)  # to decide by, these have to be known
        if first:
            self._count_flops()
        passes_of = LegPasses(
            self._job, self._wanted, self._extensions, board, self._periods, self._left_s, self._onward()
        ).of
        passes = {leg: passes_of(leg) for leg in self._legs}
        self._ahead = [phase for parts in passes.values() for phase, _ in parts]
        rounds = self._rounds(budgets, deciding, watched)
        if not first:
            self._count_flops()
        results = {leg: self._results(leg, parts) for leg, parts in passes.items()}
        legs = {leg: measurement_of(self._job, leg, rounds, results.get(leg)) for leg in LEGS}
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
        cautions += not_said(cautions, [each for measurement in legs.values() for each in measurement.cautions])
        taken = profile_of(
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
        # The legs may be of different frameworks: each tells its settings. Those that nothing is measured on this time
        # do too, or another budget, which needs another leg, would be another machine.
        for plan in self._job.legs.values():
            facts |= self._extensions.environment(plan.device)
        facts |= Environment({"cache": self._job.plan.cache})  # cold calls are slower; nothing else planned moves them
        return facts if isinstance(board, Reading) else facts | board.facts()

    def _tell(self, phase: str, plan: LegPlan | None = None) -> None:
        onward = self._onward()
        if onward is not None:
            onward(Progress(phase, "" if plan is None else str(plan.device.info.id)))

    def _onward(self) -> Watch | None:
        """Return whom a part of the measurement tells what it does; what comes after it is added."""
        watch = self._watch
        if watch is None:
            return None
        return lambda progress: watch(replace(progress, then=tuple(dict.fromkeys(self._ahead))))

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
            self._tell("counting FLOPs", plan)
            quality: Quality = "simulated" if quality_of(plan.device) == "simulated" else "estimated"
            self._counted = flops_pass(plan, counter, threads=self._job.threads, quality=quality)

    # -- rounds and check -------------------------------------------------------------------------------------------

    def _rounds(self, budgets: Sequence[Budget], deciding: Sequence[Budget], watched: Watched | None) -> Rounds | None:
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
            BudgetRule(
                self._limits(budgets, deciding),
                self._job.amounts.get("items"),
                work=self._work(),
                stand_in=self._stand_in(),
                in_vain=self._job.measures_in_vain(budgets, deciding),
            ),
            lambda plan: self._extensions.meters(plan.device, plan.leg),
            threads=self._job.threads,
            device_time=self._wanted.legs("device events"),
            transfers=[leg for leg in self._wanted.legs("transfers") if leg == "gpu"],  # the CPU's data is there
            compare=compare,
            observe=watched.observe if watched else lambda _: {},
            board=watched,
            events_of=self._events_of,
            watch=self._onward(),
        )

    def _stand_in(self) -> str:
        gpu = self._job.legs.get("gpu")
        return "" if gpu is None else gpu.device.info.why_stand_in or ""

    def _work(self) -> Mapping[str, Any]:
        """Return what the figures of the rounds need besides the rounds."""
        flops, counted = self._job.amounts.get("flops"), self._counted.readings.get("flops")
        return {
            "flops": counted.value if flops is None and counted is not None else flops,
            "bytes": self._job.amounts.get("bytes"),
            "precision": self._job.precision,
            "peaks": self._peaks,
        }

    def _limits(self, budgets: Sequence[Budget], deciding: Sequence[Budget]) -> list[tuple[Budget, float]]:
        """Return what can be decided and has a limit on this device, with it."""
        found = []
        for budget in (*filter(self._job.can_judge, budgets), *filter(self._job.can_run, deciding)):
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
        self._tell("comparing outputs")
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

    def _results(self, leg: Leg, passes: Sequence[Pass]) -> PassResult:
        """Take the passes of a leg, and return what they yielded together."""
        parts = [self._counted] if "flop count" in self._wanted.needs[leg] else []
        for phase, take in passes:
            self._ahead.pop(0)
            self._tell(phase, self._legs[leg])
            parts.append(take())
        return PassResult(
            {name: reading for part in parts for name, reading in part.readings.items()},
            {name: series for part in parts for name, series in part.series.items()},
            tuple(caution for part in parts for caution in part.cautions),
            sum(part.calls for part in parts),
        )
