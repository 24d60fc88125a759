"""What follows from the work of one call: rates, work per joule, and how near they come to what the device can do.

Work (items, floating-point operations, bytes) is declared by the workload or counted by its framework; time and energy
are those of the GPU leg; a *peak* is the highest rate of its device. Nothing here is stored: it is computed from them.

A utilization is taken over device time where the device has events, because between its kernels a device can reach no
peak; without events over wall time. Which of the two, and which peak, is said with every utilization.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pytest_gpuprof.core.quantities import Unit, format_quantity
from pytest_gpuprof.core.results import Measurement, Reading

__all__ = ["FIGURES", "Efficiency", "Figure"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What a figure of this module means: its base unit, and how a sentence calls it."""

    unit: Unit
    title: str


FIGURES: Final[Mapping[str, Figure]] = {
    "throughput": Figure("1/s", "throughput"),
    "device_throughput": Figure("1/s", "throughput over device time"),
    "flop_rate": Figure("FLOP/s", "FLOP rate"),
    "device_flop_rate": Figure("FLOP/s", "FLOP rate over device time"),
    "bandwidth": Figure("B/s", "bandwidth"),
    "device_bandwidth": Figure("B/s", "bandwidth over device time"),
    "items_per_joule": Figure("1/J", "items per joule"),
    "flops_per_joule": Figure("FLOP/J", "FLOPs per joule"),
    "energy_delay": Figure("Js", "energy-delay product"),
    "intensity": Figure("FLOP/B", "arithmetic intensity"),
    "compute_utilization": Figure("share", "compute utilization"),
    "bandwidth_utilization": Figure("share", "bandwidth utilization"),
    "roofline": Figure("share", "part of the roofline"),
}
"""Every figure, by name. An energy-delay product is joules times wall seconds of one call; arithmetic intensity and the
roofline are those of Williams, Waterman and Patterson, CACM 52(4), 2009."""

_RATES: Final[Mapping[str, tuple[str, str]]] = {
    "throughput": ("items", "wall_time"),
    "device_throughput": ("items", "device_time"),
    "flop_rate": ("flops", "wall_time"),
    "device_flop_rate": ("flops", "device_time"),
    "bandwidth": ("bytes", "wall_time"),
    "device_bandwidth": ("bytes", "device_time"),
}
_PER_JOULE: Final[Mapping[str, str]] = {"items_per_joule": "items", "flops_per_joule": "flops"}
_UTILIZATIONS: Final[Mapping[str, str]] = {"compute_utilization": "flops", "bandwidth_utilization": "bytes"}

_PEAK_WORDS: Final[Mapping[str, str]] = {"measured": "calibrated", "given": "given"}
"""How a sentence calls a peak, by the quality of its reading; every other quality is its own word."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Work, time, energy and peaks of one leg, and every figure that follows.

    Args:
        leg: the measured leg.
        amounts: work per call: ``"items"``, ``"flops"``, ``"bytes"``.
        peaks: the highest rates of its device: ``"flops"`` per second in ``precision``, and ``"bytes"`` per second.
        precision: the number format of the ``"flops"`` peak.
    """

    leg: Measurement
    amounts: Mapping[str, Reading]
    peaks: Mapping[str, Reading] = field(default_factory=dict)
    precision: str = "fp32"

    def reading(self, name: str) -> Reading:
        """Return a figure of :data:`FIGURES`; one that has a part missing says which, and why."""
        if name in _RATES or name in _UTILIZATIONS:
            missing, values = self.per_round(name)
            return missing or _derived(statistics.median(values), source=self.basis(name))
        if name in _PER_JOULE:
            return _combined(lambda work, joules: work / joules, self._amount(_PER_JOULE[name]), self._of_leg("energy"))
        if name == "energy_delay":
            return _combined(
                lambda joules, seconds: joules * seconds, self._of_leg("energy"), self._of_leg("wall_time")
            )
        if name == "intensity":
            return _combined(lambda flops, moved: flops / moved, self._amount("flops"), self._amount("bytes"))
        if name == "roofline":
            return self._roofline()
        return Reading.unavailable(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")

    def per_round(self, name: str, stat: str = "median") -> tuple[Reading | None, tuple[float, ...]]:
        """Return a figure of the rounds in each of them; or, first, the reading that says what is missing.

        A figure of :data:`FIGURES` that rests on no rounds has nothing missing and no values.
        """
        if name in _RATES:
            what, metric = _RATES[name]
            ceiling: float | None = 1.0
        elif name in _UTILIZATIONS:
            what, metric = _UTILIZATIONS[name], self._metric
            ceiling = self._peak(what).value
        else:
            return None, ()
        parts = [self._amount(what), self._of_leg(metric)]
        if name in _UTILIZATIONS:
            parts.append(self._peak(what))
        for part in parts:
            if part.value is None:
                return part, ()
        work = parts[0].value
        assert work is not None and ceiling is not None  # told to mypy, tested above
        seconds = self.leg.per_round(metric, stat) or (self._of_leg(metric).require(metric),)
        return None, tuple(work / each / ceiling for each in seconds)

    def overhead_bound(self, name: str) -> float:
        """Return how far measuring itself can have moved a figure of the rounds, relative to it; 0 for others."""
        if name not in _RATES and name not in _UTILIZATIONS:
            return 0.0
        return self.leg.overhead_bound(_RATES[name][1] if name in _RATES else self._metric)

    def basis(self, name: str) -> str:
        """Return what a utilization is a part of, over which time and by which count; empty for other figures."""
        if name not in _UTILIZATIONS:
            return ""
        what = _UTILIZATIONS[name]
        rate = "device_" * (self._metric == "device_time") + ("flop_rate" if what == "flops" else "bandwidth")
        missing, values = self.per_round(rate)
        peak, counted = self._peak(what), self._amount(what)
        if missing is not None or peak.value is None:
            return ""
        unit = FIGURES[rate].unit
        of = f"{self.precision} peak" if what == "flops" else "peak"
        word = _PEAK_WORDS.get(peak.quality, peak.quality)
        text = (
            f"{format_quantity(statistics.median(values), unit)} over {self._metric.replace('_', ' ')}, "
            f"of the {word} {of} {format_quantity(peak.value, unit)}"
        )
        text += f" ({peak.source})" if peak.source else ""
        return f"{text}, FLOPs {counted.source}" if counted.source else text

    def _roofline(self) -> Reading:
        """Return the part of the roofline that is reached: the limit that is nearer is the one that binds."""
        compute, memory = self.reading("compute_utilization"), self.reading("bandwidth_utilization")
        for part in (compute, memory):
            if part.value is None:
                return part
        assert compute.value is not None and memory.value is not None
        if compute.value > memory.value:
            return _derived(compute.value, source=f"compute-bound: {_percent(compute)} of the peak FLOP rate")
        return _derived(memory.value, source=f"memory-bound: {_percent(memory)} of the peak bandwidth")

    @property
    def _metric(self) -> str:
        return "device_time" if self.leg.reading("device_time").value is not None else "wall_time"

    def _amount(self, what: str) -> Reading:
        return self.amounts.get(what) or Reading.unavailable(f"the workload does not declare {what}=")

    def _of_leg(self, metric: str) -> Reading:
        return self.leg.reading(metric)

    def _peak(self, what: str) -> Reading:
        return self.peaks.get(what) or Reading.unavailable("nobody looked for the peak of this device")


def _derived(value: float, interval: tuple[float, float] | None = None, source: str = "") -> Reading:
    return Reading(value, interval=interval, quality="derived", source=source)


def _percent(reading: Reading) -> str:
    assert reading.value is not None
    return format_quantity(reading.value, "share", digits=2)


def _combined(formula: Callable[[float, float], float], first: Reading, second: Reading) -> Reading:
    """Return a formula of two figures; where a part has an interval, over the corners of both."""
    for part in (first, second):
        if part.value is None:
            return part
    assert first.value is not None and second.value is not None
    interval = None
    if first.interval or second.interval:
        ends = [part.interval or (part.value, part.value) for part in (first, second)]
        if all(low is not None and low > 0 for low, _ in ends):  # else a quotient has no bound
            corners = [formula(a, b) for a in ends[0] for b in ends[1]]  # type: ignore[arg-type]  # values, see above
            interval = (min(corners), max(corners))
    # An instrument's own error is in one of the parts only: no figure here is a ratio of two readings of one.
    gain_error = max(first.gain_error, second.gain_error)
    return Reading(formula(first.value, second.value), interval=interval, quality="derived", gain_error=gain_error)
