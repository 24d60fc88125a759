"""Measuring one workload, for whoever uses the library without pytest: :func:`profile`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_gpuprof.budgets.budget import Budget, merge
from pytest_gpuprof.budgets.crossover import refuse_limits_of_sweeps
from pytest_gpuprof.core.errors import BudgetMissed, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.core.workload import Check
from pytest_gpuprof.job import Job
from pytest_gpuprof.profiler import Profiler

__all__ = ["LaterJudge", "profile"]


def profile(
    workload: Any,
    *,
    name: str | None = None,
    devices: str | Sequence[str] | None = None,
    backend: str | None = None,
    cpu: Any = None,
    reference: Any = None,
    check: Check | None = None,
    flops: Any = None,
    bytes: Any = None,  # noqa: A002  # the word users know
    items: Any = None,
    precision: str | None = None,
    cpu_threads: int | None = None,
    rounds: int | None = None,
    max_time: float | None = None,
    cache: str | None = None,
    transfers: bool | None = None,
    reset: Callable[..., object] | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Iterable[str] | None = None,
    budgets: Budget | Sequence[Budget] = (),
    profiler: Profiler | None = None,
) -> Profile:
    """Measure a workload on the CPU and on an accelerator.

    Args:
        workload: a builder, a :class:`~pytest_gpuprof.core.workload.Workload`, or :func:`~pytest_gpuprof.call`.
        name: of the profile; ``None`` for the builder's.
        devices: one accelerator by name (``"cuda:0"``, ``"opencl:0"``, ``"any"``); ``None`` for the GPU if there is
            one, else a stand-in, on which budgets are not judged.
        backend: ``"torch"``, ``"cupy"``, ``"jax"``, ``"opencl"``, ``"cuda"`` (cuda.core), ``"simulated"``, or one of a
            plugin's; ``None`` to find it from the builder.
        cpu: another builder for the CPU leg.
        reference: another builder to compare with on the same device.
        check: compare the legs' outputs: ``True``, ``dict(rtol=, atol=)`` or a function of both; ``None`` compares only
            workloads made by :func:`~pytest_gpuprof.call`.
        flops, bytes, items: declared work per call, as numbers or functions of the builder's parameters; with
            ``flops="auto"`` they are counted, where the framework can.
        precision: the number format in which it mostly computes, ``"fp64"``, ``"fp32"``, ``"tf32"``, ``"bf16"``,
            ``"fp16"``, ``"fp8"`` or ``"int8"``: it decides which peak a compute utilization is a part of; ``None`` for
            ``"fp32"``.
        cpu_threads: threads of the CPU leg; ``None`` for as many as this process may use.
        rounds: exactly that many rounds; ``None`` until the budgets are decided, 3 to 24.
        max_time: seconds for the rounds.
        cache: ``"hot"`` calls back to back; ``"cold"`` evicts the caches of both devices before each call. ``None`` is
            hot.
        transfers: also time the upload of the arrays that the callable holds and the download of its output, for
            ``profile.end_to_end_speedup``. ``None`` does so if a budget needs it.
        reset: runs untimed before each call.
        params: parameters for the builder.
        metrics: what to measure besides what budgets need: ``"time"``, ``"memory"``, ``"energy"``, ``"net-energy"``.
        budgets: what must hold.
        profiler: the run it belongs to; ``None`` for one of its own.

    Returns:
        The profile with its verdicts. Nothing is raised for a missed budget; ``profile.require(…)`` does that.

    Raises:
        UsageError: if something cannot be meant.
        OutputsDiffer: if the legs computed different things.

    >>> def addition(device):
    ...     return lambda: device.run(cpu=20e-3, gpu=1e-3)
    >>> round(profile(addition, backend="simulated").speedup)
    20
    """
    run = profiler or Profiler()
    jobs = run.jobs(
        workload, name=name, devices=devices, backend=backend, cpu=cpu, reference=reference, check=check, flops=flops,
        bytes=bytes, items=items, precision=precision, cpu_threads=cpu_threads, rounds=rounds, max_time=max_time,
        cache=cache, transfers=transfers, reset=reset, params=params, metrics=metrics,
    )  # fmt: skip
    if len(jobs) > 1:
        raise UsageError(
            f"devices={devices!r} names {len(jobs)} accelerators; a profile has one, so call once for each"
        )
    wanted = (budgets,) if isinstance(budgets, Budget) else tuple(budgets)
    refuse_limits_of_sweeps(wanted)
    measured = run.measure(jobs[0], wanted)
    return replace(measured, judge=LaterJudge(run, jobs[0]))


class LaterJudge:
    """Judges further limits on a profile that was returned already, with the means it was measured with.

    Args:
        profiler: the run it belongs to.
        job: what was measured.
    """

    def __init__(self, profiler: Profiler, job: Job) -> None:
        self._profiler = profiler
        self._job = job

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        """Return the profile with the verdicts on these limits, too.

        Raises:
            BudgetMissed: if one is missed; what else was measured is in the profile that was there before.
        """
        budgets = merge([limits], self._profiler.extensions.kinds)
        refuse_limits_of_sweeps(budgets)
        judged = self._profiler.require(self._job, profile, budgets)
        _raise_missed(judged.verdicts[len(profile.verdicts) :])
        return replace(judged, judge=self)


def _raise_missed(verdicts: Sequence[Verdict]) -> None:
    missed = [verdict.sentence for verdict in verdicts if verdict.outcome == "missed" and verdict.enforce]
    if missed:
        raise BudgetMissed("; ".join(missed))
