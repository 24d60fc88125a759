"""Sweeps: measuring a workload at several sizes, and where the GPU starts to win. :func:`sweep` lives here.

Each size takes as many rounds as it needs to tell which leg is faster there: far from the crossover three, close to it
more. A missed ``max_crossover`` is judged again after the sizes on which it rests were measured a second time.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pytest_gpuprof.budgets.budget import Budget, Kind, merge
from pytest_gpuprof.budgets.crossover import is_of_sweep
from pytest_gpuprof.budgets.verdict import confirm, doubts_about, judge
from pytest_gpuprof.core.errors import BudgetError, BudgetMissed, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Reading
from pytest_gpuprof.core.scaling import Crossover, Growth, Point, Scaling
from pytest_gpuprof.core.sizes import Sizes
from pytest_gpuprof.core.sweep import Sweep
from pytest_gpuprof.job import Job
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.profiling import LaterJudge, profile
from pytest_gpuprof.stats.crossover import crossover_of
from pytest_gpuprof.stats.decision import mean_interval
from pytest_gpuprof.stats.growth import FEWEST, growth_of

__all__ = ["FASTER", "judged", "limits_of_sweep", "remeasured", "scaled", "sweep"]

FASTER: Final = Budget("min_speedup", 1)
"""What decides how many rounds a size takes: whether the GPU is faster there."""

_LEAST_S: Final = 0.1
"""What is missed at the end of the session's time is measured again all the same, for so many seconds a size."""

_TOO_FEW = Reading.unavailable(f"a growth takes {FEWEST} sizes at least")


def scaled(parameter: str, profiles: Mapping[float, Profile]) -> Scaling:
    """Return what the profiles of a sweep tell together.

    Args:
        parameter: what was swept.
        profiles: by size, the smallest first.
    """
    points = tuple(_point(size, each) for size, each in profiles.items())
    speedups = [point.speedup for point in points]
    missing = next((reading for reading in speedups if reading.value is None), None)
    crossover: Crossover | Reading = (
        crossover_of([point.size for point in points], *_logarithms(speedups)) if missing is None else missing
    )
    growth = {"cpu": _growth(points, [point.cpu for point in points])}
    growth["gpu"] = _growth(points, [point.gpu for point in points])
    others = list(profiles.values())[:-1]
    doubts = [doubt for each in others for doubt in doubts_about(each.cautions, FASTER.meaning)]
    return Scaling(parameter, points, crossover, growth, tuple(dict.fromkeys(doubts)))


def _point(size: float, profile: Profile) -> Point:
    speedup = _bounded(
        profile.ratio("speedup"), profile.ratio_per_round("speedup")[1], profile.overhead_of_ratio("speedup")
    )
    return Point(size, _leg(profile.cpu), _leg(profile.gpu), speedup)


def _leg(leg: Measurement) -> Reading:
    bias = math.log1p(leg.overhead_bound("wall_time"))
    return _bounded(leg.reading("wall_time"), leg.per_round("wall_time"), bias)


def _bounded(reading: Reading, values: Sequence[float], bias: float) -> Reading:
    """Return a reading with the interval that its rounds give it; one round gives none."""
    if reading.value is None or len(values) < 2:
        return reading
    _, low, high = mean_interval([math.log(value) for value in values], bias=bias)
    return replace(reading, interval=(math.exp(low), math.exp(high)))


def _logarithms(readings: Sequence[Reading]) -> tuple[list[float], list[float]]:
    """Return the logarithm of each reading, and half the width of its interval; infinite without one."""
    margins = [math.log(reading.require("a speedup")) for reading in readings]
    halves = [
        math.inf if reading.interval is None else math.log(reading.interval[1] / reading.interval[0]) / 2
        for reading in readings
    ]
    return margins, halves


def _growth(points: Sequence[Point], times: Sequence[Reading]) -> Growth | Reading:
    missing = next((reading for reading in times if reading.value is None), None)
    if missing is not None:
        return missing
    if len(points) < FEWEST:
        return _TOO_FEW
    logarithms, halves = _logarithms(times)
    errors = [half / 2 if math.isfinite(half) else 0.0 for half in halves]  # the interval is one of two errors each way
    return growth_of([point.size for point in points], [math.exp(each) for each in logarithms], errors)


# -- judging ----------------------------------------------------------------------------------------------------------


def limits_of_sweep(limits: Mapping[str, Any], kinds: Mapping[str, Kind]) -> tuple[Budget, ...]:
    """Return limits on a sweep as budgets.

    Raises:
        BudgetError: for one that limits something else, or cannot be meant.
    """
    budgets: tuple[Budget, ...] = merge([limits], kinds)
    for budget in budgets:
        if not is_of_sweep(budget):
            raise BudgetError(
                f"{budget.keyword} limits one size, not a sweep; require it of its profile: "
                f"sweep[2048].require({budget.keyword}=…)"
            )
    return budgets


def remeasured(
    profiler: Profiler, jobs: Mapping[float, Job], owner: str = "", left_s: Callable[[], float] = lambda: math.inf
) -> Callable[[Iterable[float]], dict[float, Profile]]:
    """Return how sizes are measured a second time: which leg is faster, and nothing else.

    Args:
        profiler: of the run.
        jobs: by size.
        owner: who asked.
        left_s: tells how many seconds are left for measuring.
    """

    def again(size: float) -> Profile:
        job = replace(jobs[size], metrics=frozenset())
        most_s = max(_LEAST_S, min(job.plan.max_time_s, left_s()))
        job = replace(job, plan=job.plan.with_(max_time_s=most_s))
        return profiler.measure(job, owner=owner, deciding=[FASTER], again=f"measuring {job.name} again")

    return lambda sizes: {size: again(size) for size in sizes}


def judged(
    profiles: Mapping[float, Profile],
    budgets: Sequence[Budget],
    profiler: Profiler,
    again: Callable[[Iterable[float]], Mapping[float, Profile]],
    owner: str = "",
) -> Profile:
    """Return the profile of the largest size with the verdicts on the sweep.

    Args:
        profiles: by size, the smallest first; the largest has the scaling.
        budgets: limits on the sweep.
        profiler: of the run.
        again: measures sizes a second time.
        owner: who asked.
    """
    largest = profiler.with_baselines(profiles[max(profiles)], budgets, owner)
    assert largest.scaling is not None
    verdicts = [judge(largest, budget) for budget in budgets]
    if any(verdict.outcome == "missed" for verdict in verdicts):
        parameter = largest.scaling.parameter
        measured = again(_around(largest.scaling))
        second = scaled(parameter, {**profiles, **measured})
        repeated = replace(measured.get(max(profiles), largest), scaling=second, baselines=largest.baselines)
        verdicts = [
            confirm(verdict, judge(repeated, budget), budget) if verdict.outcome == "missed" else verdict
            for verdict, budget in zip(verdicts, budgets, strict=True)
        ]
    written_now = tuple(budget.as_written for budget in budgets)
    return largest.with_verdicts((*largest.verdicts, *verdicts), (*largest.budgets, *written_now))


def _around(scaling: Scaling) -> list[float]:
    """Return the sizes on which a crossover rests: the two between which it lies, else the one at the end."""
    sizes = [point.size for point in scaling.points]
    found = scaling.crossover
    if isinstance(found, Reading) or found.size is None:
        return sizes[-1:]
    below = [size for size in sizes if size <= found.size]
    above = [size for size in sizes if size > found.size]
    return [*below[-1:], *above[:1]]


# -- outside pytest ---------------------------------------------------------------------------------------------------


def sweep(
    workload: Any, *, budgets: Budget | Sequence[Budget] = (), profiler: Profiler | None = None, **options: Any
) -> Sweep:
    """Measure a workload at several sizes on the CPU and on an accelerator.

    Args:
        workload: a builder with a parameter for the size, or a workload.
        budgets: what must hold of the sweep, as in ``Budget("max_crossover", 512)``.
        profiler: the run it belongs to; ``None`` for one of its own.
        options: the sizes, as a list under the name of the builder's parameter, and what :func:`pytest_gpuprof.profile`
            takes. What is declared as a function (``flops=lambda n: 2 * n**3``) is computed for each size.

    Returns:
        The sweep with its verdicts. Nothing is raised for a missed budget; ``sweep.require(…)`` does that.

    Raises:
        UsageError: if something cannot be meant.
        OutputsDiffer: if the legs computed different things.

    >>> def product(device, n):
    ...     return lambda: device.run(cpu=1e-9 * n**3, gpu=1e-4 + 1e-11 * n**3)
    >>> found = sweep(product, n=[16, 32, 64, 128], backend="simulated", devices="simulated:0")
    >>> round(found.crossover)
    47
    >>> found.require(max_crossover=64).verdicts[-1].outcome
    'met'
    """
    run = profiler or Profiler()
    known = inspect.signature(profile).parameters.keys() - {"workload", "budgets", "profiler"}
    sizes = Sizes.of(workload, options, known=known, servants=run.extensions.registry.parameters)
    wanted = (budgets,) if isinstance(budgets, Budget) else tuple(budgets)
    for budget in wanted:
        if not is_of_sweep(budget):
            raise BudgetError(f"{budget.keyword} limits one size, not a sweep; give it to profile() at that size")
    swept = sizes.jobs(lambda **each: run.jobs(workload, **each))
    if len(swept) > 1:
        raise UsageError(
            f"devices={options.get('devices')!r} names {len(swept)} accelerators; a sweep has one, so call it for each"
        )
    (jobs,) = swept
    profiles = {size: run.measure(job, deciding=[FASTER]) for size, job in jobs.items()}
    profiles = {size: replace(each, judge=LaterJudge(run, jobs[size])) for size, each in profiles.items()}
    largest = max(profiles)
    profiles[largest] = replace(profiles[largest], scaling=scaled(sizes.parameter, profiles))
    judge_of = _LibraryJudge(run, jobs)
    profiles[largest] = replace(judged(profiles, wanted, run, remeasured(run, jobs)), judge=profiles[largest].judge)
    scaling = profiles[largest].scaling
    assert scaling is not None
    return Sweep(sizes.name, profiles, scaling, judge_of)


class _LibraryJudge:
    """Judges further limits for somebody who uses the library without pytest."""

    def __init__(self, profiler: Profiler, jobs: Mapping[float, Job]) -> None:
        self._profiler = profiler
        self._jobs = jobs

    def require(self, swept: Sweep, limits: Mapping[str, Any]) -> Sweep:
        budgets = limits_of_sweep(limits, self._profiler.extensions.kinds)
        largest = max(swept.profiles)
        before = len(swept.profiles[largest].verdicts)
        now = judged(swept.profiles, budgets, self._profiler, remeasured(self._profiler, self._jobs))
        missed = [each.sentence for each in now.verdicts[before:] if each.outcome == "missed" and each.enforce]
        if missed:
            raise BudgetMissed("; ".join(missed))
        return replace(swept, profiles={**swept.profiles, largest: now})
