"""What GitHub Actions shows of a run: a summary of the step, and annotations at the tests' own lines. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.markdown import markdown
from pytest_gpuprof.reports.workloads import Workload, workloads

__all__ = ["SUMMARY_BYTES", "annotations_of", "command", "step_summary"]

SUMMARY_BYTES: Final = 900 * 1024
"""A step's summary above 1024 KiB is not shown at all; the rest is left to what else the step writes."""

_MOST: Final = 10
"""GitHub shows ten errors and ten warnings of a step, and drops what comes after them without a word."""

Level = Literal["error", "warning", "notice"]


def step_summary(document: Mapping[str, Any], most_bytes: int = SUMMARY_BYTES, pages: Sequence[str] = ()) -> str:
    """Return the run as Markdown for ``$GITHUB_STEP_SUMMARY``.

    Args:
        document: of the run.
        most_bytes: how long it may be.
        pages: the report pages that the run wrote. GitHub cannot show them from here, so their names have to do.
    """
    return markdown(document, most_bytes - 1, pages=pages) + "\n"


@dataclass(frozen=True, slots=True)
class _Finding:
    level: Level
    weight: tuple[float, float]
    title: str
    message: str
    file: str | None
    line: int | None


def annotations_of(document: Mapping[str, Any], folder: str | None = "", failures_are_told: bool = False) -> list[str]:
    """Return the workflow commands that annotate a run: at most ten errors and ten warnings, the worst first.

    Args:
        document: of the run.
        folder: the project's folder as seen from the repository's root, in POSIX form; ``None`` if it is outside.
        failures_are_told: whether another plugin annotates the tests that failed; then they are left out here.
    """
    settings: Mapping[str, Any] = document.get("settings") or {}
    found = sorted(_findings(workloads(document), settings, folder), key=lambda each: each.weight)
    if failures_are_told:
        found = [each for each in found if each.level != "error"]
    lines, left_out = [], 0
    for level in ("error", "warning"):
        of_level = [each for each in found if each.level == level]
        lines += [_command_of(each) for each in of_level[:_MOST]]
        left_out += len(of_level[_MOST:])
    if left_out:
        text = f"… and {left_out} more; the step's summary has them all"
        lines.append(command("notice", text, title="GPU budgets"))
    return lines


def _findings(found: Sequence[Workload], settings: Mapping[str, Any], folder: str | None) -> Iterator[_Finding]:
    without: dict[str, list[bool]] = {}
    for workload in found:
        for verdict in workload.profile.verdicts:
            fails = _fails(workload, verdict, settings)
            if verdict.outcome == "unavailable" and verdict.cause == "no device":
                without.setdefault(verdict.sentence.partition(": ")[2], []).append(fails)
            elif verdict.outcome != "met":
                yield _finding(workload, verdict, "error" if fails else "warning", folder)
    for reason, fails_each in without.items():  # said once: they all lack the same
        text = f"{len(fails_each)} budget{'s were' if len(fails_each) > 1 else ' was'} not judged: {reason}"
        level: Level = "error" if any(fails_each) else "warning"
        yield _Finding(level, (_WEIGHTS["unavailable"], 0.0), "GPU budgets not judged", text, None, None)


_WEIGHTS: Final[Mapping[str, float]] = {"missed": 0, "inconclusive": 1, "unavailable": 2, "not enforced": 3}
"""Which outcome is told first."""


def _finding(workload: Workload, verdict: Verdict, level: Level, folder: str | None) -> _Finding:
    file, line = _place(workload.record.get("location"), folder)
    return _Finding(
        level,
        (_WEIGHTS[verdict.outcome], -_distance(verdict)),
        f"{verdict.budget} {verdict.outcome}: {workload.row.name}",
        verdict.sentence,
        file,
        line,
    )


def _fails(workload: Workload, verdict: Verdict, settings: Mapping[str, Any]) -> bool:
    """Return whether a verdict failed its test; an expected failure (xfail) is none, nor is a budget only watched."""
    if not verdict.enforce or workload.outcome != "failed":
        return False
    if verdict.change in ("new", "unreadable"):  # there was nothing to compare with
        return settings.get("missing_baseline") == "fail"
    if verdict.outcome == "not enforced":
        return bool(settings.get("strict")) and not verdict.change
    if verdict.outcome == "unavailable":  # by default it fails where only the reading is missing
        return settings.get("unavailable") in (None, "fail")
    return verdict.outcome == "missed" or settings.get("inconclusive") == "fail"


def _distance(verdict: Verdict) -> float:
    """Return how far a figure is from its limit, as a natural logarithm; 0 where that has no meaning."""
    if not verdict.observed or not verdict.limit or verdict.observed < 0:  # a regression may be an improvement
        return 0.0
    return abs(math.log(verdict.observed / verdict.limit))


def _place(location: Mapping[str, Any] | None, folder: str | None) -> tuple[str | None, int | None]:
    """Return where the test is in the repository; nothing if that is not known, or not in the repository."""
    if not location or folder is None or str(location["file"]).startswith(("/", "../")):
        return None, None
    return "/".join(filter(None, (folder.strip("/").removeprefix("."), location["file"]))), location.get("line")


def _command_of(finding: _Finding) -> str:
    return command(finding.level, finding.message, file=finding.file, line=finding.line, title=finding.title)


def command(level: Level, message: str, **properties: object) -> str:
    """Return a workflow command, escaped as GitHub's toolkit does.

    Args:
        level: how it is shown.
        message: what it says.
        properties: where and under which title; ``None`` is left out.

    >>> command("error", "50% slower", file="a.py", line=3, title="max_gpu_time missed: a.py::test_a[1,2]")
    '::error file=a.py,line=3,title=max_gpu_time missed%3A a.py%3A%3Atest_a[1%2C2]::50%25 slower'
    """
    told = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value is not None)
    return f"::{level} {told}::{_data(message)}" if told else f"::{level}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
