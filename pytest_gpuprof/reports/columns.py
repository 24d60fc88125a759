"""The columns of the table that hold figures: which there are, where their figures come from, which to show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pytest_gpuprof.core.efficiency import FIGURES
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import Unit
from pytest_gpuprof.core.results import Leg, Measurement
from pytest_gpuprof.stats.decision import mean_interval

__all__ = ["COLUMNS", "SHOWN", "Column", "Figure"]


class Figure(NamedTuple):
    """A figure of a row.

    Args:
        value: in base units, ``None`` if it is missing.
        rounds: the figure of each round, whose spread is its noise.
        interval: the interval of the value, for a figure that is shown with that in place of its noise.
    """

    value: float | None
    rounds: Sequence[float] = ()
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures.

    Args:
        title: its head.
        unit: the base unit.
        figure: takes the figure of a profile.
        has_interval: whether it is shown with its interval in place of its noise.
    """

    title: str
    unit: Unit
    figure: Callable[[Profile], Figure]
    has_interval: bool = False


def _leg(title: str, leg: Leg, metric: str, unit: Unit) -> Column:
    def figure(profile: Profile) -> Figure:
        measured: Measurement = getattr(profile, leg)
        value = measured.reading(metric).value
        return Figure(value, () if value is None else measured.per_round(metric))

    return Column(title, unit, figure)


def _ratio(title: str, name: str) -> Column:
    def figure(profile: Profile) -> Figure:
        """Return the ratio with the interval by which a budget of 95 % is judged on it after all rounds."""
        values = profile.ratio_per_round(name)[1]
        if not values or min(values) <= 0:
            return Figure(profile.ratio(name).value)
        logs = [math.log(value) for value in values]
        mean, low, high = mean_interval(logs, bias=profile.overhead_of_ratio(name))
        return Figure(math.exp(mean), values, (math.exp(low), math.exp(high) if high < 700 else math.inf))

    return Column(title, "x", figure, has_interval=True)


def _work(title: str, name: str) -> Column:
    def figure(profile: Profile) -> Figure:
        value = profile.ratio(name).value
        return Figure(value, () if value is None else profile.ratio_per_round(name)[1])

    return Column(title, FIGURES[name].unit, figure)


COLUMNS: Final[Mapping[str, Column]] = {
    "cpu": _leg("CPU", "cpu", "wall_time", "s"),
    "gpu": _leg("GPU", "gpu", "wall_time", "s"),
    "device": _leg("GPU events", "gpu", "device_time", "s"),
    "speedup": _ratio("speedup", "speedup"),
    "reference": _leg("reference", "reference", "wall_time", "s"),
    "over-reference": _ratio("over reference", "speedup_over_reference"),
    "first": _leg("first call", "gpu", "first_call", "s"),
    "memory": _leg("GPU memory", "gpu", "memory", "B"),
    "cpu-memory": _leg("CPU memory", "cpu", "memory", "B"),
    "energy": _leg("energy", "gpu", "energy", "J"),
    "net-energy": _leg("net energy", "gpu", "net_energy", "J"),
    "power": _leg("power", "gpu", "power", "W"),
    "throughput": _work("items", "throughput"),
    "flop-rate": _work("FLOP rate", "flop_rate"),
    "bandwidth": _work("bandwidth", "bandwidth"),
    "compute-utilization": _work("of peak FLOP", "compute_utilization"),
    "bandwidth-utilization": _work("of peak bandwidth", "bandwidth_utilization"),
    "workspace": _leg("GPU workspace", "gpu", "workspace", "B"),
    "reserved": _leg("GPU reserved", "gpu", "reserved", "B"),
    "leak": _leg("GPU leak", "gpu", "leak", "B"),
}
"""By the names of ``--gpu-profile-columns``."""

SHOWN: Final = ("cpu", "gpu", "speedup", "over-reference", "memory", "energy", "compute-utilization",
                "bandwidth-utilization", "cpu-memory", "net-energy")  # fmt: skip
"""Columns that are shown by themselves if any row has something to say in them, the most important first; the others
are shown when named."""
