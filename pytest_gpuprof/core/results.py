"""What measuring yields: readings, rounds, measurements and profiles, all frozen.

A *reading* is a value or *unavailable, because …*; it is never 0, NaN or a guess in place of a figure nobody took.
Figures on a :class:`Profile` are floats; asking for one that is missing raises
:class:`~pytest_gpuprof.core.errors.Unavailable` with the reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from pytest_gpuprof.core.environment import DeviceInfo, Environment
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.quantities import METRICS, Family, format_quantity

__all__ = [
    "Cause",
    "Caution",
    "Leg",
    "Measurement",
    "Outcome",
    "Profile",
    "Quality",
    "Reading",
    "Round",
    "Verdict",
    "spoils",
]

Leg = Literal["cpu", "gpu", "reference"]
Quality = Literal["measured", "derived", "estimated", "simulated"]
Cause = Literal["no device", "no reading", "not asked for"]
Outcome = Literal["met", "missed", "inconclusive", "unavailable", "not enforced"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instrument said: a value, or why there is none.

    Args:
        value: the figure in base units, ``None`` when unavailable.
        reason: why it is unavailable, as the end of the sentence "unavailable, because …".
        interval: the 95 % interval of the value where the instrument can bound its error.
        quality: ``"measured"``, or the word that must be shown beside the figure.
        cause: for an unavailable reading, whether the device is missing, or only the reading, or nobody asked.

    >>> Reading.unavailable("no NVIDIA driver is loaded").value is None
    True
    """

    value: float | None
    reason: str = ""
    interval: tuple[float, float] | None = None
    quality: Quality = "measured"
    cause: Cause = "no reading"

    def __post_init__(self) -> None:
        if self.value is None:
            if not self.reason:
                raise ValueError("an unavailable reading says why")
        elif not math.isfinite(self.value):
            raise ValueError(f"a reading is a finite number or unavailable, not {self.value!r}")

    @classmethod
    def unavailable(cls, reason: str, cause: Cause = "no reading") -> Reading:
        """Return a reading that says why there is no figure."""
        return cls(None, reason, cause=cause)

    def require(self, what: str) -> float:
        """Return the value.

        Raises:
            Unavailable: if there is none; the message names ``what`` and the reason.
        """
        if self.value is None:
            raise Unavailable(f"{what} is unavailable, because {self.reason}")
        return self.value


NOT_ASKED = Reading.unavailable(
    "nothing asked for it: name it in a budget or in --gpu-profile-metrics", cause="not asked for"
)


@dataclass(frozen=True, slots=True)
class Caution:
    """A doubt about a measurement, as data: it is stored, printed, and can turn a verdict to inconclusive.

    Args:
        code: a stable short name, e.g. ``"throttled"``.
        message: the facts, with their numbers.
        remedy: what to do about it; never something that is already in force.
        spoils: the verdicts it makes untrustworthy, as pairs of family and outcome. A throttled GPU makes a missed
            time budget inconclusive, but a met one stands: throttling only slows.
        legs: the legs it concerns, ``None`` for all: a busy host does not spoil what the GPU's events say.
    """

    code: str
    message: str
    remedy: str
    spoils: frozenset[tuple[Family, str]] = frozenset()
    legs: frozenset[Leg] | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


def spoils(*families: Family, outcomes: tuple[str, ...] = ("met", "missed")) -> frozenset[tuple[Family, str]]:
    """Return the pairs for :attr:`Caution.spoils`: each outcome of each family.

    >>> sorted(spoils("time", outcomes=("missed",)))
    [('time', 'missed')]
    """
    return frozenset((family, outcome) for family in families for outcome in outcomes)


@dataclass(frozen=True, slots=True)
class Round:
    """*n* calls between one begin and one end of the meters, several times over.

    Args:
        index: which round of the measurement; equal indices of two legs were taken side by side.
        position: 0 if its leg ran first in that round, 1 if second, …
        iterations: calls per sample.
        samples: per metric, the per-call figure of each sample.
    """

    index: int
    position: int
    iterations: int
    samples: Mapping[str, tuple[float, ...]]

    def value(self, metric: str, stat: str = "median") -> float:
        """Return the round's figure for ``metric``: the median, or the mean, of its samples."""
        return (statistics.fmean if stat == "mean" else statistics.median)(self.samples[metric])


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one device.

    Args:
        leg: ``"cpu"``, ``"gpu"`` or ``"reference"``.
        device: where it ran, ``None`` if it did not.
        rounds: the timed rounds.
        readings: figures taken once (first call, memory, energy), and the reason for each metric that is missing.
        series: all samples of a metric that is no figure of the rounds (the latency of single calls).
        missing: why any metric not in ``readings`` is missing.
        calls: how often the callable was called, over all passes.
        cautions: the doubts about this leg.
    """

    leg: Leg
    device: DeviceInfo | None
    rounds: tuple[Round, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    missing: Reading = NOT_ASKED
    calls: int = 0
    cautions: tuple[Caution, ...] = ()

    @classmethod
    def absent(cls, leg: Leg, reason: str, cause: Cause = "not asked for") -> Measurement:
        """Return the measurement of a leg that was not run; every figure of it is unavailable, with the reason."""
        return cls(leg, None, missing=Reading.unavailable(reason, cause))

    def reading(self, metric: str) -> Reading:
        """Return the figure of ``metric``: over rounds it is the median of the rounds' medians."""
        if metric in self.readings:
            return self.readings[metric]
        values = self.per_round(metric)
        if values:
            simulated = self.device is not None and self.device.why_stand_in == "simulated"
            return Reading(statistics.median(values), quality="simulated" if simulated else "measured")
        return self.missing

    def per_round(self, metric: str, stat: str = "median") -> tuple[float, ...]:
        """Return each round's figure of ``metric``; empty if the rounds do not carry it."""
        return tuple(each.value(metric, stat) for each in self.rounds if metric in each.samples)

    def figure(self, metric: str) -> float:
        """Return the figure of ``metric``.

        Raises:
            Unavailable: if it is missing.
        """
        title = METRICS[metric].title if metric in METRICS else metric
        return self.reading(metric).require(f"{title} of the {self.leg} leg")

    @property
    def time_s(self) -> float:
        """Wall time per call in seconds: host clock around synchronized work, over blocks of many calls."""
        return self.figure("wall_time")

    @property
    def device_time_s(self) -> float:
        """Device time per call in seconds, by the device's own events."""
        return self.figure("device_time")

    @property
    def first_call_s(self) -> float:
        """Wall time of the very first call in seconds: it includes compilation and lazy loading."""
        return self.figure("first_call")

    @property
    def memory_bytes(self) -> float:
        """Peak memory above what was live before the builder ran, in bytes."""
        return self.figure("memory")

    @property
    def workspace_bytes(self) -> float:
        """Peak memory above what was live before the call, in bytes."""
        return self.figure("workspace")

    @property
    def energy_j(self) -> float:
        """Gross energy of the board per call, in joules."""
        return self.figure("energy")

    @property
    def power_w(self) -> float:
        """Mean power of the board over back-to-back calls, in watts."""
        return self.figure("power")

    @property
    def package_energy_j(self) -> float:
        """Energy of the CPU package per call, in joules."""
        return self.figure("package_energy")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one budget, with one sentence why.

    Args:
        outcome: ``"met"``, ``"missed"``, ``"inconclusive"``, ``"unavailable"`` or ``"not enforced"``.
        budget: the keyword, e.g. ``"min_speedup"``.
        sentence: one sentence: what was seen, against what limit, and why this outcome.
        limit: the limit in base units, ``None`` where no limit applies to this device.
        observed: the figure in base units, ``None`` where there is none.
        interval: its interval.
        profile: the name of the profile it is about.
        enforce: ``False`` for a budget that is judged without failing its test.
        cause: for ``"unavailable"``, whether the device is missing or only the reading.
    """

    outcome: Outcome
    budget: str
    sentence: str
    limit: float | None = None
    observed: float | None = None
    interval: tuple[float, float] | None = None
    profile: str = ""
    enforce: bool = True
    cause: Cause = "no reading"


class Judge(Protocol):
    """Who judges further limits on a profile, measuring what they need."""

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        """Return the profile with the new verdicts, or raise for a missed limit."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The same workload on all its devices.

    ``print(profile)`` shows the figures in a few lines. ``profile.require(min_speedup=5)`` judges a budget now.

    Args:
        name: the workload's name.
        cpu, gpu, reference: the legs; a leg that was not run says why in each of its figures.
        backend: the adapter that drove the GPU leg.
        stop_reason: why no further round was taken.
        verdicts: the judgement on each budget.
        cautions: every doubt, of both legs and of the comparison.
        environment: identity and state of the machine.
        threads: CPU threads the CPU leg was allowed.
        items, flops, bytes: declared work per call, ``None`` where not declared.
        params: parameters given to the builder.
        not_judged: why budgets on the accelerator are not judged, empty if they are: a stand-in that nobody named.
        out_of_time: whether the session's time was used up before anything was measured.
        output: what the GPU leg's callable returned at its first call, else the CPU leg's; not stored.
    """

    name: str
    cpu: Measurement
    gpu: Measurement
    reference: Measurement
    backend: str = ""
    stop_reason: str = ""
    verdicts: tuple[Verdict, ...] = ()
    cautions: tuple[Caution, ...] = ()
    environment: Environment = field(default_factory=Environment)
    threads: int | None = None
    items: float | None = None
    flops: float | None = None
    bytes: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    not_judged: str = ""
    out_of_time: bool = False
    output: Any = field(default=None, repr=False, compare=False)
    judge: Judge | None = field(default=None, repr=False, compare=False)

    @property
    def speedup(self) -> float:
        """CPU wall time ÷ GPU wall time, the geometric mean over rounds; above 1 the GPU is faster."""
        return self.ratio("speedup").require("the speedup")

    @property
    def device_speedup(self) -> float:
        """CPU wall time ÷ GPU device time, the geometric mean over rounds."""
        return self.ratio("device_speedup").require("the device speedup")

    @property
    def speedup_over_reference(self) -> float:
        """Wall time of the reference ÷ wall time of this workload, on the same device."""
        return self.ratio("speedup_over_reference").require("the speedup over the reference")

    @property
    def energy_ratio(self) -> float:
        """CPU-leg package joules ÷ (GPU-board + package joules of the GPU leg)."""
        return self.ratio("energy_ratio").require("the energy ratio")

    @property
    def throughput(self) -> float:
        """Items per second of GPU-leg wall time; needs ``items=``."""
        return self.ratio("throughput").require("the throughput")

    @property
    def items_per_joule(self) -> float:
        """Items per joule of gross board energy; needs ``items=``."""
        return self.ratio("items_per_joule").require("items per joule")

    def ratio(self, name: str) -> Reading:
        """Return a derived figure as a :class:`Reading`; it is computed from the legs and never stored."""
        if name in _TIME_RATIOS:
            missing, values = self.ratio_per_round(name)
            return missing or Reading(math.exp(statistics.fmean(map(math.log, values))), quality="derived")
        if name == "energy_ratio":
            return self._energy_ratio()
        if self.items is None:
            return Reading.unavailable("the workload does not declare items=", cause="no reading")
        reading = self.gpu.reading("wall_time" if name == "throughput" else "energy")
        if reading.value is None:
            return reading
        interval = None
        if reading.interval is not None:
            low, high = reading.interval
            interval = (self.items / high, self.items / low) if low > 0 else None
        return Reading(self.items / reading.value, interval=interval, quality="derived")

    def ratio_per_round(self, name: str, stat: str = "median") -> tuple[Reading | None, tuple[float, ...]]:
        """Return the ratio of each round for a ratio of times; or, first, the reading that says what is missing."""
        above, below, metric = _TIME_RATIOS[name]
        over, under = getattr(self, above), getattr(self, below)
        for leg, wanted in ((under, metric), (over, "wall_time")):
            reading = leg.reading(wanted)
            if reading.value is None:
                return reading, ()
        pairs = zip(over.per_round("wall_time", stat), under.per_round(metric, stat), strict=True)
        return None, tuple(high / low for high, low in pairs)

    def _energy_ratio(self) -> Reading:
        parts = (
            self.gpu.reading("energy"),
            self.gpu.reading("package_energy"),
            self.cpu.reading("package_energy"),
        )
        for part in parts:
            if part.value is None:
                return part
        board, host, cpu = parts
        assert board.value is not None and host.value is not None and cpu.value is not None
        ratio = cpu.value / (board.value + host.value)
        spread = math.hypot(_relative(cpu), max(_relative(board), _relative(host)))
        return Reading(ratio, interval=(ratio * (1 - spread), ratio * (1 + spread)), quality="derived")

    def require(self, **limits: Any) -> Profile:
        """Judge budgets now and raise if one is missed; what they need and is not measured yet is measured.

        Args:
            limits: the keywords of a budget, e.g. ``min_speedup=5, max_gpu_memory="1 GiB"``.

        Returns:
            The profile with the new verdicts and readings.

        Raises:
            BudgetMissed: if a limit is missed.
            BudgetError: for a keyword or value that cannot be meant.
        """
        if self.judge is None:
            raise Unavailable(f"profile {self.name!r} was read from a file, so nothing more can be measured on it")
        return self.judge.require(self, limits)

    def with_verdicts(self, verdicts: tuple[Verdict, ...]) -> Profile:
        """Return this profile with other verdicts."""
        return replace(self, verdicts=verdicts)

    def __str__(self) -> str:
        lines = [self.name]
        for measurement in (self.cpu, self.gpu, self.reference):
            if measurement.device is None:
                continue
            figures = [
                f"{METRICS[metric].title} {format_quantity(reading.value, METRICS[metric].unit)}"
                for metric in METRICS
                if (reading := measurement.reading(metric)).value is not None
            ]
            lines.append(f"  {measurement.leg} on {measurement.device.label}: {', '.join(figures)}")
        for name in ("speedup", "device_speedup", "speedup_over_reference", "energy_ratio"):
            if (reading := self.ratio(name)).value is not None:
                lines.append(f"  {name.replace('_', ' ')}: {format_quantity(reading.value, 'x')}")
        lines += [f"  {verdict.sentence}" for verdict in self.verdicts]
        lines += [f"  caution: {caution}" for caution in self.cautions]
        return "\n".join(lines)


# name → (leg above, leg below, the lower leg's metric). The upper leg is always wall time: a CPU has no events.
_TIME_RATIOS: Mapping[str, tuple[str, str, str]] = {
    "speedup": ("cpu", "gpu", "wall_time"),
    "device_speedup": ("cpu", "gpu", "device_time"),
    "speedup_over_reference": ("reference", "gpu", "wall_time"),
}


def _relative(reading: Reading) -> float:
    """Return half the width of a reading's interval, relative to its value."""
    if reading.value is None or reading.interval is None:
        return 0.0
    low, high = reading.interval
    return (high - low) / (2 * reading.value)
