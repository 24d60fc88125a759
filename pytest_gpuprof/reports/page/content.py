"""A run document as what the page shows: the overview, a row for each workload, and what opens below it. Pure.

Everything is computed here, by the functions that the verdicts and the terminal use; the page only lays out and draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.reports.page.facts import Device, Facts, devices_of, facts_of
from pytest_gpuprof.reports.page.history import history_of, runs_of
from pytest_gpuprof.reports.page.standing import OUTCOMES, share_of, standing, worst
from pytest_gpuprof.reports.page.workload import opened
from pytest_gpuprof.reports.remarks import counts, describe_comparison
from pytest_gpuprof.reports.workloads import Workload, workloads

__all__ = ["Content", "content_of"]


@dataclass(frozen=True, slots=True)
class Content:
    """What the page shows.

    Args:
        title: of the page.
        about: where, when and by what it was measured, each with its name.
        counts: budgets by outcome.
        standings: workloads by how they stand, without those that there are none of.
        banner: sentences that must not be overlooked: figures that are no GPU's.
        notes: the words that figures carry, each with the figures.
        comparison: with what the run was compared, and what is gone.
        devices: what was measured.
        identity, state: the facts of the machine.
        workloads: in the order in which they are shown: the worst first.
        data: what the page's program reads.
    """

    title: str
    about: Sequence[tuple[str, str]]
    counts: Mapping[str, int]
    standings: Mapping[str, int]
    banner: Sequence[str]
    notes: Sequence[str]
    comparison: Sequence[str]
    devices: Sequence[Device]
    identity: Facts
    state: Facts
    workloads: Sequence[Workload]
    data: Mapping[str, Any]


def content_of(document: Mapping[str, Any]) -> Content:
    """Return what the page shows of a run.

    Args:
        document: of the run; what earlier runs were is under ``"history"``.

    Raises:
        UsageError: for a damaged record.
    """
    found = sorted(workloads(document), key=_weight)
    identity, state = facts_of(found, "identity"), facts_of(found, "state")
    stand = Counter(standing(each.profile) for each in found)
    told = history_of(document, found)
    kin: dict[str, list[Workload]] = {}
    for each in found:
        kin.setdefault(each.test, []).append(each)
    lacking = (document.get("history") or {}).get("unavailable", "")
    data = {
        "runs": runs_of(document) if told else [],
        "lacking": lacking,
        "workloads": [
            {
                **opened(each, identity, state, kin[each.test]),
                "history": told.get((each.test, each.profile.name), []),
            }
            for each in found
        ],
    }
    source: Mapping[str, Any] = document.get("source") or {}
    return Content(
        title=f"GPU profile of {source.get('project') or 'this project'}",
        about=_about(document, source),
        counts=_counts(document, found),
        standings={outcome: stand[outcome] for outcome in OUTCOMES if stand[outcome]},
        banner=_banner(found),
        notes=_notes(found),
        comparison=_comparison(document),
        devices=devices_of(found),
        identity=identity,
        state=state,
        workloads=found,
        data=data,
    )


def _counts(document: Mapping[str, Any], found: Sequence[Workload]) -> dict[str, int]:
    """Return the budgets by outcome; those that could not be judged apart from those that were not to be, as below."""
    told = document.get("counts") or counts([each.row for each in found], 0)
    lacking = sum(verdict.outcome == "unavailable" for each in found for verdict in each.profile.verdicts)
    rest = max(0, told.get("not enforced", 0) - lacking)
    return {**told, "unavailable": lacking, "not enforced": rest} if lacking else told


def _weight(workload: Workload) -> tuple[int, float]:
    return OUTCOMES.index(standing(workload.profile)), share_of(worst(workload.profile))


def _about(document: Mapping[str, Any], source: Mapping[str, Any]) -> list[tuple[str, str]]:
    commit = source.get("commit")
    if commit:
        state = ", with changes that were not committed" if source.get("dirty") else ""
        branch = f" on {source['branch']}" if source.get("branch") else ""
        at = f"{commit[:10]}{branch}{state}"
    else:
        at = f"unavailable, because {source.get('unavailable', 'nobody asked git')}"
    created = str(document.get("created", ""))
    settings = "; ".join(
        f"{name.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in (document.get("settings") or {}).items()
        if value not in (None, False, 0, "", [])
    ).replace("strict True", "strict")
    return [
        (name, text)
        for name, text in (
            ("Measured", f"{created[:10]} {created[11:16]} UTC" if created else ""),
            ("Source", at),
            ("Took", _duration(document.get("duration_s") or 0.0)),
            ("Settings", settings),
            ("Machine", str(document.get("machine", ""))),
            ("Run", str(document.get("id", ""))[:12]),
            ("By", f"pytest-gpuprof {document.get('version', '')}".strip()),
        )
        if text
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return format_quantity(seconds, "s") if seconds else ""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _banner(found: Sequence[Workload]) -> list[str]:
    """Return what the reader must know before any figure: which were not measured on a GPU."""
    stand_ins: dict[str, set[str]] = {}
    for each in found:
        for shown in each.figures:
            if shown.stand_in:
                stand_ins.setdefault(shown.stand_in, set()).add(f"{each.test} {each.profile.name}")
    return [
        f"Not a GPU: the figures of {len(names)} of {len(found)} workload{'s' if len(found) != 1 else ''} are from a "
        f"stand-in, and say so: {word}. They show that the budgets work, and nothing about a GPU."
        for word, names in stand_ins.items()
    ]


def _notes(found: Sequence[Workload]) -> list[str]:
    words: dict[str, dict[str, None]] = {}
    for each in found:
        for shown in each.figures:
            for word in shown.words:
                words.setdefault(word, {})[shown.name.replace("_", " ")] = None
    return [f"{word}: {', '.join(names)}" for word, names in words.items()]


def _comparison(document: Mapping[str, Any]) -> list[str]:
    told = document.get("comparison")
    return [describe_comparison(told), *told["gone"]] if told else []
