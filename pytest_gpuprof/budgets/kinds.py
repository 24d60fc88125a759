"""What a budget keyword means: which figure it limits, on what evidence, and what has to be measured for it.

:data:`KINDS` is the table of the built-in keywords; a hook can add to it. A figure is called as its keyword without
``min_`` or ``max_``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.quantities import Family, Unit
from pytest_gpuprof.core.results import Leg

__all__ = ["KINDS", "Kind", "Need", "figure_name", "kinds_by_figure"]

Need = Literal[
    "rounds",
    "device events",
    "transfers",
    "memory",
    "leak",
    "energy",
    "net energy",
    "package energy",
    "latency",
    "flop count",
]
"""What has to be measured for a budget."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a budget keyword means.

    Args:
        keyword: as people write it.
        figure: the ratio of a profile, or the metric of a leg, that it limits.
        leg: the leg whose metric it is, ``None`` for a ratio of a profile.
        unit: its base unit.
        family: what evidence it rests on.
        legs: the legs that have to be run.
        needs: what has to be measured.
        title: how a sentence calls the figure.
        zero: whether a limit of zero makes sense.
        work: the work that the workload has to declare, ``None`` if it need not.
    """

    keyword: str
    figure: str
    leg: Leg | None
    unit: Unit
    family: Family
    legs: frozenset[Leg]
    needs: frozenset[Need]
    title: str
    zero: bool = False
    work: str | None = None

    def __post_init__(self) -> None:
        if not self.keyword.startswith(("min_", "max_")):
            raise BudgetError(f"a budget's keyword begins with min_ or max_, not {self.keyword!r}")

    @property
    def at_least(self) -> bool:
        """Whether the limit is a least value (``min_…``) or a greatest (``max_…``)."""
        return self.keyword.startswith("min_")


def _kind(
    keyword: str,
    figure: str,
    leg: Leg | None,
    unit: Unit,
    family: Family,
    legs: str,
    needs: str,
    title: str,
    zero: bool = False,
    work: str | None = None,
) -> Kind:  # the rows of a table
    words: tuple[Any, Any] = frozenset(legs.split()), frozenset(needs.split(", "))
    return Kind(keyword, figure, leg, unit, family, words[0], words[1], title, zero, work)


KINDS: Final[Mapping[str, Kind]] = {
    kind.keyword: kind
    for kind in (
        _kind("min_speedup", "speedup", None, "x", "ratio", "cpu gpu", "rounds", "speedup"),
        _kind(
            "min_device_speedup",
            "device_speedup",
            None,
            "x",
            "device ratio",
            "cpu gpu",
            "rounds, device events",
            "device speedup",
        ),
        _kind(
            "min_speedup_over_reference",
            "speedup_over_reference",
            None,
            "x",
            "ratio",
            "gpu reference",
            "rounds",
            "speedup over the reference",
        ),
        _kind(
            "min_end_to_end_speedup",
            "end_to_end_speedup",
            None,
            "x",
            "ratio",
            "cpu gpu",
            "rounds, transfers",
            "end-to-end speedup",
        ),
        _kind("max_gpu_time", "wall_time", "gpu", "s", "time", "gpu", "rounds", "GPU time"),
        _kind(
            "max_device_time", "device_time", "gpu", "s", "device time", "gpu", "rounds, device events", "device time"
        ),
        _kind("max_cpu_time", "wall_time", "cpu", "s", "cpu time", "cpu", "rounds", "CPU time"),
        _kind("max_gpu_memory", "memory", "gpu", "B", "memory", "gpu", "memory", "GPU memory"),
        _kind("max_gpu_workspace", "workspace", "gpu", "B", "memory", "gpu", "memory", "GPU workspace", zero=True),
        _kind("max_cpu_memory", "memory", "cpu", "B", "memory", "cpu", "memory", "CPU memory"),
        _kind("max_energy", "energy", "gpu", "J", "energy", "gpu", "energy", "energy"),
        _kind("max_net_energy", "net_energy", "gpu", "J", "energy", "gpu", "energy, net energy", "net energy"),
        _kind("max_power", "power", "gpu", "W", "energy", "gpu", "energy", "mean power"),
        _kind(
            "min_energy_ratio",
            "energy_ratio",
            None,
            "x",
            "energy",
            "cpu gpu",
            "energy, package energy",
            "energy ratio (CPU package against GPU board + CPU package)",
        ),
        _kind("min_throughput", "throughput", None, "1/s", "time", "gpu", "rounds", "throughput"),
        _kind("min_items_per_joule", "items_per_joule", None, "1/J", "energy", "gpu", "energy", "items per joule"),
        _kind(
            "min_compute_utilization",
            "compute_utilization",
            None,
            "share",
            "utilization",
            "gpu",
            "rounds, device events, flop count",
            "compute utilization",
            work="flops",
        ),
        _kind(
            "min_bandwidth_utilization",
            "bandwidth_utilization",
            None,
            "share",
            "utilization",
            "gpu",
            "rounds, device events",
            "bandwidth utilization",
            work="bytes",
        ),
        _kind("max_crossover", "crossover", None, "1", "ratio", "cpu gpu", "rounds", "crossover"),
        _kind("max_leak", "leak", "gpu", "B", "memory", "gpu", "leak", "GPU memory gained per call", zero=True),
        Kind("max_regression", "", None, "share", "regression", frozenset(), frozenset(), "regression", zero=True),
    )
}
"""The built-in keywords. What ``max_regression`` compares, and so what has to be measured for it, is said by
``metric=``."""


def figure_name(kind: Kind) -> str:
    """Return what the figure of a budget is called.

    >>> figure_name(KINDS["max_gpu_time"])
    'gpu_time'
    """
    return kind.keyword[len("min_") :]


def kinds_by_figure(kinds: Iterable[Kind] = tuple(KINDS.values())) -> Mapping[str, Kind]:
    """Return the kind of each figure by its name; what is a comparison with a baseline is no figure itself."""
    return {figure_name(kind): kind for kind in kinds if kind.family != "regression"}
