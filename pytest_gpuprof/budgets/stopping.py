"""When rounds are enough: the budgets are decided, a figure is known well, or no verdict can rest on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.evidence import evidence_on, exp_or_inf, missing_for, per_round
from pytest_gpuprof.budgets.kinds import KINDS, Kind
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.progress import Estimate
from pytest_gpuprof.core.results import Measurement, Round
from pytest_gpuprof.stats.decision import LOOKS, mean_interval

__all__ = ["BudgetRule"]


class BudgetRule:
    """Enough rounds, when every budget that rests on rounds is decided; looked at only where the decision rule looks.

    Without such a budget the figure is what somebody wants to see, and rounds are enough when it is known well. Where
    budgets were asked for and none can be judged here, as a speedup without a GPU, no number of rounds gives a verdict:
    the first look is enough, and whoever waits for the test is not kept waiting.

    Args:
        budgets: what has to be decided, each with its limit on this device.
        items: declared items per call, for throughput.
        work: further fields of the profile that a figure of its rounds needs: declared work, peaks.
        precise: relative half-width at which a figure without a budget is known well enough; 5 %, because nobody reads
            a speedup more exactly than that.
        stand_in: the word that must stand beside figures of the accelerator, empty for none.
        in_vain: whether rounds are taken for budgets that cannot be judged here, while nobody asked for the figure.

    Attributes:
        estimate: the figure that the last look was about, as it found it: one that wants more rounds, if there is any.
    """

    def __init__(
        self,
        budgets: Sequence[tuple[Budget, float]],
        items: float | None,
        precise: float = 0.05,
        work: Mapping[str, Any] = MappingProxyType({}),
        stand_in: str = "",
        in_vain: bool = False,
    ) -> None:
        self._budgets = [(budget, limit) for budget, limit in budgets if "rounds" in budget.needs]
        self._work = {"items": items, **work}
        self._precise = precise
        self._stand_in = stand_in
        self._in_vain = in_vain
        self.estimate: Estimate | None = None

    def enough(self, legs: Mapping[str, Sequence[Round]]) -> str | None:
        """Return why no further round is needed, or ``None``."""
        profile = _profile_of(legs, self._work)
        count = max(len(rounds) for rounds in legs.values())
        if count not in LOOKS:
            return None
        if not self._budgets:
            known = self._known_well_enough(profile)
            vain = f"{count} rounds are enough where no verdict can rest on them"
            return vain if self._in_vain else known
        for budget, limit in self._budgets:
            values = () if missing_for(profile, budget) else per_round(profile, budget)
            if values and self._is_open(profile, budget, limit, values):
                return None
        return f"every budget was decided after {count} rounds"

    def _is_open(self, profile: Profile, budget: Budget, limit: float, values: Sequence[float]) -> bool:
        """Whether further rounds are of use to a budget.

        A comparison with earlier runs gains nothing from rounds beyond those that make the figure known as well as one
        without a budget: the standard error is then about 1.5 %, below the 2 % and more by which runs differ anyway,
        and what remains of it is in the spread of the earlier runs, which took no more. Were it to go on
        until it is decided, it would take all rounds whenever nothing has changed.
        """
        if budget.compared is None:
            evidence = evidence_on(profile, budget, limit)
            stat = "" if budget.stat == "median" else f" {budget.stat}"
            self._note(budget.meaning, stat, evidence.observed, evidence.interval)
            return evidence.outcome == "inconclusive"
        return min(values) > 0 and self._half_width(budget.compared, values) > self._precise

    def _half_width(self, kind: Kind, values: Sequence[float]) -> float:
        mean, low, high = mean_interval([math.log(value) for value in values])
        self._note(kind, "", math.exp(mean), (exp_or_inf(low), exp_or_inf(high)))
        return (high - low) / 2

    def _note(self, kind: Kind, stat: str, value: float, interval: tuple[float, float]) -> None:
        """Keep what a look found, for who watches: it is not computed again."""
        word = self._stand_in if "gpu" in kind.legs else ""
        bounded = interval if interval[0] < interval[1] < math.inf else None
        self.estimate = Estimate(f"{kind.title}{stat}", value, kind.unit, bounded, word)

    def _known_well_enough(self, profile: Profile) -> str | None:
        kind = KINDS["min_speedup"]
        missing, values = profile.ratio_per_round("speedup")
        if missing is not None:
            values, kind = profile.gpu.per_round("wall_time"), KINDS["max_gpu_time"]
        if not values:
            values, kind = profile.cpu.per_round("wall_time"), KINDS["max_cpu_time"]
        width = self._half_width(kind, values)
        return None if width > self._precise else f"known to {width:.1%} after {len(values)} rounds"


def _profile_of(legs: Mapping[str, Sequence[Round]], work: Mapping[str, Any]) -> Profile:
    """Return rounds as a profile, so that one piece of arithmetic serves the running and the finished measurement."""
    measured = {
        name: Measurement(name, None, rounds=tuple(legs[name])) if name in legs else Measurement.absent(name, "not run")
        for name in ("cpu", "gpu", "reference")
    }
    return Profile("", measured["cpu"], measured["gpu"], measured["reference"], **work)
