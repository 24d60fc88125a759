"""All records of a run, in the process that talks to the person: header, table, exports, exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import pytest

from pytest_gpuprof import __version__
from pytest_gpuprof.budgets.budget import KINDS, Kind
from pytest_gpuprof.budgets.figures import figures_of, kinds_by_figure
from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.placement import ANY
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.reports.remarks import counts, describe_counts, remarks
from pytest_gpuprof.reports.rows import Row
from pytest_gpuprof.reports.screen import Screen, shows
from pytest_gpuprof.reports.table import tables
from pytest_gpuprof.storage.address import NOWHERE
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.document import unenforced

__all__ = ["Collected", "location_of", "property_pairs"]

Property = tuple[str, str | float]


_SUFFIXES: Final[Mapping[str, str]] = {"s": "_s", "B": "_bytes", "J": "_j", "W": "_w", "1/s": "_per_s"}
"""How a property's name tells the unit of its figure; a ratio and what is per joule need no more."""


def property_pairs(profiles: Mapping[str, Profile], kinds: Iterable[Kind] = tuple(KINDS.values())) -> list[Property]:
    """Return a test's figures and verdicts as JUnit properties: dotted lower-case names, builtins only.

    With several profiles in a test, each name carries the profile's. Words that figures carry are a property too.

    Args:
        profiles: of the test, by name.
        kinds: the budgets there are.
    """
    pairs: dict[str, str | float] = {}
    units = {name: kind.unit for name, kind in kinds_by_figure(kinds).items()}
    for name, profile in profiles.items():
        stem = "gpuprof" if len(profiles) == 1 else f"gpuprof.{name}"
        figures = figures_of(profile, kinds)
        for figure, each in figures.items():
            pairs[f"{stem}.{figure}{_SUFFIXES.get(units[figure], '')}"] = float(each.value)
        words = [f"{figure} {each.quality}" for figure, each in figures.items() if each.quality != "measured"]
        if words:
            pairs[f"{stem}.quality"] = ", ".join(words)
        if profile.gpu.device is not None:
            pairs[f"{stem}.device"] = f"{profile.gpu.device.id} {profile.gpu.device.label}"
        for verdict in profile.verdicts:
            key = f"{stem}.{verdict.budget}"
            same = sum(each.partition("#")[0] == key for each in pairs)  # two budgets on one figure: median and p95
            key = f"{key}#{same + 1}" if same else key
            pairs |= {key: str(verdict.outcome), f"{key}.why": verdict.sentence}
    return list(pairs.items())


def location_of(item: pytest.Item) -> dict[str, str | int]:
    """Return where a test is: its file below the root, in POSIX form, and its line, counted from 1."""
    file, line, _ = item.location
    return {"file": PurePath(file).as_posix(), "line": (line or 0) + 1}


class Collected:
    """The records as they come in, from this process or from xdist workers."""

    def __init__(
        self,
        settings: Settings,
        extensions: Extensions,
        config: pytest.Config,
        run: Run,
        compared: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self._settings = settings
        self._compared = compared
        self._extensions = extensions
        self._base = config.invocation_params.dir
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._unjudged: dict[str, int] = {}
        self._unchanged: set[str] = set()
        self._outcomes: dict[str, str] = {}
        self._problems: dict[str, None] = {}
        self._pages: list[str] = []
        self._root = config.rootpath
        self._run = run

    # -- collecting -------------------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report carries; a rerun takes the place of what it repeats, a subtest's copy does not count."""
        carried: Mapping[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is None or hasattr(report, "context"):
            return
        self._records[report.nodeid] = list(carried["records"])
        self._unjudged[report.nodeid] = carried["unjudged"]
        if carried.get("unchanged"):
            self._unchanged.add(report.nodeid)
        self._outcomes[report.nodeid] = report.outcome
        if carried.get("problem"):
            self._problems[carried["problem"]] = None

    def _rows(self) -> list[Row]:
        return [
            Row(test, self._outcomes[test], profile_from(record), many=len(records) > 1)
            for test, records in self._records.items()
            for record in records
        ]

    # -- telling ----------------------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_report_header(self) -> str | None:
        """Say in one line that this run measures, and how; one that measures nothing says so itself."""
        settings = self._settings
        if settings.evidence:
            return None
        where = ", ".join(settings.devices).replace(ANY, "the best device") or "the GPU"
        how = "strict" if settings.strict else f"inconclusive: {settings.inconclusive}"
        rounds = settings.plan.max_rounds
        taken = f"{rounds}" if rounds == settings.plan.min_rounds else f"{settings.plan.min_rounds} to {rounds}"
        if settings.workers and settings.xdist == "off":
            return f"gpuprof: {__version__}, not measuring under xdist (--gpu-profile-xdist=off)"
        asked = [name for name in settings.metrics or () if "energy" in name]
        energy = f", {settings.energy} energy (about {settings.plan.energy_s():.0f} s per leg)" if asked else ""
        return f"gpuprof: {__version__}, the CPU against {where}, {taken} rounds{energy}, {how}"

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the table, what was missed or doubtful, and the count of the budgets."""
        rows = self._rows()
        unjudged = sum(self._unjudged.values())
        if terminalreporter.config.option.no_summary or not (rows or unjudged or self._problems):
            return
        settings, screen = self._settings, _screen(terminalreporter)
        terminalreporter.write_sep("=", "gpuprof")
        for title, text in tables(rows, settings.columns, settings.sort, settings.group_by, screen):
            if title:
                terminalreporter.write_line(title, bold=True)
            terminalreporter.write_line(text)
        for remark in remarks(rows, screen.ascii_only):
            terminalreporter.write_line(remark.text, **{remark.colour: True} if remark.colour else {})
        for problem in self._problems:
            terminalreporter.write_line(problem, red=True)
        found = counts(rows, unjudged)
        good = not (found["missed"] or found["inconclusive"] or found["not enforced"])
        terminalreporter.write_line(describe_counts(found), **{"green" if good else "yellow": True})
        for page in self._pages:
            terminalreporter.write_line(f"report page: {page}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the exports; under strict, fail a session that judged nothing."""
        rows = self._rows()
        for export in self._settings.exports:
            report = self._extensions.reports[export.format]
            try:
                document = self._with_history() if export.format == "html" else self.document()
                report.write(document, str(self._base / export.path))
                if export.format == "html":
                    self._pages.append(export.path)
            except Exception as error:  # an outsider's format may raise anything; the other results are still shown
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                self._problems[
                    f"FAILED gpuprof: {export.format}:{export.path} could not be written ({reason}); the records are "
                    f"in {session.config.rootpath / '.gpuprof' / 'journal'}"
                ] = None
                session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
        found = counts(rows, 0)
        judged = found["met"] or found["missed"] or found["inconclusive"]
        if self._settings.strict and not judged and not (self._nothing_changed() and not found["not enforced"]):
            self._problems["FAILED gpuprof: --gpu-profile-strict, and no budget was judged in this session"] = None
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _with_history(self) -> dict[str, Any]:
        """Return the run as it is so far, with what the store knows of earlier ones; it is for a person to look at."""
        from pytest_gpuprof.reports.page.history import with_history
        from pytest_gpuprof.storage.store import Store

        document = self.document()
        if self._settings.store == NOWHERE:
            return with_history(document, None)
        try:
            store = Store.existing(self._settings.store, self._root)
        except StoreError as error:
            return {**document, "history": {"unavailable": str(error)}}
        try:
            return with_history(document, store)
        finally:
            if store is not None:
                store.close()

    def _nothing_changed(self) -> bool:
        """Whether all budgets there are belong to tests that are not measured, because they did not change."""
        budgeted = {test for test, budgets in self._unjudged.items() if budgets}
        return bool(budgeted) and budgeted <= self._unchanged

    def counts(self) -> Mapping[str, int]:
        """Return the budgets by outcome."""
        return counts(self._rows(), sum(self._unjudged.values()))

    def spared(self) -> Mapping[str, int]:
        """Return the budgets by outcome that were judged and fail nothing."""
        return unenforced({"records": [record for records in self._records.values() for record in records]})

    def pages(self) -> Sequence[str]:
        """Return the report pages that were written, as they were asked for."""
        return self._pages

    def document(self) -> dict[str, Any]:
        """Return the run as it is so far."""
        records = [
            {**record, "outcome": self._outcomes[test]} for test, records in self._records.items() for record in records
        ]
        return self._run.document(records, self.counts(), self._compared())


def _screen(terminalreporter: pytest.TerminalReporter) -> Screen:
    """Return what pytest knows of the screen.

    A pipe has no width: a log is searched, and what was cut off there is lost. pytest's 80 columns, or ``COLUMNS``, are
    a guess about who reads it.
    """
    writer = terminalreporter.config.get_terminal_writer()
    return Screen(
        room=writer.fullwidth if terminalreporter.isatty() else None,
        ascii_only=not shows(getattr(writer._file, "encoding", None)),
        paint=(lambda text, colour: writer.markup(text, **{colour: True})) if writer.hasmarkup else None,
    )
