"""A profile: the same workload on all its devices, with what follows from comparing them. Frozen.

Figures are floats; asking for one that is missing raises :class:`~pytest_gpuprof.core.errors.Unavailable`, with the
reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.quantities import METRICS, format_quantity
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Verdict

__all__ = ["Judge", "Profile"]


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
        return Reading(self.items / reading.value, interval=interval, quality="derived", gain_error=reading.gain_error)

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
