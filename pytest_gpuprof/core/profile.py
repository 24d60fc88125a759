"""A profile: the same workload on all its devices, with what follows from comparing them. Frozen.

Figures are floats; asking for one that is missing raises :class:`~pytest_gpuprof.core.errors.Unavailable`, with the
reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.efficiency import FIGURES, Efficiency
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.quantities import METRICS, format_quantity
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Verdict
from pytest_gpuprof.core.scaling import NOT_SWEPT, Scaling

__all__ = ["DERIVED", "Judge", "Profile"]


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
        counts_flops: whether the FLOPs are counted (a reading of a leg) in place of being declared.
        precision: the number format whose peak the FLOP rate is compared with.
        peaks: the highest rates of the GPU leg's device, ``"flops"`` in FLOP/s and ``"bytes"`` in bytes per second.
        params: parameters given to the builder.
        not_judged: why budgets on the accelerator are not judged, empty if they are: a stand-in that nobody named.
        out_of_time: whether nothing was measured because the session's time was used up, or others kept the device.
        budgets: what the verdicts are about, in their order, as plain data: a budget ``as_written``.
        baselines: what figures were in earlier runs, by the figure's name, as far as a budget compares with them.
        scaling: for the largest size of a sweep, what all its sizes together tell.
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
    counts_flops: bool = False
    precision: str = "fp32"
    peaks: Mapping[str, Reading] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    not_judged: str = ""
    out_of_time: bool = False
    budgets: tuple[Mapping[str, Any], ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    scaling: Scaling | None = None
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
    def end_to_end_speedup(self) -> float:
        """CPU wall time ÷ (upload + GPU wall time + download), one after another; needs ``transfers=True``."""
        return self.ratio("end_to_end_speedup").require("the end-to-end speedup")

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

    @property
    def flop_rate(self) -> float:
        """FLOPs per second of GPU-leg wall time; needs ``flops=``."""
        return self.ratio("flop_rate").require("the FLOP rate")

    @property
    def bandwidth(self) -> float:
        """Bytes per second of GPU-leg wall time; needs ``bytes=``."""
        return self.ratio("bandwidth").require("the bandwidth")

    @property
    def compute_utilization(self) -> float:
        """FLOP rate ÷ the device's peak for this precision, over device time where the device has events."""
        return self.ratio("compute_utilization").require("the compute utilization")

    @property
    def bandwidth_utilization(self) -> float:
        """Bytes per second ÷ the device's peak bandwidth, over device time where the device has events."""
        return self.ratio("bandwidth_utilization").require("the bandwidth utilization")

    @property
    def efficiency(self) -> Efficiency:
        """Everything that follows from the work of a call."""
        amounts = {
            what: Reading(declared, quality="given")
            for what in ("items", "flops", "bytes")
            if (declared := getattr(self, what)) is not None
        }
        if self.counts_flops:
            counted = [leg.reading("flops") for leg in (self.gpu, self.cpu)]
            amounts["flops"] = next((each for each in counted if each.value is not None), counted[0])
        return Efficiency(self.gpu, amounts, self.peaks, self.precision)

    def ratio(self, name: str) -> Reading:
        """Return a figure of :data:`DERIVED` as a :class:`Reading`; it is computed from the legs and never stored."""
        if name in _TIME_RATIOS:
            missing, values = self.ratio_per_round(name)
            if missing is not None:
                return missing
            logs = [math.log(value) for value in values] or [self._log_ratio_without_rounds(name)]
            return Reading(math.exp(statistics.fmean(logs)), quality="derived")
        if name == "crossover":
            return NOT_SWEPT if self.scaling is None else self.scaling.reading
        return self._energy_ratio() if name == "energy_ratio" else self.efficiency.reading(name)

    def ratio_per_round(self, name: str, stat: str = "median") -> tuple[Reading | None, tuple[float, ...]]:
        """Return a derived figure in each round; or, first, the reading that says what is missing.

        Both are empty for a figure that does not rest on rounds.
        """
        if name not in _TIME_RATIOS:
            return self.efficiency.per_round(name, stat)
        above, below, metrics = _TIME_RATIOS[name]
        over, under = getattr(self, above), getattr(self, below)
        for leg, wanted in (*((under, metric) for metric in metrics), (over, "wall_time")):
            reading = leg.reading(wanted)
            if reading.value is None:
                return reading, ()
        parts = zip(*(under.per_round(metric, stat) for metric in metrics), strict=True)
        pairs = zip(over.per_round("wall_time", stat), map(sum, parts), strict=True)
        return None, tuple(high / low for high, low in pairs)

    def _log_ratio_without_rounds(self, name: str) -> float:
        """Return the ratio of what was read over all rounds: the store keeps that longer than the rounds themselves."""
        above, below, metrics = _TIME_RATIOS[name]
        under: Measurement = getattr(self, below)
        return math.log(getattr(self, above).figure("wall_time") / sum(under.figure(metric) for metric in metrics))

    def overhead_of_ratio(self, name: str) -> float:
        """Return how far measuring itself can have moved a figure of :data:`DERIVED`, as a natural logarithm.

        0 for a figure that does not rest on rounds.
        """
        if name not in _TIME_RATIOS:
            return math.log1p(self.efficiency.overhead_bound(name))
        above, below, metrics = _TIME_RATIOS[name]
        over, under = getattr(self, above), getattr(self, below)
        return math.log1p(over.overhead_bound("wall_time")) + math.log1p(under.overhead_bound(metrics[0]))

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
        share = board.value / (board.value + host.value)
        # Board and package are counted over the same windows, so their errors may go together and are added. The gain
        # of the package's sensor is in both legs: it cancels, but for the board's share.
        below = share * board.repeatability + (1 - share) * host.repeatability
        gain = share * math.hypot(board.gain_error, cpu.gain_error)
        spread = math.hypot(cpu.repeatability, below, gain)
        interval = (ratio * (1 - spread), ratio * (1 + spread))
        return Reading(ratio, interval=interval, quality="derived", gain_error=gain)

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

    def with_verdicts(
        self, verdicts: tuple[Verdict, ...], budgets: tuple[Mapping[str, Any], ...] | None = None
    ) -> Profile:
        """Return this profile with other verdicts, and with the budgets that they are about, as written."""
        return replace(self, verdicts=verdicts, budgets=self.budgets if budgets is None else budgets)

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
        for name in ("speedup", "device_speedup", "end_to_end_speedup", "speedup_over_reference", "energy_ratio"):
            if (reading := self.ratio(name)).value is not None:
                lines.append(f"  {name.replace('_', ' ')}: {format_quantity(reading.value, 'x')}")
        for name, figure in FIGURES.items():
            if not name.startswith("device_") and (reading := self.ratio(name)).value is not None:
                source = f" ({reading.source})" if reading.source else ""
                lines.append(f"  {figure.title}: {format_quantity(reading.value, figure.unit)}{source}")
        if self.scaling is not None:
            lines.append(f"  over {self.scaling.parameter}: {self.scaling.sentence}")
        lines += [f"  {verdict.sentence}" for verdict in self.verdicts]
        lines += [f"  caution: {caution}" for caution in self.cautions]
        return "\n".join(lines)


# name → (leg above, leg below, the lower leg's metrics, which add up). The upper leg is always wall time: a CPU has no
# events, and its data is where it is needed.
_TIME_RATIOS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "speedup": ("cpu", "gpu", ("wall_time",)),
    "device_speedup": ("cpu", "gpu", ("device_time",)),
    "end_to_end_speedup": ("cpu", "gpu", ("wall_time", "upload_time", "download_time")),
    "speedup_over_reference": ("reference", "gpu", ("wall_time",)),
}

DERIVED: Final = (*_TIME_RATIOS, "energy_ratio", "crossover", *FIGURES)
"""Every figure that follows from the legs, by the name that :meth:`Profile.ratio` takes."""
