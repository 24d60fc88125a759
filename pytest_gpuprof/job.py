"""A job: one workload on its devices, with everything that measuring it needs, decided once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_gpuprof.backends.registry import Registry
from pytest_gpuprof.budgets.budget import Budget, Need
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import UsageError, WorkloadError
from pytest_gpuprof.core.results import Leg, Reading
from pytest_gpuprof.core.workload import Check, Workload, as_workload
from pytest_gpuprof.placement import accelerators, backend_of, cpu_workload
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.quiet import allowed_threads
from pytest_gpuprof.stats.summary import needed_for_quantile

__all__ = ["METRICS_ASKED", "Job", "JobMaker", "Wanted", "wanted_by"]

METRICS_ASKED: Mapping[str, frozenset[Need]] = {
    "time": frozenset({"rounds", "device events"}),
    "memory": frozenset({"memory"}),
    "energy": frozenset({"energy", "package energy"}),
    "net-energy": frozenset({"energy", "net energy", "package energy"}),
}
"""What ``--gpu-profile-metrics`` can name, and what each means to measure."""


@dataclass(frozen=True, slots=True)
class Job:
    """One workload on its devices.

    Args:
        name: of the profile.
        workload: what is measured.
        backend: the adapter of the GPU leg.
        cpu, gpu: the plan of a leg, or why it cannot be run.
        reference: the plan of the reference leg, ``None`` without one.
        plan: how to measure.
        threads: CPU threads of the CPU leg.
        params: for the builder.
        not_judged: why budgets on the accelerator are not judged, empty if they are.
        metrics: what to measure besides what budgets need, ``None`` for time where there is no budget.
        amounts: declared ``items``, ``flops`` and ``bytes`` per call.
    """

    name: str
    workload: Workload
    backend: str
    cpu: LegPlan | Reading
    gpu: LegPlan | Reading
    reference: LegPlan | None
    plan: Plan
    threads: int
    params: Mapping[str, Any] = field(default_factory=dict)
    not_judged: str = ""
    metrics: frozenset[Need] | None = None
    amounts: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def legs(self) -> Mapping[Leg, LegPlan]:
        """The legs that can be run, the CPU leg first."""
        legs: dict[Leg, LegPlan | Reading | None] = {"cpu": self.cpu, "gpu": self.gpu, "reference": self.reference}
        return {leg: plan for leg, plan in legs.items() if isinstance(plan, LegPlan)}

    @property
    def precision(self) -> str:
        """The number format in which the workload mostly computes."""
        return self.workload.precision or "fp32"

    @property
    def check(self) -> Check:
        """How to compare the outputs of the legs."""
        return False if self.workload.check is None else self.workload.check

    def can_run(self, budget: Budget) -> bool:
        """Return whether there is every leg that a budget is about."""
        return budget.meaning.legs <= self.legs.keys()

    def can_judge(self, budget: Budget) -> bool:
        """Return whether a budget can be judged here: its legs can be run, and none on a stand-in that nobody named."""
        return self.can_run(budget) and not ("gpu" in budget.meaning.legs and self.not_judged)

    def measures_in_vain(self, budgets: Sequence[Budget], deciding: Sequence[Budget] = ()) -> bool:
        """Return whether rounds are taken for budgets that cannot be judged here, while nobody asked for times.

        A budget that has no limit for this device is none of those: its figure is what the limit would be found from.

        Args:
            budgets: what is judged.
            deciding: what decides how many rounds are enough and is not judged, so a stand-in will do.
        """
        if "rounds" in (self.metrics or ()) or (self.plan.transfers and "gpu" in self.legs):
            return False
        resting = [each for each in budgets if "rounds" in each.needs]
        able = any(map(self.can_judge, resting)) or any(map(self.can_run, deciding))
        return bool(resting or deciding) and not able


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure on which leg: only what a budget, a check or an option needs.

    Args:
        needs: per leg.
        latency_calls: single calls to time, per leg.
    """

    needs: Mapping[Leg, frozenset[Need]]
    latency_calls: Mapping[Leg, int]

    def legs(self, need: Need) -> tuple[Leg, ...]:
        """Return the legs on which something is needed."""
        return tuple(leg for leg, needs in self.needs.items() if need in needs)


def wanted_by(job: Job, budgets: Sequence[Budget], beside: frozenset[Leg] = frozenset()) -> Wanted:
    """Return what has to be measured, on the legs that can be run.

    Args:
        job: the workload and its devices.
        budgets: what must hold.
        beside: legs whose rounds are there already; rounds are compared one by one, so if any leg takes new ones, these
            do too.

    Raises:
        WorkloadError: if a budget needs a CPU leg that nobody gave.
    """
    needs: dict[Leg, set[Need]] = {leg: set() for leg in job.legs}
    latency: dict[Leg, int] = {}
    for budget in budgets:
        if "cpu" in budget.meaning.legs and isinstance(job.cpu, Reading) and job.cpu.cause != "no device":
            raise WorkloadError(f"{budget.keyword} needs a CPU leg, and {job.cpu.reason}")
        if "reference" in budget.meaning.legs and job.workload.reference is None:
            raise WorkloadError(f"{budget.keyword} needs something to compare with; give it with reference=")
        _check_declared(job, budget)
        for leg in budget.meaning.legs & needs.keys():
            needs[leg] |= budget.needs
            if budget.quantile is not None:
                latency[leg] = max(latency.get(leg, 0), needed_for_quantile(budget.quantile))
    asked = job.metrics
    if asked is None:
        asked = frozenset() if budgets else METRICS_ASKED["time"]
    for leg in needs:
        needs[leg] |= asked
    if job.plan.transfers and "gpu" in needs:
        needs["gpu"] |= {"rounds", "transfers"}
    _count_flops(job, needs)
    if any("rounds" in each for each in needs.values()):
        for leg in beside & needs.keys():
            needs[leg] |= {"rounds"}
    return Wanted({leg: frozenset(each) for leg, each in needs.items()}, latency)


def _check_declared(job: Job, budget: Budget) -> None:
    """Refuse a budget on work that nobody declared: that is a mistake of the test, on any machine."""
    work = budget.meaning.work
    if work is None or job.amounts.get(work) is not None or (work == "flops" and job.workload.counts_flops):
        return
    auto = ", or flops='auto' to have them counted" if work == "flops" else ""
    raise WorkloadError(f"{budget.keyword} needs the work of a call; declare it with {work}={auto}")


def _count_flops(job: Job, needs: Mapping[Leg, set[Need]]) -> None:
    """Have FLOPs counted on one leg, the GPU leg if there is one, where they are to be and somebody looks at time."""
    wanted = job.workload.counts_flops and any(each & {"flop count", "rounds"} for each in needs.values())
    for each in needs.values():
        each.discard("flop count")
    if wanted:
        order: tuple[Leg, ...] = ("gpu", "cpu", "reference")
        needs[next(leg for leg in order if needs.get(leg))].add("flop count")


class JobMaker:
    """Makes jobs of workloads.

    Args:
        registry: the backends.
        devices: accelerators by name; empty for the GPU if there is one.
        backend: for builders that could mean several.
        metrics: as in :class:`Job`.
        plan: how to measure, before a call's own options.
        only_devices_name: whether only ``devices`` names a stand-in, and not the ``devices=`` of a call.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        devices: Sequence[str],
        backend: str | None,
        metrics: Iterable[str] | None,
        plan: Plan,
        only_devices_name: bool,
    ) -> None:
        self._registry = registry
        self._devices = tuple(devices)
        self._backend = backend
        self._metrics = needs_of(metrics)
        self._plan = plan
        self._only_devices_name = only_devices_name

    def jobs(
        self,
        source: Any,
        *,
        devices: str | Sequence[str] | None = None,
        cpu_threads: int | None = None,
        rounds: int | None = None,
        max_time: float | None = None,
        cache: str | None = None,
        transfers: bool | None = None,
        metrics: Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        broken: Callable[[str, str], str | None] = lambda backend, device: None,
        **about: Any,
    ) -> list[Job]:
        """Return one job per accelerator, or one without.

        Args:
            source: a builder or a workload.
            devices, cpu_threads, rounds, max_time, cache, transfers, metrics, params: as in
                :func:`pytest_gpuprof.profile`.
            broken: tells why a device of a backend cannot be used any more, ``None`` if it can.
            about: options of the workload.

        Raises:
            UsageError: if something cannot be meant; every kind of it says what to do.
        """
        registry = self._registry
        made = as_workload(source, servants=registry.parameters, **about)
        backend = backend_of(made, registry, self._backend)
        wanted = self._devices if devices is None else _names(devices)
        named = self._devices if self._only_devices_name else wanted
        found = accelerators(backend, registry, wanted, named)
        cpu = cpu_workload(made, backend, registry)
        given = _params(params)
        plan = self._plan.with_(
            rounds=rounds, max_time_s=max_time, cpu_threads=cpu_threads, cache=cache, transfers=transfers
        )
        cpu_leg = cpu if isinstance(cpu, Reading) else self._leg("cpu", cpu[0], cpu[1].name, "cpu", given, plan)
        threads = _threads_of(cpu_leg, plan.cpu_threads)

        def job(gpu: LegPlan | Reading, reference: LegPlan | None = None, name: str = made.name, why: str = "") -> Job:
            return Job(
                name,
                made,
                backend.name,
                cpu_leg,
                gpu,
                reference,
                plan,
                threads,
                given,
                why,
                self._metrics if metrics is None else needs_of(metrics),
                {what: made.amount(what, given) for what in ("items", "flops", "bytes")},
            )

        if isinstance(found, Reading):
            return [job(found)]
        jobs = []
        for accelerator in found:
            where = str(accelerator.info.id)
            name = made.name if len(found) == 1 else f"{made.name}@{where}"  # no two profiles of one name
            reason = broken(backend.name, where)
            if reason is not None:
                jobs.append(job(Reading.unavailable(reason), name=name))
                continue
            gpu = self._leg("gpu", made, backend.name, where, given, plan)
            reference = None
            if made.reference is not None:
                reference = self._leg("reference", made.reference, backend.name, where, given, plan)
            jobs.append(job(gpu, reference, name, accelerator.not_judged))
        return jobs

    def _leg(
        self, leg: Leg, workload: Workload, backend: str, where: str, params: Mapping[str, Any], plan: Plan
    ) -> LegPlan:
        device = self._registry.open(backend, DeviceId.parse(where))
        cold = plan.cache == "cold"
        if cold and device.flush is None:
            raise UsageError(
                f"cache='cold': the cache of {device.info.label} cannot be evicted by the backend {backend!r}; "
                "measure with cache='hot'"
            )
        return LegPlan(leg, workload, device, params, device.random.save(), cold)


def _threads_of(cpu: LegPlan | Reading, asked: int | None) -> int:
    """Return with how many threads the CPU leg computes.

    Raises:
        UsageError: if others are asked for than its framework has.
    """
    fixed: int | None = None if isinstance(cpu, Reading) else getattr(cpu.device, "fixed_threads", None)
    if fixed is None:
        return asked or allowed_threads()
    if asked not in (None, fixed) and isinstance(cpu, LegPlan):
        backend, remedy = cpu.device.info.backend, cpu.device.lacks["threads"].format(asked)
        raise UsageError(f"cpu_threads={asked}: {backend} computes with {fixed} on the CPU; {remedy}")
    return fixed


def needs_of(metrics: Iterable[str] | None) -> frozenset[Need] | None:
    """Return what the metrics named by an option mean to measure.

    Raises:
        UsageError: for a name that is not among them.
    """
    if metrics is None:
        return None
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        if name not in METRICS_ASKED:
            raise UsageError(f"there is no metric {name!r}; there are {', '.join(METRICS_ASKED)}")
    return frozenset(need for name in names for need in METRICS_ASKED[name])


def _names(devices: str | Sequence[str]) -> tuple[str, ...]:
    names = devices.split(",") if isinstance(devices, str) else list(devices)
    return tuple(name.strip() for name in names if name.strip())


def _params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    if params is None:
        return {}
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise UsageError(f"params= is {params!r}; it takes a mapping from the builder's parameter names to values")
    return dict(params)
