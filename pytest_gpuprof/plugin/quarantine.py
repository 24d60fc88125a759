"""Quarantine: a gate that is known to be flaky is judged and shown without failing, until a day that somebody chose.

The list is in the ini, where a review sees it. What is on it without a reason, without a day, or for ever is refused: a
gate that is switched off in silence is none.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from typing import Any

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.plugin.markers import matches
from pytest_gpuprof.plugin.selection import Selection
from pytest_gpuprof.reports.remarks import describe_quarantine

__all__ = ["EXAMPLE", "Quarantine", "Quarantined", "is_quarantined", "quarantined", "spare", "today"]

EXAMPLE = "tests/kernels/test_fft.py: reason=noisy on the shared runner, until=2026-12-24"

_INI = "gpu_profile_quarantine"

_LONGEST_DAYS = 366
"""One year, with its leap day. Who wants a gate to be off for longer does not want the gate: there is enforce=False."""


def today() -> date:
    """Return the day in UTC, so that a team's machines agree on when a quarantine ends, wherever they stand."""
    return datetime.now(timezone.utc).date()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One line of the list.

    Args:
        pattern: the tests it means, as in ``gpu_profile_budgets``.
        reason: why.
        until: the last day on which their budgets fail nothing.
    """

    pattern: str
    reason: str
    until: date

    def holds(self, day: date) -> bool:
        """Whether it holds on a day; on its last it does."""
        return day <= self.until

    def left(self, day: date) -> str:
        """Return in words how long it holds.

        >>> Quarantined("*", "noisy", date(2026, 12, 24)).left(date(2026, 12, 23))
        '1 day left, until 2026-12-24'
        """
        days = (self.until - day).days
        return f"{days} day{'s' if days != 1 else ''} left, until {self.until}" if days else f"ends today, {self.until}"


def quarantined(rules: Sequence[tuple[str, Mapping[str, Any]]], day: date) -> tuple[Quarantined, ...]:
    """Return the list.

    Args:
        rules: the lines, as pairs of pattern and keywords.
        day: today, from which a year is counted.

    Raises:
        UsageError: for a line without a reason or a day, with one that cannot be meant, or with anything else.

    >>> quarantined([("test_a.py", {"reason": "noisy", "until": "2026-12-24"})], date(2026, 12, 1))[0].until
    datetime.date(2026, 12, 24)
    """
    return tuple(_entry(pattern, keywords, day) for pattern, keywords in rules)


def _entry(pattern: str, keywords: Mapping[str, Any], day: date) -> Quarantined:
    where = f"{_INI} for {pattern!r}"
    for name in keywords:
        if name not in ("reason", "until"):
            raise UsageError(f"{where} has {name!r}; it takes reason= and until=, e.g. {EXAMPLE}")
    reason = keywords.get("reason")
    if reason in (None, "") or isinstance(reason, bool):
        raise UsageError(f"{where} gives no reason; say why, e.g. reason=noisy on the shared runner")
    until = _day(keywords.get("until"), where, day)
    return Quarantined(pattern, str(reason), until)


def _day(text: Any, where: str, day: date) -> date:
    if text in (None, ""):
        raise UsageError(f"{where} has no end; add until=YYYY-MM-DD, the last day on which it may fail")
    try:
        # Python 3.11 also reads 20261224 and 2026-W52-4, and 3.10 does not.
        until = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(text)) else None
    except ValueError:
        until = None
    if until is None:
        raise UsageError(f"{where} has until={text}, which is no day; write YYYY-MM-DD")
    if (until - day).days > _LONGEST_DAYS:
        raise UsageError(
            f"{where} lasts until {until}, more than a year from today ({day}); choose a nearer day and look at it "
            "again then, or say enforce=False in the budget itself"
        )
    return until


@dataclass(slots=True)
class Held:
    """A test in quarantine, and the budgets of this attempt that would have failed it."""

    by: Quarantined
    spared: list[str] = field(default_factory=list)


HELD = pytest.StashKey[Held]()


def is_quarantined(item: pytest.Item) -> bool:
    """Whether no budget of a test fails it today."""
    return HELD in item.stash


class Quarantine:
    """Keeps the tests of the list from failing by their budgets, and tells of them.

    Args:
        entries: the list.
        selection: the tests there are.
        day: today.
    """

    def __init__(self, entries: Sequence[Quarantined], selection: Selection, day: date) -> None:
        self._entries = entries
        self._selection = selection
        self._day = day
        self._told: dict[str, Mapping[str, Any]] = {}

    # -- in the process that runs the tests ---------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Find out whether a test is in quarantine, before anything can fail or skip it."""
        holding = [each for each in self._entries if each.holds(self._day) and matches(each.pattern, item.nodeid)]
        if holding:  # of several lines the one that lasts longest, whatever their order
            item.stash[HELD] = Held(max(holding, key=lambda each: each.until))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write into the records, and among the JUnit properties, that the test is in quarantine."""
        report = yield
        held = item.stash.get(HELD, None)
        carried: Mapping[str, Any] | None = getattr(report, "gpuprof", None)
        if held is None or carried is None:
            return report
        note = {"reason": held.by.reason, "until": str(held.by.until), "would_fail": list(held.spared)}
        for record in carried["records"]:
            record["quarantine"] = note
        if call.when == "call":
            item.user_properties.append(("gpuprof.quarantine", f"until {held.by.until}: {held.by.reason}"))
        return report

    # -- in the process that talks to the person ----------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report tells about a quarantine; a rerun takes the place of what it repeats."""
        carried: Mapping[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is None or hasattr(report, "context"):
            return
        notes = [record["quarantine"] for record in carried["records"] if "quarantine" in record]
        if notes:
            self._told[report.nodeid] = notes[0]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what did not fail for being in quarantine, which quarantines are over, and which mean no test."""
        if terminalreporter.config.option.no_summary:
            return
        for line in self._lines():
            terminalreporter.write_line(line, yellow=True)

    def _lines(self) -> list[str]:
        lines = []
        spared = {test: note for test, note in self._told.items() if note["would_fail"]}
        if self._told:
            tests = f"{len(self._told)} test{'s' if len(self._told) > 1 else ''}"
            lines.append(f"gpuprof: {tests} in quarantine, {len(spared) or 'none'} of which would have failed")
        for test, note in spared.items():
            left = Quarantined("", note["reason"], date.fromisoformat(note["until"])).left(self._day)
            lines.append(describe_quarantine(test, note, left))
        for each in self._entries:
            found = any(matches(each.pattern, nodeid) for nodeid in self._selection.nodeids)
            if found and not each.holds(self._day):
                lines.append(
                    f"gpuprof: the quarantine of {each.pattern} ({each.reason}) expired on {each.until}, and its "
                    f"budgets fail again; take the line out of {_INI}, or give it another day"
                )
            elif not found and self._selection.covers(_literal(each.pattern)):
                lines.append(
                    f"gpuprof: {_INI} names {each.pattern}, which matches no test that measures; take the line out"
                )
        return lines


def _literal(pattern: str) -> str:
    """Return the part of a pattern that is a path for certain: up to its first wildcard or test.

    >>> _literal("tests/kernels/test_*.py::test_a")
    'tests/kernels'
    """
    path = pattern.partition("::")[0]
    fixed = re.split(r"[*?]", path, maxsplit=1)[0]
    return fixed if fixed == path else fixed.rpartition("/")[0]


def spare(item: pytest.Item, profile: Profile, failing: Sequence[Verdict], *, since: int = 0) -> Profile:
    """Return the profile of a test in quarantine with verdicts that fail nothing; that of another test as it is.

    Args:
        item: the test.
        profile: with verdicts.
        failing: those of its verdicts that would fail the test.
        since: the first of the new verdicts; those before were spared already.
    """
    held = item.stash.get(HELD, None)
    if held is None:
        return profile
    held.spared += [verdict.budget for verdict in failing]
    old, new = profile.verdicts[:since], profile.verdicts[since:]
    return profile.with_verdicts((*old, *(replace(verdict, enforce=False) for verdict in new)))
