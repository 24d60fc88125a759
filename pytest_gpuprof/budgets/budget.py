"""A budget: a limit on one statistic of one figure, maybe different per device, or on its growth since earlier runs."""

from __future__ import annotations

import difflib
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from pytest_gpuprof.budgets.kinds import KINDS, Kind, Need, kinds_by_figure
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.quantities import parse_quantity

__all__ = ["KINDS", "OPTIONS", "Budget", "Key", "Kind", "Need", "budgets_from", "key_for", "merge"]

OPTIONS: Final = ("stat", "confidence", "reason", "enforce", "profile", "metric")
"""Keywords of a budget marker that are no limits; they bind to the limits of the same marker, and ``metric`` to the
``max_regression`` of it."""

_USUAL_METRIC = "gpu_time"
"""What ``max_regression`` compares where nobody says: what the test is about, on the device it is about."""

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
        metric: for ``max_regression``, the figure that must not have got worse: ``"gpu_time"`` (the default),
            ``"speedup"``, ``"gpu_memory"``, …, any budget's keyword without ``min_`` or ``max_``.
        kind: what the keyword means; ``None`` looks it up among the built-in ones.
        compared: what the metric means; ``None`` looks it up likewise. ``None`` for every other budget.

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
    metric: str = ""
    kind: Kind | None = field(default=None, repr=False)
    compared: Kind | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kind is None:
            object.__setattr__(self, "kind", _known(self.keyword, KINDS))
        self._find_metric()
        self._check_options()
        if not self.limits:
            raise BudgetError(f"{self.keyword} is an empty mapping; give a limit per device name, or '*' for the rest")

    def _find_metric(self) -> None:
        """Let a regression mean its metric's figure, so that the same is measured as for a limit on that figure."""
        if self.meaning.family != "regression":
            if self.metric:
                raise BudgetError(f"metric={self.metric!r} of {self.keyword}: only max_regression takes a metric")
            return
        metric = self.metric or _USUAL_METRIC
        of = self.compared or _figure(metric, KINDS)
        meaning = replace(
            self.meaning, figure=of.figure, leg=of.leg, legs=of.legs, needs=of.needs, title=of.title, work=of.work
        )
        for name, value in (("metric", metric), ("compared", of), ("kind", meaning)):
            object.__setattr__(self, name, value)

    def _check_options(self) -> None:
        if self.compared is not None and (self.stat != "median" or self.confidence != 0.95):
            option = f"stat={self.stat!r}" if self.stat != "median" else f"confidence={self.confidence!r}"
            raise BudgetError(
                f"{option} of {self.keyword}: runs are compared by their medians, and a regression has p < 0.001; "
                f"give {self.keyword} in a marker of its own"
            )
        if self.meaning.figure == "crossover" and (self.stat != "median" or self.confidence != 0.95):
            option = f"stat={self.stat!r}" if self.stat != "median" else f"confidence={self.confidence!r}"
            raise BudgetError(
                f"{option} of {self.keyword}: a crossover is where medians cross, with a 95 % interval; "
                f"give {self.keyword} in a marker of its own"
            )
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
            if self.compared is not None and limits[name] >= 1:
                raise BudgetError(f"{what} is {value!r}, which is not below 100%; write 0.05 or '5%'")
            if self.meaning.unit == "share" and limits[name] > 1:
                raise BudgetError(f"{what} is {value!r}, which is more than the whole peak; write 0.4 or '40%'")
        return limits

    @property
    def as_written(self) -> dict[str, Any]:
        """The budget as plain data, the limit as somebody wrote it; :meth:`from_written` takes it."""
        limit = self.limit
        plain = {key: _plain(each) for key, each in limit.items()} if isinstance(limit, Mapping) else _plain(limit)
        options = {name: getattr(self, name) for name in OPTIONS}
        return {"keyword": self.keyword, "limit": plain, **options}

    @classmethod
    def from_written(cls, written: Mapping[str, Any], kinds: Mapping[str, Kind] = KINDS) -> Budget:
        """Return the budget that plain data describe.

        Args:
            written: what :attr:`as_written` returned; what is missing has its default.
            kinds: the keywords there are.

        Raises:
            BudgetError: for an unknown keyword or a value that cannot be meant.
        """
        options = {name: written[name] for name in OPTIONS if written.get(name) not in (None, "")}
        (budget,) = budgets_from({written["keyword"]: written["limit"], **options}, kinds)[0].values()
        return budget

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


def _plain(limit: Any) -> Any:
    """Return a limit as a builtin: NumPy's numbers and fractions are numbers too."""
    if isinstance(limit, str):
        return str(limit)
    return int(limit) if isinstance(limit, numbers.Integral) else float(limit)


def _figure(metric: Any, kinds: Mapping[str, Kind]) -> Kind:
    """Return what the figure of a metric means."""
    figures = kinds_by_figure(kinds.values())
    if metric in figures:
        return figures[metric]
    near = difflib.get_close_matches(str(metric), figures, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(figures)}"
    raise BudgetError(f"metric={metric!r} of max_regression is no figure; {remedy}")


def _known(keyword: str, kinds: Mapping[str, Kind]) -> Kind:
    if keyword in kinds:
        return kinds[keyword]
    near = difflib.get_close_matches(str(keyword), [*kinds, *OPTIONS], n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
    raise BudgetError(f"{keyword!r} is no budget; {remedy}")


class Key(NamedTuple):
    """What tells budgets apart: of two with the same key the nearer one holds."""

    keyword: str
    stat: str
    profile: str | None
    metric: str = ""


class Cancelled(NamedTuple):
    """Which budgets a marker takes back: those of a keyword, or only those of one profile or one metric."""

    keyword: str
    profile: str | None = None
    metric: str | None = None

    def means(self, key: Key) -> bool:
        """Whether a budget is among them."""
        return key.keyword == self.keyword and self.profile in (None, key.profile) and self.metric in (None, key.metric)


def budgets_from(
    keywords: Mapping[str, Any], kinds: Mapping[str, Kind] = KINDS
) -> tuple[dict[Key, Budget], set[Cancelled]]:
    """Return the budgets of one marker, and those that it cancels.

    Args:
        keywords: as in the marker: limits, and options that bind to all of them. ``keyword=None`` cancels what a wider
            marker or the ini says.
        kinds: the keywords there are.

    Raises:
        BudgetError: for an unknown keyword or a value that cannot be meant.
    """
    options = {name: keywords[name] for name in OPTIONS if name in keywords and keywords[name] is not None}
    metric = options.pop("metric", None)
    budgets: dict[Key, Budget] = {}
    cancelled: set[Cancelled] = set()
    bound = metric is None
    for keyword, value in keywords.items():
        if keyword in OPTIONS:
            continue
        kind = _known(keyword, kinds)
        compares = kind.family == "regression"
        bound = bound or compares
        if value is None:
            cancelled.add(Cancelled(keyword, options.get("profile"), metric if compares else None))
            continue
        if compares:
            of = _figure(metric or _USUAL_METRIC, kinds)
            budget = Budget(keyword, value, kind=kind, metric=metric or _USUAL_METRIC, compared=of, **options)
        else:
            budget = Budget(keyword, value, kind=kind, **options)
        budgets[Key(keyword, budget.stat, budget.profile, budget.metric)] = budget
    if not bound:
        raise BudgetError(f"metric={metric!r} belongs to max_regression; add max_regression='5%', or drop the metric")
    return budgets, cancelled


def merge(layers: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind] = KINDS) -> tuple[Budget, ...]:
    """Return the budgets that hold after laying markers over each other, the widest first.

    >>> [b.limits for b in merge([{"min_speedup": 2}, {"min_speedup": 5}])]
    [{'*': 5.0}]
    >>> merge([{"min_speedup": 2}, {"min_speedup": None}])
    ()
    >>> [b.metric for b in merge([{"max_regression": 0.05}, {"max_regression": 0.1, "metric": "energy"}])]
    ['gpu_time', 'energy']
    """
    held: dict[Key, Budget] = {}
    for layer in layers:
        budgets, cancelled = budgets_from(layer, kinds)
        for each in cancelled:
            for key in [key for key in held if each.means(key)]:
                del held[key]
        held.update(budgets)
    return tuple(held.values())


def log_margin(observed: float, limit: float, *, at_least: bool) -> float:
    """Return the natural logarithm of observed ÷ limit, signed so that positive meets the limit."""
    margin = math.log(observed / limit)
    return margin if at_least else -margin
