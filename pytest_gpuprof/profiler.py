"""The composition root: what is measured, when it is measured again, and how it is judged.

A :class:`Profiler` belongs to one run: it keeps the opened devices, and remembers which of them a workload has broken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

from pytest_gpuprof.assembling import unmeasured
from pytest_gpuprof.budgets.budget import Budget, Need
from pytest_gpuprof.budgets.figures import reading_of
from pytest_gpuprof.budgets.verdict import confirm, judge
from pytest_gpuprof.ceilings import Ceilings
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import DeviceBusy, GpuprofError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.progress import Watch
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Caution, Leg, Reading, Verdict
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import Job, JobMaker, wanted_by
from pytest_gpuprof.joining import joined, timed_legs
from pytest_gpuprof.measuring import Measuring
from pytest_gpuprof.sampling.legs import built
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import Preflights

__all__ = ["Before", "Exclusive", "Profiler"]

_HOST = "numpy"
"""The backend whose CPU stands for the whole host; it is always installed."""

_MISSED = "measuring again"
_LONGER_WINDOWS = "measuring again in longer windows"
"""Why everything is measured once more: a budget was missed, or an energy was too close to call."""

Exclusive = Callable[[Sequence[Device]], AbstractContextManager[Sequence[Caution]]]
"""Takes devices for oneself while the context lasts, and tells which doubts about that remain."""


class Before(Protocol):
    """Knows what figures were in earlier runs."""

    def __call__(self, test: str, profile: Profile, figures: Sequence[str]) -> Mapping[str, Baseline]:
        """Return the baselines of these figures, by the figure's name.

        Args:
            test: who asked for the profile, its ``owner``.
            profile: what was measured; its conditions decide what it can be compared with.
            figures: by name, e.g. ``"gpu_time"``.
        """


class Profiler:
    """Measures workloads and judges them, over one run.

    Args:
        plugins: objects with hook methods (:mod:`pytest_gpuprof.hookspecs`), for use outside pytest.
        extensions: the parts there are; ``None`` for ours, the installed ones and ``plugins``.
        devices: accelerators by name, as in ``--gpu-profile-devices``; empty for the GPU if there is one.
        backend: the backend for builders that could mean several.
        metrics: what to measure besides what budgets need: ``"time"``, ``"memory"``, ``"energy"``, ``"net-energy"``;
            ``None`` for time where there is no budget.
        plan: how to measure; ``None`` for the defaults.
        peaks: the highest rates of devices by name, in place of calibrated and derived ones, as in
            ``{"NVIDIA H200": {"bandwidth": "4.8 TB/s", "bf16": "989 TFLOP/s"}}``.
        exclusive: takes devices for oneself while measuring.
        watch: told what is being done, between timed regions only; ``None`` if nobody wants to know.
        only_devices_name: whether only ``devices`` names a stand-in, and not the ``devices=`` of a call.
        before: knows what figures were in earlier runs, for ``max_regression``; ``None`` if nobody does.
        left_s: tells how many seconds are left for measuring; energy that would take longer is not measured.

    Raises:
        UsageError: for an unknown metric or peak.
    """

    def __init__(
        self,
        *,
        plugins: Iterable[object] = (),
        extensions: Extensions | None = None,
        devices: Sequence[str] = (),
        backend: str | None = None,
        metrics: Iterable[str] | None = None,
        plan: Plan | None = None,
        peaks: Mapping[str, Mapping[str, Any]] | None = None,
        exclusive: Exclusive = lambda devices: nullcontext(()),
        watch: Watch | None = None,
        only_devices_name: bool = False,
        before: Before | None = None,
        left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.extensions = extensions or Extensions.standalone(plugins)
        self._maker = JobMaker(
            self.extensions.registry,
            devices=devices,
            backend=backend,
            metrics=metrics,
            plan=plan or Plan(),
            only_devices_name=only_devices_name,
        )
        self._ceilings = Ceilings(peaks)
        self._exclusive = exclusive
        self._watch = watch
        self._before = before
        self._broken: dict[tuple[str, str], str] = {}
        self._periods: dict[str, float] = {}  # of energy counters, watched once per run
        self._preflights = Preflights()
        self._left_s = left_s

    def jobs(self, workload: Any, **options: Any) -> list[Job]:
        """Return what would be measured: one job per accelerator. The arguments are those of :func:`profile`."""
        return self._maker.jobs(workload, broken=lambda *device: self._broken.get(device), **options)

    def run_once(self, job: Job, why: str = "profiling is off: run with --gpu-profile") -> Profile:
        """Run the workload once, unmeasured, on the best device there is.

        Without a GPU, the CPU leg runs in place of a GPU builder that cannot.

        Args:
            job: what to run.
            why: nothing is measured, as the end of "unavailable, because …".

        Returns:
            A profile that has an output and no figure.

        Raises:
            Unavailable: if it can run nowhere here.
        """
        leg = job.legs.get("gpu") or job.legs.get("cpu")
        if leg is None:
            for missing in (job.gpu, job.cpu):
                if isinstance(missing, Reading):
                    missing.require(f"a device for {job.name!r}")
        assert leg is not None
        with built(leg) as ready:
            output = ready.call()
            leg.device.synchronize()
        return replace(unmeasured(job, why), output=output)

    def measure(
        self,
        job: Job,
        budgets: Sequence[Budget] = (),
        *,
        owner: str = "",
        deciding: Sequence[Budget] = (),
        again: str = "",
    ) -> Profile:
        """Measure a job and judge its budgets.

        Args:
            job: what to measure.
            budgets: what must hold; what they need is measured.
            owner: who asked (a test), for the message if the workload breaks the device.
            deciding: what decides how many rounds are enough, besides the budgets, and is not judged.
            again: why it is measured once more, empty if it is not.

        Raises:
            OutputsDiffer: if the legs computed different things.
            Exception: whatever the workload raises.
        """
        first = self._measured(job, budgets, owner, deciding=deciding, again=again)
        job, measured = self._with_longer_windows(job, first, budgets, owner)
        measured = self.with_baselines(measured, budgets, owner)
        return measured.with_verdicts(self._judged(job, measured, budgets, owner), _written(budgets))

    def out_of_time(self, job: Job, budgets: Sequence[Budget]) -> Profile:
        """Return the profile of a job for which no time is left: every budget is inconclusive."""
        nothing = unmeasured(job, "the session's time was used up", out_of_time=True)
        return nothing.with_verdicts(tuple(judge(nothing, budget) for budget in budgets), _written(budgets))

    def require(self, job: Job, measured: Profile, budgets: Sequence[Budget], *, owner: str = "") -> Profile:
        """Judge further budgets on a profile; what they need and it lacks, or left open, is measured now.

        Returns:
            The profile with the further readings and verdicts.
        """
        open_ones = [budget for budget in budgets if _is_open(judge(measured, budget))]
        if open_ones and not measured.out_of_time:
            more = self._measured(
                replace(job, metrics=job.metrics or frozenset()), open_ones, owner, timed_legs(measured)
            )
            job, measured = self._with_longer_windows(job, joined(measured, more), budgets, owner)
        measured = self.with_baselines(measured, budgets, owner)
        verdicts = self._judged(job, measured, budgets, owner)
        return measured.with_verdicts((*measured.verdicts, *verdicts), (*measured.budgets, *_written(budgets)))

    def with_baselines(self, measured: Profile, budgets: Sequence[Budget], owner: str = "") -> Profile:
        """Return a profile with what the figures that budgets compare were before; each is looked up once."""
        compared = [budget.metric for budget in budgets if budget.compared is not None]
        figures = [figure for figure in dict.fromkeys(compared) if figure not in measured.baselines]
        if self._before is None or not figures:
            return measured
        return replace(measured, baselines={**measured.baselines, **self._before(owner, measured, figures)})

    def _with_longer_windows(
        self, job: Job, measured: Profile, budgets: Sequence[Budget], owner: str
    ) -> tuple[Job, Profile]:
        """Measure an energy that is too close to call once more, with windows twice as long, and let that decide.

        Once only, and on the new windows alone: looking at growing data until it decides would decide too often.

        Returns:
            The job, with the longer windows if they were taken, and the profile.
        """
        close = [budget for budget in budgets if _longer_windows_may_decide(measured, budget)]
        plan = job.plan.with_longer_windows()
        if not close or plan == job.plan or _energy_s(plan, close) > self._left_s():
            return job, measured
        longer = replace(job, plan=plan)
        more = self._measured(replace(longer, metrics=frozenset()), close, owner, again=_LONGER_WINDOWS)
        return longer, joined(measured, more)

    def _judged(self, job: Job, measured: Profile, budgets: Sequence[Budget], owner: str) -> tuple[Verdict, ...]:
        """Return the verdicts; what is missed is measured again once, after a fresh warm-up, before it counts."""
        verdicts = [judge(measured, budget) for budget in budgets]
        missed = [
            budget
            for budget, verdict in zip(budgets, verdicts, strict=True)
            if verdict.outcome == "missed" and not _repeats_exactly(budget)
        ]
        if not missed:
            return tuple(verdicts)
        again = self._measured(replace(job, metrics=frozenset()), missed, owner, again=_MISSED)
        again = replace(again, baselines=measured.baselines)
        return tuple(
            confirm(verdict, judge(again, budget), budget) if budget in missed else verdict
            for budget, verdict in zip(budgets, verdicts, strict=True)
        )

    def _measured(
        self,
        job: Job,
        budgets: Sequence[Budget],
        owner: str,
        beside: frozenset[Leg] = frozenset(),
        *,
        deciding: Sequence[Budget] = (),
        again: str = "",
    ) -> Profile:
        wanted = wanted_by(job, (*budgets, *deciding), beside)
        watch = self._watch
        if watch is not None and again:
            watch = _saying(watch, again)
        measuring = Measuring(
            job, wanted, self.extensions, self._ceilings, watch, self._periods, self._preflights.of, self._left_s
        )
        devices = [leg.device for leg in job.legs.values()]
        if wanted.legs("package energy"):  # counted for the whole host, whichever leg it is measured on
            devices.append(self.extensions.registry.open(_HOST, DeviceId("cpu")))
        try:
            with self._exclusive(devices) as doubts:
                try:
                    return measuring.run(budgets, doubts, deciding)
                except GpuprofError:
                    raise
                except Exception:
                    self._look_after(job, owner)
                    raise
        except DeviceBusy as busy:
            if not budgets:
                raise
            return unmeasured(job, str(busy), out_of_time=True)

    def _look_after(self, job: Job, owner: str) -> None:
        """Find out whether a failed workload has broken its device for everyone after it."""
        leg = job.legs.get("gpu")
        if leg is None:
            return
        try:
            with leg.device.active():
                leg.device.synchronize()
        except Exception as error:  # whatever a broken context raises: it is broken
            where = str(leg.device.info.id)
            self._broken[(job.backend, where)] = (
                f"{where} was broken by {owner or repr(job.name)} ({type(error).__name__}: {error}); run that one alone"
            )


def _saying(watch: Watch, again: str) -> Watch:
    """Return who is told the same, and why everything is measured once more."""
    return lambda progress: watch(replace(progress, again=again))


def _written(budgets: Sequence[Budget]) -> tuple[Mapping[str, Any], ...]:
    return tuple(budget.as_written for budget in budgets)


def _repeats_exactly(budget: Budget) -> bool:
    """Whether a figure is the same however often it is taken: an allocator's bytes, not what the host has resident."""
    kind = budget.compared or budget.meaning
    return kind.family == "memory" and kind.leg != "cpu"


def _longer_windows_may_decide(profile: Profile, budget: Budget) -> bool:
    """Whether an energy is too close to call, and neither a doubt nor the sensor's own error is why."""
    if budget.compared is not None or not budget.needs & {"energy", "package energy"}:
        return False
    if any(family == "energy" for caution in profile.cautions for family, _ in caution.spoils):
        return False
    verdict = judge(profile, budget)
    if verdict.outcome != "inconclusive" or verdict.limit is None or verdict.observed is None:
        return False
    reading = reading_of(profile, budget.meaning)
    return bool(abs(verdict.limit / verdict.observed - 1) > reading.gain_error)


def _energy_s(plan: Plan, budgets: Sequence[Budget]) -> float:
    """Return how long the energy of these budgets takes at most."""
    needs = frozenset[Need]().union(*(budget.needs for budget in budgets))
    legs = 2 if "package energy" in needs else 1
    return plan.longest_s(timed=False, energy_legs=legs, net="net energy" in needs)


def _is_open(verdict: Verdict) -> bool:
    """Whether measuring (more) could change a verdict: it was not asked for, or noise left it open."""
    return verdict.outcome == "inconclusive" or (verdict.outcome == "unavailable" and verdict.cause == "not asked for")
