"""Keeps every record of a run in the store, in the process that talks to the person.

No verdict and no exit status depends on it. Where the store cannot be written, the run's document is spilled to a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError, UsageError
from pytest_gpuprof.plugin.collecting import Collected
from pytest_gpuprof.plugin.journal import leftovers, mark_stored, spill_of, store_name
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.storage.document import read_document, write_document
from pytest_gpuprof.storage.store import Store

__all__ = ["Storing"]


class Storing:
    """The store of a run.

    Args:
        config: of the process.
        settings: of the run; they name the store.
        run: what the records belong to.
        collected: what has been measured so far, of which the budgets are counted.
    """

    def __init__(self, config: pytest.Config, settings: Settings, run: Run, collected: Collected) -> None:
        self._root = config.rootpath
        self._url = settings.store
        self._name = store_name(settings.store, config.rootpath)
        self._run = run
        self._collected = collected
        self._store: Store | None = None
        self._records: list[Mapping[str, Any]] = []
        self._failure: StoreError | None = None
        self._lost_a_worker = False
        self._said: list[str] = []
        self._told: list[tuple[str, str]] = []

    # -- the beginning ------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Open the store, if there is one, so that what is wrong with it is said at once."""
        try:
            self._store = Store.existing(self._url, self._root)
            self._take_in()
        except StoreError as error:
            self._failure = error
            self._said.append(f"gpuprof: {error}; this run goes on, and its records are kept in a file")

    @pytest.hookimpl(trylast=True)
    def pytest_report_header(self) -> list[str]:
        """Say what is wrong with the store, and what was taken in."""
        return self._said

    def _take_in(self) -> None:
        """Store what earlier sessions could not."""
        runs = set()
        for left in leftovers(self._root, self._name):
            whole = self._spilled(left.document["id"])
            if whole is not None and self._opened().add(whole):
                runs.add(whole["id"])
            if left.document["records"] and self._opened().add(left.document, finished=False):
                runs.add(left.document["id"])
            mark_stored(left.path)
        if runs:
            which = "1 earlier run" if len(runs) == 1 else f"{len(runs)} earlier runs"
            self._said.append(f"gpuprof: the store now has what {which} measured and could not store")

    def _spilled(self, run_id: str) -> Mapping[str, Any] | None:
        """Return the document of a run that came to its end and could not store it; its journal lacks how it ended."""
        try:
            return read_document(spill_of(self._root, run_id))
        except UsageError:
            return None

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store.open(self._url, self._root)
        return self._store

    # -- the records --------------------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store what a report carries, before the next test starts; a subtest's copy does not count."""
        carried: Mapping[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is None or hasattr(report, "context"):
            return
        for record in carried["records"]:
            kept = {**record, "outcome": report.outcome}
            self._records.append(kept)
            if self._failure is None:
                self._append(kept)

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            store = self._opened()
            if len(self._records) == 1:
                store.begin(self._run.head)
            store.append(self._run.id, record)
        except StoreError as error:  # tried once more at the end, not after each test: it may have waited long
            self._failure = error

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Note that a worker died: it may have measured what it could not report."""
        self._lost_a_worker = self._lost_a_worker or error is not None

    # -- the end ------------------------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        """Say that the run is complete; what could not be stored is tried once more, and then spilled."""
        if not self._records and not self._lost_a_worker:
            return
        document = self._run.document(self._records, self._collected.counts(), spared=self._collected.spared())
        try:
            if self._failure is not None:
                if self._store is not None:
                    self._store.close()
                self._store = None
                self._opened().add(document)
                self._told.append((f"gpuprof: the records are in the store {self._name} after all", "green"))
            elif self._records and self._opened().finish(self._run.id, document) < len(self._records):
                self._opened().add(document)  # a test took the store away, and there is a new one
            for left in leftovers(self._root, self._name, self._run.id):
                if self._lost_a_worker and left.document["records"]:
                    self._opened().add({**document, "records": left.document["records"]})
                mark_stored(left.path)
        except StoreError as error:
            self._spill(document, error)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _spill(self, document: Mapping[str, Any], error: StoreError) -> None:
        places = (
            spill_of(self._root, self._run.id),
            Path(tempfile.gettempdir()) / f"pytest-gpuprof-{self._run.id}.json",
        )
        for path in places:
            try:
                write_document(document, path)
                if path is places[0]:
                    (path.parent / ".gitignore").write_text("*\n", encoding="ascii")
            except OSError:
                continue
            if not any(str(error) in line for line in self._said):  # the header said it
                self._told.append((f"gpuprof: {error}", "yellow"))
            where = f"gpuprof: the records of this run are in {path}; store them with pytest-gpuprof import {path}"
            self._told.append((where, "yellow"))
            return
        self._told.append((f"gpuprof: {error}", "red"))
        where = f"gpuprof: the records of this run could not be written to {places[0]} or {places[1]} either"
        self._told.append((where, "red"))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what could not be stored, and where it is."""
        for text, colour in self._told:
            terminalreporter.write_line(text, **{colour: True})
