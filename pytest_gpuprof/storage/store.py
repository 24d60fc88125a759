"""The store: the records of every run, in SQLite or PostgreSQL.

Any number of processes may write at once. A record is there when :meth:`Store.append` returns, and a process that is
killed in the middle of it leaves the store as it was before. Everything may be done twice: what is there already stays.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.adding import begun, inserted, number_of, run_row
from pytest_gpuprof.storage.address import Address
from pytest_gpuprof.storage.database import Database
from pytest_gpuprof.storage.pruning import delete_run, stored_bytes, thin_run
from pytest_gpuprof.storage.reading import StoredRecords
from pytest_gpuprof.storage.rows import Packed, packed
from pytest_gpuprof.storage.runs import Pruned
from pytest_gpuprof.storage.tables import runs

__all__ = ["Store"]


class Store(StoredRecords):
    """The records of every run. A context manager; use it from one thread at a time.

    Args:
        database: open.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._known: dict[tuple[str, str], int] = {}
        self._heads: dict[str, Mapping[str, Any]] = {}

    @classmethod
    def open(cls, url: str | None, root: Path) -> Store:
        """Open a store, created and migrated where that is due.

        Args:
            url: a path of a SQLite file, ``sqlite:///PATH`` or ``postgresql://…``; ``None`` for
                ``.gpuprof/history.sqlite3``.
            root: the project's folder.

        Raises:
            StoreError: if it cannot be used; the message ends with a remedy.
        """
        database = Database(Address.of(url, root))
        database.open()
        return cls(database)

    @classmethod
    def existing(cls, url: str | None, root: Path) -> Store | None:
        """Open a store without creating one: ``None`` if nothing was stored there yet.

        Raises:
            StoreError: as :meth:`open`.
        """
        address = Address.of(url, root)
        database = Database(address)
        if not database.exists():
            database.close()
            return None
        database.open()
        return cls(database)

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self, head: Mapping[str, Any]) -> None:
        """Add a run without records; nothing happens if it is there.

        Args:
            head: its document; the records in it are left out.

        Raises:
            StoreError: if it cannot be written.
        """
        self._heads[head["id"]] = head
        self._database.write(lambda connection: begun(connection, head))

    def append(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Add a record to a run that has begun; nothing happens if this attempt of its workload is there.

        Raises:
            StoreError: if it cannot be written.
        """
        self._written(run_id, [packed(record)])

    def finish(self, run_id: str, head: Mapping[str, Any]) -> int:
        """Say that a run has all its records, and how it ended.

        Returns:
            How many there are; fewer than were appended if somebody took the store away meanwhile.

        Raises:
            StoreError: if it cannot be written.
        """

        def close(connection: Connection) -> int:
            values = {**run_row(head), "finished": True}
            connection.execute(update(runs).where(runs.c.id == run_id).values(values))
            return connection.execute(select(runs.c.records).where(runs.c.id == run_id)).scalar() or 0

        return self._database.write(close)

    def add(self, document: Mapping[str, Any], *, finished: bool = True) -> bool:
        """Add a whole run in one transaction, or what a run that is there lacks.

        Args:
            document: of the run.
            finished: whether it is the whole run; ``False`` for what a killed one left.

        Returns:
            Whether anything was added.

        Raises:
            StoreError: if it cannot be written.
        """
        new = [packed(record) for record in document["records"]]
        known: dict[tuple[str, str], int] = {}

        def whole(connection: Connection) -> bool:
            known.clear()
            there = number_of(connection, document["id"])
            number = begun(connection, document)
            added = inserted(connection, number, new, known)
            if finished:
                values = {**run_row(document), "finished": True}
                unfinished = runs.c.finished.is_(False)
                connection.execute(update(runs).where(runs.c.number == number, unfinished).values(values))
            return there is None or bool(added)

        return self._database.write(whole)

    def prune(
        self,
        *,
        keep_samples: int,
        keep_runs: int | None = None,
        older_than: date | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Thin older runs and take away the oldest. A run that has not finished is left alone.

        Args:
            keep_samples: so many of the newest runs keep every sample; of the others the figures and a summary stay.
            keep_runs: so many of the newest runs are kept at all.
            older_than: runs that began before this day are taken away.
            dry_run: say what would be done, and do nothing.

        Raises:
            StoreError: if it cannot be written.
        """
        finished = [info for info in self.runs() if info.finished]
        first = "" if older_than is None else older_than.isoformat()
        gone = [
            info
            for place, info in enumerate(finished)
            if info.created < first or (keep_runs is not None and place >= keep_runs)
        ]
        numbers = {info.number for info in gone}
        thin = [info for info in finished[keep_samples:] if info.has_samples and info.number not in numbers]
        stored = sum(self._database.asked(partial(stored_bytes, number=info.number, whole=False)) for info in thin)
        stored += sum(self._database.asked(partial(stored_bytes, number=info.number, whole=True)) for info in gone)
        size = self._database.file_bytes()
        if not dry_run:
            for info in thin:
                self._database.write(partial(thin_run, number=info.number))
            for info in gone:
                self._database.write(partial(delete_run, number=info.number))
            self._known.clear()
            if thin or gone:
                self._database.give_back()
            stored = stored if size is None else max(0, size - (self._database.file_bytes() or 0))
        return Pruned(len(thin), len(gone), sum(info.records for info in (*thin, *gone)), stored)

    def _written(self, run_id: str, new: Sequence[Packed]) -> None:
        known = ChainMap[tuple[str, str], int]({}, self._known)

        def insert(connection: Connection) -> None:
            try:
                number = number_of(connection, run_id)
                if number is None:  # it was pruned meanwhile, or the store was replaced
                    if run_id not in self._heads:
                        raise StoreError(
                            f"the run {run_id} has not begun in the store {self.url_shown}; begin it first"
                        )
                    number = begun(connection, self._heads[run_id])
                inserted(connection, number, new, known)
            except Exception:  # what it learned is rolled back, and what was known may have been pruned
                known.clear()
                self._known.clear()
                raise

        self._database.write(insert)
        self._known.update(known.maps[0])
