"""What the store knows of a run's workloads: added to its document for the page, and told by the page.

Writing a page is a pure function of a document, so what was before becomes a part of it, under ``"history"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pytest_gpuprof.budgets.kinds import kinds_by_figure
from pytest_gpuprof.core.errors import StoreError, Unavailable
from pytest_gpuprof.reports.comparison import share
from pytest_gpuprof.reports.page.telling import Apart, Scale, quantity, without_empty
from pytest_gpuprof.reports.trend import LEAST_RUNS, steps
from pytest_gpuprof.reports.workloads import Workload, test_of
from pytest_gpuprof.storage.conditions import conditions_of, key_of

if TYPE_CHECKING:  # whoever writes a page need not have a database
    from pytest_gpuprof.storage.store import Store

__all__ = ["FIGURES", "MOST_RUNS", "history_of", "runs_of", "with_history"]

MOST_RUNS: Final = 50
"""The newest runs: more is what the command history is for, and 200 workloads have to stay below 2 MB."""

FIGURES: Final = ("gpu_time", "speedup", "energy", "cpu_time")
"""What is shown over runs; CPU time only where there is no GPU's."""


@dataclass(frozen=True, slots=True)
class _Point:
    """What one run has of a workload: which run, under which conditions, on which device as it is shown."""

    place: int
    key: str
    device: str
    values: Mapping[str, float]


def with_history(document: Mapping[str, Any], store: Store | None) -> dict[str, Any]:
    """Return a run's document with what its workloads were in the runs before it, the newest of them.

    Args:
        document: of the run.
        store: where earlier runs are kept; ``None`` where there is none. Without one, or with one that cannot be read,
            the page has no history and says why.
    """
    if store is None:
        return {**document, "history": {"unavailable": "there is no store with earlier runs"}}
    try:
        found = store.runs(limit=MOST_RUNS, until=document["created"])
        ids = [each.id for each in found]  # of several that began in one second, only those before this run
        place = ids.index(document["id"]) + 1 if document.get("id") in ids else 0
        infos = found[place:][: MOST_RUNS - 1][::-1]
        stored = store.figures_of(infos)
    except StoreError as error:
        return {**document, "history": {"unavailable": str(error)}}
    wanted = {(test_of(record["test"]), record["name"]) for record in document["records"]}
    runs = [
        {
            "number": info.number,
            "created": info.created,
            "commit": info.commit,
            "branch": info.branch,
            "dirty": info.dirty,
            "workloads": [
                [
                    test_of(test),
                    name,
                    each.conditions_key,
                    str(each.conditions.get("device", "")),
                    {figure: each.values[figure] for figure in FIGURES if figure in each.values},
                ]
                for (test, name), each in known.items()
                if (test_of(test), name) in wanted
            ],
        }
        for info, known in zip(infos, stored, strict=True)
    ]
    return {**document, "history": {"runs": [run for run in runs if run["workloads"]]}}


def runs_of(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the runs by which the page calls the points: a short name and when it was; this run is the last."""
    earlier = (document.get("history") or {}).get("runs", ())
    source: Mapping[str, Any] = document.get("source") or {}
    told = [(f"run {run['number']}", run, run["created"]) for run in earlier]
    told.append(("this run", source, document.get("created", "")))
    return [
        [f"{name}{_commit(about)}", f"{created[:10]} {created[11:16]}", about.get("branch") or ""]
        for name, about, created in told
    ]


def _commit(about: Mapping[str, Any]) -> str:
    commit = about.get("commit")
    return f", {commit[:7]}{'+' if about.get('dirty') else ''}" if commit else ""


def history_of(document: Mapping[str, Any], found: Sequence[Workload]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return what the page draws of each workload over runs, by its test and name: one chart per figure."""
    earlier = (document.get("history") or {}).get("runs", ())
    points: dict[tuple[str, str], list[_Point]] = {}
    for place, run in enumerate(earlier):
        for test, name, key, device, values in run["workloads"]:
            points.setdefault((test, name), []).append(_Point(place, key, device, values))
    drawn = {}
    for workload in found:
        called = (workload.test, workload.profile.name)
        if called in points:
            conditions = workload.record.get("conditions") or conditions_of(workload.profile)
            now = {shown.name: shown.figure.value for shown in workload.figures}
            words = {shown.name: ", ".join(shown.words) for shown in workload.figures}
            this = _Point(len(earlier), key_of(conditions), str(conditions.get("device", "")), now)
            charts = [_chart(name, [*points[called], this], words[name]) for name in _figures(now)]
            drawn[called] = [chart for chart in charts if chart]
    return drawn


def _figures(now: Mapping[str, float]) -> list[str]:
    return [name for name in FIGURES if name in now and not (name == "cpu_time" and "gpu_time" in now)]


def _chart(name: str, series: Sequence[_Point], words: str) -> dict[str, Any] | None:
    """Return one figure over runs: those under this run's conditions, the others apart, and where its level changed."""
    this = series[-1]
    measured = [(each, each.values[name]) for each in series if name in each.values]
    same = [(each.place, value) for each, value in measured if each.key == this.key]
    others = [each for each, _ in measured if each.key != this.key]
    if len(measured) < 2 or not this.values[name]:
        return None
    kind = kinds_by_figure()[name]
    scale = Scale([value for _, value in measured], kind.unit)
    problem = ""
    try:
        changes = steps([value for _, value in same])
    except Unavailable as error:
        changes, problem = [], str(error)
    edges = [0, *(step.index for step in changes), len(same)]
    levels = [changes[0].before, *(step.after for step in changes)] if changes else []
    told = [
        f"{'worse' if (step.change > 0) != kind.at_least else 'better'} by {share(abs(step.change))[1:]} "
        f"({quantity(step.before, kind.unit)} to {quantity(step.after, kind.unit)})"
        for step in changes
    ]
    now = this.values[name]
    near = Apart(now, [value for _, value in measured])
    at = [each.place for each, _ in measured]
    elsewhere = ", ".join(dict.fromkeys(each.device for each in others if each.device != this.device))
    said = told or (["no change of the level"] if len(same) >= 2 * LEAST_RUNS and not problem else [])
    if others:
        said = [*said, f"{len(others)} under other conditions{f': {elsewhere}' if elsewhere else ''}"]
    with_words = f", {words}" if words else ""
    return without_empty(
        {
            "title": kind.title,
            "unit": scale.suffix,
            "value": scale(now),
            "first": at[0],
            "at": [] if at == list(range(at[0], at[-1] + 1)) else at,
            "values": near.all(value for _, value in measured),
            "step": near.step,
            "others": [each.place for each in others],
            "on": [each.device for each in others] if elsewhere else [],
            "elsewhere": elsewhere,
            "levels": [[same[edges[i]][0], same[edges[i + 1] - 1][0], scale(level)] for i, level in enumerate(levels)],
            "changes": [[same[step.index][0], text] for step, text in zip(changes, told, strict=True)],
            "problem": problem,
            "words": words,
            "alt": "; ".join(
                [f"{kind.title} over {len(measured)} runs, now {quantity(now, kind.unit)}{with_words}", *said]
            ),
        }
    )
