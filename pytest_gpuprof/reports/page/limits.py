"""The limits that stand in a chart, each with its words. Pure."""

from __future__ import annotations

from pytest_gpuprof.budgets.kinds import KINDS
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.page.telling import quantity

__all__ = ["limits_of"]


def limits_of(profile: Profile, figure: str) -> list[tuple[float, str, str]]:
    """Return the limits on a figure, as far as one applied here: each with its text, and the statistic it is on."""
    written = profile.budgets if len(profile.budgets) == len(profile.verdicts) else [{}] * len(profile.verdicts)
    return [
        (verdict.limit, _text(verdict, stat), stat)
        for verdict, stat in zip(profile.verdicts, (str(each.get("stat") or "median") for each in written), strict=True)
        if verdict.limit is not None and not verdict.metric and verdict.budget[len("min_") :] == figure
    ]


def _text(verdict: Verdict, stat: str) -> str:
    kind = KINDS.get(verdict.budget)
    notes = ["" if stat == "median" else stat, "" if verdict.enforce else "not enforced"]
    told = ", ".join(filter(None, notes))
    return f"{verdict.budget} {quantity(verdict.limit or 0.0, kind.unit if kind else '')}{f' ({told})' if told else ''}"
