"""What measuring yields: readings, rounds, measurements and verdicts, all frozen.

A *reading* is a value or *unavailable, because …*; it is never 0, NaN or a guess in place of a figure nobody took.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.quantities import METRICS, Family

__all__ = [
    "Cause",
    "Caution",
    "Change",
    "Leg",
    "Measurement",
    "Outcome",
    "Quality",
    "Reading",
    "Round",
    "Verdict",
    "spoils",
]

Leg = Literal["cpu", "gpu", "reference"]
Quality = Literal["measured", "derived", "estimated", "simulated", "given"]
Cause = Literal["no device", "no reading", "not asked for", "out of time"]
Outcome = Literal["met", "missed", "inconclusive", "unavailable", "not enforced"]
Change = Literal["", "new", "same", "improved", "regressed", "noisy", "incomparable", "unreadable"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instrument said: a value, or why there is none.

    Args:
        value: the figure in base units, ``None`` when unavailable.
        reason: why it is unavailable, as the end of the sentence "unavailable, because …".
        interval: the 95 % interval of the value where the instrument can bound its error.
        gain_error: the part of the interval's relative half-width that is the instrument's own, and so the same in each
            of its readings: no repetition narrows it, and it cancels in a ratio of two readings of one instrument.
        quality: ``"measured"``, or the word that must be shown beside the figure.
        cause: for an unavailable reading, whether the device is missing, or only the reading, or nobody asked, or no
            time was left for it.
        source: where the figure is from, where that has to be told: the facts it was derived from, what counted it.

    >>> Reading.unavailable("no NVIDIA driver is loaded").value is None
    True
    """

    value: float | None
    reason: str = ""
    interval: tuple[float, float] | None = None
    quality: Quality = "measured"
    cause: Cause = "no reading"
    source: str = ""
    gain_error: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.gain_error < 1:
            raise ValueError(f"a gain error is a part of the value, from 0 to below 1, not {self.gain_error!r}")
        if self.value is None:
            if not self.reason:
                raise ValueError("an unavailable reading says why")
        elif not math.isfinite(self.value):
            raise ValueError(f"a reading is a finite number or unavailable, not {self.value!r}")

    @classmethod
    def unavailable(cls, reason: str, cause: Cause = "no reading") -> Reading:
        """Return a reading that says why there is no figure."""
        return cls(None, reason, cause=cause)

    @property
    def repeatability(self) -> float:
        """Half the width of the interval, relative to the value, without the gain error; 0 without an interval.

        >>> round(Reading(100.0, interval=(87.0, 113.0), gain_error=0.05).repeatability, 3)
        0.12
        """
        if not self.value or self.interval is None:
            return 0.0
        low, high = self.interval
        return math.sqrt(max(0.0, ((high - low) / (2 * self.value)) ** 2 - self.gain_error**2))

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
        iterations: calls per sample of wall time.
        samples: per metric, the per-call figure of each sample.
        overhead: per metric, how far measuring itself can have moved the figure, relative to it: 0.01 is 1 %. It does
            not average out, so a verdict allows for it besides the noise.
    """

    index: int
    position: int
    iterations: int
    samples: Mapping[str, tuple[float, ...]]
    overhead: Mapping[str, float] = field(default_factory=dict)

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

    def overhead_bound(self, metric: str) -> float:
        """Return how far measuring itself can have moved the figure, relative to it; 0 for what has no such bound.

        The largest of the rounds' bounds: clock reads, synchronization, the resolution of events, launching that no
        backlog could hide.
        """
        return max((each.overhead.get(metric, 0.0) for each in self.rounds), default=0.0)

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
        """Peak memory above what was live before the call, in bytes; the output is part of it."""
        return self.figure("workspace")

    @property
    def output_bytes(self) -> float:
        """Memory that is still live after a call while its output is held, in bytes."""
        return self.figure("output")

    @property
    def reserved_bytes(self) -> float:
        """What the allocator held from the driver after a call, beyond what it held before the builder, in bytes."""
        return self.figure("reserved")

    @property
    def leak_bytes(self) -> float:
        """Live memory gained per call, its output dropped, in bytes; 0 if there is no leak."""
        return self.figure("leak")

    @property
    def energy_j(self) -> float:
        """Gross energy of the board per call, in joules."""
        return self.figure("energy")

    @property
    def net_energy_j(self) -> float:
        """Energy of the board per call above what it draws without work, in joules."""
        return self.figure("net_energy")

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
        metric: for a comparison with earlier runs, the figure that was compared, e.g. ``"gpu_time"``. ``limit``,
            ``observed`` and ``interval`` are then how much worse it is, as a share; negative where it is better.
        change: what became of it: ``"same"``, ``"improved"``, ``"regressed"``, ``"noisy"`` (measured again it was not
            worse, or there is a doubt); or why there was nothing to compare with: ``"new"``, ``"incomparable"``,
            ``"unreadable"``. Empty for other budgets, and where nothing was measured.
        effect: how much worse it is, as a natural logarithm; ``None`` where there is no such number.
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
    metric: str = ""
    change: Change = ""
    effect: float | None = None
