"""What stands below the table: a sentence for each budget that was missed or could not be judged, and the counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.rows import Row
from pytest_gpuprof.reports.screen import escaped, plain
from pytest_gpuprof.reports.standing import COLOURS
from pytest_gpuprof.reports.sweeps import describe_sweeps

__all__ = ["Remark", "counts", "describe_comparison", "describe_counts", "describe_quarantine", "remarks"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence below the table.

    Args:
        text: the sentence.
        colour: how to show it on a terminal that has colours, ``None`` for plainly.
    """

    text: str
    colour: str | None = None


def remarks(rows: Sequence[Row], ascii_only: bool) -> list[Remark]:
    """Return a sentence for each sweep, for each budget that was missed or could not be judged, and for each doubt.

    What is the same for several tests is said once: no GPU for all budgets that need one, a doubt with their number.
    Doubts that differ in their facts only are told by the first of them.
    """
    said: dict[tuple[str, str | None], list[str]] = {}
    doubts: dict[tuple[str, str], list[tuple[str, str]]] = {}
    without: dict[str, list[str]] = {}
    for row in rows:
        for verdict in row.profile.verdicts:
            if verdict.outcome == "unavailable" and verdict.cause == "no device":
                without.setdefault(verdict.sentence.partition(": ")[2], []).append(row.name)
            elif verdict.outcome != "met":
                said.setdefault((_verdict(verdict), COLOURS[verdict.outcome]), []).append(row.name)
        if (board_only := _board_only(row.profile)) is not None:
            said.setdefault((board_only, None), []).append(row.name)
        for caution in row.profile.cautions:
            if caution.message not in _told(row.profile):
                doubts.setdefault((caution.code, caution.remedy), []).append((row.name, str(caution)))
    found = [Remark(line) for line in describe_sweeps(rows)]
    found += [Remark(f"{_names(names)} {_in_a_line(text)}", colour) for (text, colour), names in said.items()]
    found += [Remark(_doubt(each)) for each in doubts.values()]
    found += [Remark(_without_device(_in_a_line(reason), names), "yellow") for reason, names in without.items()]
    return [Remark(plain(escaped(remark.text), ascii_only), remark.colour) for remark in found]


def _verdict(verdict: Verdict) -> str:
    if verdict.outcome == "not enforced":  # the sentence says so
        return verdict.sentence
    return f"{verdict.outcome}{'' if verdict.enforce else ', not enforced'}: {verdict.sentence}"


def _board_only(profile: Profile) -> str | None:
    """Return what an energy leaves out, where the package's was wanted too and cannot be read."""
    board, package = profile.gpu.reading("energy"), profile.gpu.reading("package_energy")
    if board.value is None or package.value is not None or package.cause != "no reading":
        return None
    return f"energy is that of the GPU board only: the CPU package's is unavailable, because {package.reason}"


def _without_device(reason: str, names: Sequence[str]) -> str:
    tests = len(set(names))
    budgets = f"{len(names)} budget{'s' if len(names) > 1 else ''} of {tests} test{'s' if tests > 1 else ''}"
    return f"unavailable: {budgets} cannot be judged: {reason}"


def _doubt(told: Sequence[tuple[str, str]]) -> str:
    """Return a doubt that several tests may have, with the facts of the first, and how many others have the like."""
    (name, text), others = told[0], told[1:]
    alike = any(other != text for _, other in others)
    more = f" and {len(others)} more{' alike' if alike else ''}" if others else ""
    return f"{name}{more} caution: {_in_a_line(text)}"


def _told(profile: Profile) -> str:
    return " ".join(verdict.sentence for verdict in profile.verdicts if verdict.outcome == "inconclusive")


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def counts(rows: Sequence[Row], unjudged: int) -> dict[str, int]:
    """Return how many budgets were met, missed, inconclusive and not enforced.

    Args:
        rows: what was measured.
        unjudged: budgets of tests that measured nothing.
    """
    outcomes = [verdict.outcome for row in rows for verdict in row.profile.verdicts]
    return {
        "met": outcomes.count("met"),
        "missed": outcomes.count("missed"),
        "inconclusive": outcomes.count("inconclusive"),
        "not enforced": outcomes.count("unavailable") + outcomes.count("not enforced") + unjudged,
    }


def describe_comparison(told: Mapping[str, Any]) -> str:
    """Return how a run compares with what was, in one line.

    Args:
        told: the document's ``"comparison"``.

    >>> describe_comparison({"reference": "base.json", "changes": {"regressed": 1, "same": 2}})
    'compared with base.json: 1 regressed, 2 same'
    """
    counted = ", ".join(f"{count} {change}" for change, count in told["changes"].items()) or "nothing"
    return f"compared with {told['reference']}: {counted}"


def describe_quarantine(test: str, note: Mapping[str, Any], until: str) -> str:
    """Return that a test is in quarantine, and why, in one line.

    Args:
        test: node id.
        note: the ``"quarantine"`` of its records.
        until: when it ends, in words.

    >>> note = {"reason": "noisy runner", "until": "2026-12-24", "would_fail": ["min_speedup"]}
    >>> describe_quarantine("test_a.py::test_b", note, "until 2026-12-24")
    'quarantined: test_a.py::test_b (min_speedup): noisy runner; until 2026-12-24'
    """
    would_fail = ", ".join(note.get("would_fail", ()))
    return f"quarantined: {test}{f' ({would_fail})' if would_fail else ''}: {note['reason']}; {until}"


def describe_counts(found: Mapping[str, int]) -> str:
    """Return the counts in one line."""
    return "budgets: " + ", ".join(f"{count} {outcome}" for outcome, count in found.items())
