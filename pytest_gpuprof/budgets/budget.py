"""A budget: a limit on one statistic of one figure, maybe different per device.

:data:`KINDS` is the table of the built-in keywords; a hook can add to it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.quantities import Family, Unit, parse_quantity
from pytest_gpuprof.core.results import Leg

__all__ = ["KINDS", "OPTIONS", "Budget", "Kind", "Need", "budgets_from", "key_for"]

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
        _kind("max_leak", "leak", "gpu", "B", "memory", "gpu", "leak", "GPU memory gained per call", zero=True),
    )
}
"""The built-in keywords."""

OPTIONS: Final = ("stat", "confidence", "reason", "enforce", "profile")
"""Keywords of a budget marker that are no limits; they bind to the limits of the same marker."""

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_MIG = re.compile(r"\bMIG\b")


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit.

    Args:
        keyword: which figure it limits, e.g. ``"min_speedup"``.
        limit: a number in base units, a string with a unit, or a mapping from device names to these. A key matches
            whole words of the device's name, the longest match wins, ``"*"`` is the rest; MIG slices match only keys
            that contain ``MIG``, and ``"stand-in"`` is any stand-in. A device that nothing matches has no limit.
        stat: ``"median"`` (the default), ``"mean"``, or a percentile such as ``"p95"`` for times; percentiles come from
            a pass of single synchronized calls.
        confidence: how sure a verdict must be, both sides together; 0.95 allows 2.5 % of wrong verdicts on each side.
        reason: why this limit; printed when it is missed.
        enforce: ``False`` to judge without failing the test.
        profile: the name of the profile of the test that it binds to; ``None`` for every one.
        kind: what the keyword means; ``None`` looks it up among the built-in ones.

    Raises:
        BudgetError: for an unknown keyword, or a value that cannot be meant.

    >>> Budget("max_gpu_time", "1.5 ms").limits
    {'*': 0.0015}
    >>> Budget("min_spedup", 5)
    Traceback (most recent call last):
        ...
    pytest_gpuprof.core.errors.BudgetError: 'min_spedup' is no budget; did you mean 'min_speedup'?
    """

    keyword: str
    limit: Any
    stat: str = "median"
    confidence: float = 0.95
    reason: str = ""
    enforce: bool = True
    profile: str | None = None
    kind: Kind | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kind is None:
            object.__setattr__(self, "kind", _known(self.keyword, KINDS))
        self._check_options()
        if not self.limits:
            raise BudgetError(f"{self.keyword} is an empty mapping; give a limit per device name, or '*' for the rest")

    def _check_options(self) -> None:
        quantile = self.quantile if isinstance(self.stat, str) else None
        if self.stat not in ("median", "mean") and quantile is None:
            raise BudgetError(f"stat={self.stat!r} of {self.keyword} is unknown; it takes 'median', 'mean' or 'p95'")
        if quantile is not None and self.meaning.figure != "wall_time":
            raise BudgetError(
                f"stat={self.stat!r} of {self.keyword}: percentiles exist for max_gpu_time and max_cpu_time only"
            )
        if self.stat == "mean" and not self.meaning.family.endswith(("time", "ratio")):
            raise BudgetError(f"stat='mean' of {self.keyword}: a mean exists for times and their ratios only")
        sure = self.confidence
        if isinstance(sure, bool) or not isinstance(sure, (int, float)) or not 0.5 < sure < 1:
            raise BudgetError(f"confidence={sure!r} of {self.keyword}: it takes a number between 0.5 and 1")
        if self.meaning.family == "energy" and sure != 0.95:
            raise BudgetError(
                f"confidence={sure!r} of {self.keyword}: the interval of an energy is a 95 % one; "
                f"give {self.keyword} in a marker of its own"
            )
        if not isinstance(self.enforce, bool):
            raise BudgetError(f"enforce={self.enforce!r} of {self.keyword}: it takes True or False")
        for what in ("reason", "profile"):
            text = getattr(self, what)
            if text is not None and not isinstance(text, str):
                raise BudgetError(f"{what}={text!r} of {self.keyword}: it takes a text")

    @property
    def meaning(self) -> Kind:
        """What the keyword means."""
        assert self.kind is not None
        return self.kind

    @property
    def quantile(self) -> float | None:
        """The fraction of a percentile statistic, ``None`` for median and mean."""
        match = _PERCENTILE.fullmatch(self.stat)
        fraction = float(f"{match[1]}e-2") if match else 0.0  # not / 100, which makes 0.9990000000000001 of p99.9
        return fraction if 0 < fraction < 1 else None

    @property
    def needs(self) -> frozenset[Need]:
        """What has to be measured."""
        return self.meaning.needs if self.quantile is None else frozenset({"latency"})

    @property
    def limits(self) -> dict[str, float]:
        """The limit by device name, in base units; ``"*"`` is every other device."""
        table = self.limit if isinstance(self.limit, Mapping) else {"*": self.limit}
        limits = {}
        for name, value in table.items():
            if not isinstance(name, str) or not name.strip():
                raise BudgetError(f"{self.keyword} has the key {name!r}; keys are device names, or '*' for the rest")
            what = self.keyword if name == "*" else f"{self.keyword}[{name!r}]"
            limits[name] = parse_quantity(value, self.meaning.unit, what=what, zero=self.meaning.zero)
            if self.meaning.unit == "share" and limits[name] > 1:
                raise BudgetError(f"{what} is {value!r}, which is more than the whole peak; write 0.4 or '40%'")
        return limits

    def limit_for(self, device: DeviceInfo) -> float | None:
        """Return the limit on this device, ``None`` if nothing matches it."""
        if not isinstance(self.limit, Mapping):
            return self.limits["*"]
        key = key_for(device, self.limits)
        return None if key is None else self.limits[key]


def key_for(device: DeviceInfo, keys: Iterable[str]) -> str | None:
    """Return the key that means a device: the longest that matches its name, else ``"*"``, else ``None``.

    >>> from pytest_gpuprof.core.environment import DeviceId
    >>> key_for(DeviceInfo(DeviceId("cuda"), "NVIDIA H200", "gpu", "torch"), ["*", "H200", "NVIDIA"])
    'NVIDIA'
    """
    known = list(keys)
    matching = [key for key in known if key != "*" and _matches(key, device)]
    if matching:
        return max(matching, key=len)
    # A slice is not "the rest" of the cards: it has a key of its own, or none.
    return "*" if "*" in known and not device.is_mig else None


def _matches(key: str, device: DeviceInfo) -> bool:
    if key == "stand-in":
        return device.kind == "stand-in"
    if device.is_mig and not _MIG.search(key):
        return False
    words = r"\s+".join(re.escape(word) for word in key.split())
    return re.search(rf"(?<![\w-]){words}(?![\w])", device.name, re.IGNORECASE) is not None


def _known(keyword: str, kinds: Mapping[str, Kind]) -> Kind:
    if keyword in kinds:
        return kinds[keyword]
    near = difflib.get_close_matches(str(keyword), [*kinds, *OPTIONS], n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
    raise BudgetError(f"{keyword!r} is no budget; {remedy}")


def budgets_from(
    keywords: Mapping[str, Any], kinds: Mapping[str, Kind] = KINDS
) -> tuple[dict[tuple[str, str, str | None], Budget], set[tuple[str, str | None]]]:
    """Return the budgets of one marker, by (keyword, stat, profile), and the (keyword, profile) that it cancels.

    Args:
        keywords: as in the marker: limits, and options that bind to all of them. ``keyword=None`` cancels what a wider
            marker or the ini says.
        kinds: the keywords there are.

    Raises:
        BudgetError: for an unknown keyword or a value that cannot be meant.
    """
    options = {name: keywords[name] for name in OPTIONS if name in keywords and keywords[name] is not None}
    budgets: dict[tuple[str, str, str | None], Budget] = {}
    cancelled: set[tuple[str, str | None]] = set()
    for keyword, value in keywords.items():
        if keyword in OPTIONS:
            continue
        kind = _known(keyword, kinds)
        if value is None:
            cancelled.add((keyword, options.get("profile")))
            continue
        budget = Budget(keyword, value, kind=kind, **options)
        budgets[(keyword, budget.stat, budget.profile)] = budget
    return budgets, cancelled


def merge(layers: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind] = KINDS) -> tuple[Budget, ...]:
    """Return the budgets that hold after laying markers over each other, the widest first.

    >>> [b.limits for b in merge([{"min_speedup": 2}, {"min_speedup": 5}])]
    [{'*': 5.0}]
    >>> merge([{"min_speedup": 2}, {"min_speedup": None}])
    ()
    """
    held: dict[tuple[str, str, str | None], Budget] = {}
    for layer in layers:
        budgets, cancelled = budgets_from(layer, kinds)
        for keyword, profile in cancelled:
            for key in [key for key in held if key[0] == keyword and profile in (None, key[2])]:
                del held[key]
        held.update(budgets)
    return tuple(held.values())


def log_margin(observed: float, limit: float, *, at_least: bool) -> float:
    """Return the natural logarithm of observed ÷ limit, signed so that positive meets the limit."""
    margin = math.log(observed / limit)
    return margin if at_least else -margin
