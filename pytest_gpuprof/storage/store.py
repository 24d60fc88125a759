"""The store: the records of every run, in SQLite or PostgreSQL.

Any number of processes may write at once. A record is there when :meth:`Store.append` returns, and a process that is
killed in the middle of it leaves the store as it was before. Everything may be done twice: what is there already stays.
"""

from __future__ import annotations

import json
import zlib
from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, select, update

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.adding import AT_ONCE, begun, in_parts, inserted, number_of, run_row
from pytest_gpuprof.storage.address import Address
from pytest_gpuprof.storage.database import Database
from pytest_gpuprof.storage.pruning import delete_run, stored_bytes, thin_run
from pytest_gpuprof.storage.rows import (
    Packed,
    figures_from,
    packed,
    plain_text,
    unpacked,
    values_from,
    workload_key,
)  # fmt: skip
from pytest_gpuprof.storage.runs import HistoryPoint, Pruned, RunInfo, StoredFigures, resolved
from pytest_gpuprof.storage.tables import bodies, conditions, environments, records, runs, samples, workloads

__all__ = ["HistoryPoint", "Pruned", "RunInfo", "Store", "StoredFigures"]


class Store:
    """The records of every run. A context manager; use it from one thread at a time.

    Args:
        database: open.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
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

    @property
    def url_shown(self) -> str:
        """What people see of its address: no password."""
        return self._database.address.shown

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------

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

    # -- runs ---------------------------------------------------------------------------------------------------------

    def runs(
        self,
        *,
        limit: int | None = None,
        branch: str | None = None,
        commit: str | None = None,
        before: RunInfo | None = None,
        until: str | None = None,
    ) -> list[RunInfo]:
        """Return the runs, the newest first.

        Args:
            limit: so many at most.
            branch: only those on this branch.
            commit: only those of the commits that begin like this.
            before: only those that began before this one.
            until: only those that began at this time or before, as ``YYYY-MM-DDThh:mm:ssZ``.

        Raises:
            StoreError: if the store cannot be read.
        """
        wanted: list[ColumnElement[bool]] = []
        if branch is not None:
            wanted.append(runs.c.branch == branch)
        if commit is not None:
            wanted.append(runs.c.commit.startswith(commit, autoescape=True))
        if before is not None:
            earlier = (runs.c.created == before.created) & (runs.c.number < before.number)
            wanted.append((runs.c.created < before.created) | earlier)
        if until is not None:
            wanted.append(runs.c.created <= until)
        return self._runs(*wanted, limit=limit)

    def resolve(self, ref: str) -> list[RunInfo]:
        """Return the runs that a person means, the newest first; see :func:`~pytest_gpuprof.storage.runs.resolved`.

        Raises:
            StoreError: if there is none, or the store cannot be read.
        """
        return resolved(
            ref,
            latest=self._latest,
            numbered=lambda number: self._runs(runs.c.number == number),
            named=lambda text: self._runs(runs.c.id.startswith(text)),
            of_commit=lambda text: self._runs(runs.c.commit.startswith(text)),
            shown=self.url_shown,
        )

    # -- records ------------------------------------------------------------------------------------------------------

    def document(self, info: RunInfo, *, every_attempt: bool = False) -> dict[str, Any]:
        """Return a run's document; of a test that was run again, the last attempt, as exports have it.

        Args:
            info: the run.
            every_attempt: return the earlier ones too.

        Raises:
            StoreError: if the store cannot be read, or the run is not there any more.
        """
        query = (
            select(
                workloads.c.test, workloads.c.name, records.c.attempt, records.c.outcome, conditions.c.facts,
                environments.c.facts, records.c.figures, bodies.c.body, samples.c.samples,
            )
            .select_from(_with_names(environments))
            .outerjoin(bodies, bodies.c.record == records.c.id)
            .outerjoin(samples, samples.c.record == records.c.id)
            .where(records.c.run == info.number)
            .order_by(records.c.id)
        )  # fmt: skip

        def read(connection: Connection) -> tuple[str | None, Sequence[Any]]:
            head: str | None = connection.execute(select(runs.c.head).where(runs.c.number == info.number)).scalar()
            return head, connection.execute(query).all()

        head, rows = self._database.asked(read)
        if head is None:
            raise StoreError(f"the run #{info.number} is not in the store {self.url_shown} any more; it was pruned")
        last = {(row[0], row[1]): row[2] for row in sorted(rows, key=lambda row: row[2])}
        kept = [row for row in rows if every_attempt or row[2] == last[row[0], row[1]]]
        with self._undamaged():
            return {**json.loads(head), "records": [unpacked(*row) for row in kept]}

    def figures(self, info: RunInfo) -> dict[tuple[str, str], StoredFigures]:
        """Return the figures of a run by test and name, of the last attempt; no body is read.

        Raises:
            StoreError: if the store cannot be read.
        """
        return self.figures_of([info])[0]

    def figures_of(self, infos: Sequence[RunInfo]) -> list[dict[tuple[str, str], StoredFigures]]:
        """Return the figures of several runs, each as :meth:`figures` does.

        What thousands of rows have in common is fetched once: conditions, and the names of the workloads.

        Raises:
            StoreError: if the store cannot be read.
        """
        figures = select(
            records.c.workload, records.c.attempt, records.c.outcome, records.c.conditions, records.c.figures
        ).order_by(records.c.id)
        names = select(workloads.c.id, workloads.c.test, workloads.c.name)
        facts = select(conditions.c.id, conditions.c.key, conditions.c.facts)

        def read(connection: Connection) -> list[dict[tuple[str, str], StoredFigures]]:
            called: dict[int, tuple[str, str]] = {}
            under: dict[int, tuple[str, Mapping[str, Fact]]] = {}
            found = []
            for info in infos:
                rows = connection.execute(figures.where(records.c.run == info.number)).all()
                if not all(row[0] in called for row in rows):
                    own = select(records.c.workload).where(records.c.run == info.number)
                    for each in connection.execute(names.where(workloads.c.id.in_(own))):
                        called.setdefault(each.id, (each.test, each.name))
                for some in in_parts(sorted({row[3] for row in rows} - under.keys())):
                    for each in connection.execute(facts.where(conditions.c.id.in_(some))):
                        under[each.id] = (each.key, json.loads(each.facts))
                rows = sorted(rows, key=lambda row: row[1])  # the last attempt takes the place of those before it
                values = values_from(row[4] for row in rows)
                found.append({
                    called[workload]: StoredFigures(outcome, attempt, *under[its], each)
                    for (workload, attempt, outcome, its, _), each in zip(rows, values, strict=True)
                })  # fmt: skip
            return found

        with self._undamaged():
            return self._database.asked(read)

    def of_workload(self, test: str, name: str, *, infos: Sequence[RunInfo] | None = None) -> list[StoredFigures]:
        """Return what runs have of one workload, the newest first, of each the last attempt.

        Args:
            test, name: the workload.
            infos: the runs to look at; any by default.

        Raises:
            StoreError: if the store cannot be read.
        """
        rows = self._of_workload(test, name, infos)
        facts: dict[str, Mapping[str, Fact]] = {}
        with self._undamaged():
            for row in rows:
                if row.key not in facts:
                    facts[row.key] = json.loads(row.facts)
            return [
                StoredFigures(row.outcome, row.attempt, row.key, facts[row.key], values)
                for row, values in zip(rows, values_from(row.figures for row in rows), strict=True)
            ]

    def workloads_of(self, info: RunInfo) -> frozenset[tuple[str, str]]:
        """Return the workloads of a run by test and name.

        Raises:
            StoreError: if the store cannot be read.
        """
        own = select(records.c.workload).where(records.c.run == info.number)
        names = select(workloads.c.test, workloads.c.name).where(workloads.c.id.in_(own))
        return frozenset((row.test, row.name) for row in self._asked(names))

    def under(self, keys: Collection[str], infos: Sequence[RunInfo], *, limit: int) -> list[RunInfo]:
        """Return runs in which something was measured under one of some conditions, in the order they are given in.

        Args:
            keys: of the conditions.
            infos: the runs to look at; no more of them are than are needed.
            limit: so many at most.

        Raises:
            StoreError: if the store cannot be read.
        """

        def read(connection: Connection) -> list[RunInfo]:
            known = [
                row.id
                for some in in_parts(sorted(keys))
                for row in connection.execute(select(conditions.c.id).where(conditions.c.key.in_(some)))
            ]
            found: list[RunInfo] = []
            for info in infos:
                if len(found) == limit:
                    break
                own = select(records.c.id).where(records.c.run == info.number)
                if any(
                    connection.execute(own.where(records.c.conditions.in_(some)).limit(1)).first()
                    for some in in_parts(known)
                ):
                    found.append(info)
            return found

        return self._database.asked(read)

    def conditions_of(self, infos: Sequence[RunInfo]) -> dict[int, dict[str, Mapping[str, Fact]]]:
        """Return under which conditions runs were measured, by the number of the run and the key of the conditions.

        Raises:
            StoreError: if the store cannot be read.
        """
        query = select(records.c.run, conditions.c.key).join(conditions).distinct()
        pairs = [
            (row.run, row.key)
            for some in in_parts([info.number for info in infos])
            for row in self._asked(query.where(records.c.run.in_(some)))
        ]
        facts = self.facts_of(key for _, key in pairs)
        found: dict[int, dict[str, Mapping[str, Fact]]] = {info.number: {} for info in infos}
        for number, key in pairs:
            found[number][key] = facts[key]
        return found

    def facts_of(self, keys: Iterable[str]) -> dict[str, Mapping[str, Fact]]:
        """Return conditions by their keys.

        Raises:
            StoreError: if the store cannot be read.
        """
        query = select(conditions.c.key, conditions.c.facts)
        with self._undamaged():
            return {
                row.key: json.loads(row.facts)
                for some in in_parts(sorted(set(keys)))
                for row in self._asked(query.where(conditions.c.key.in_(some)))
            }

    def history(self, test: str, name: str, *, figure: str, limit: int | None = None) -> list[HistoryPoint]:
        """Return one figure of one workload over all runs that have it, the oldest first.

        Args:
            test, name: the workload.
            figure: its name, e.g. ``"gpu_time"``.
            limit: so many of the newest.

        Raises:
            StoreError: if the store cannot be read.
        """
        rows = self._of_workload(test, name, None, *runs.c)
        points: list[HistoryPoint] = []
        with self._undamaged():
            for row in rows:
                if len(points) == limit:
                    break
                found = figures_from(row.figures).get(figure)
                if found is not None:
                    points.append(HistoryPoint(_run_info(row), found, row.key, row.outcome))
        return points[::-1]

    def workloads(self, like: str | None = None) -> list[tuple[str, str]]:
        """Return the workloads by test and name, sorted.

        Args:
            like: only those that have this in their test or name; ``*`` stands for anything.

        Raises:
            StoreError: if the store cannot be read.
        """
        pairs = sorted((row.test, row.name) for row in self._asked(select(workloads.c.test, workloads.c.name)))
        if not like:
            return pairs
        parts = like.split("*")
        return [pair for pair in pairs if _has_in_order(f"{pair[0]}\n{pair[1]}", parts)]

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        """Tell what the database took for whole and is not."""
        try:
            yield
        except (zlib.error, ValueError, LookupError, TypeError) as error:
            raise StoreError(
                f"the store {self.url_shown} is damaged ({type(error).__name__}: {error}); move it away and a new one "
                "is made, import what you have exported with pytest-gpuprof import FILE"
            ) from error

    # -- how ----------------------------------------------------------------------------------------------------------

    def _asked(self, query: Select[Any]) -> Sequence[Any]:
        return self._database.asked(lambda connection: connection.execute(query).all())

    def _runs(self, *wanted: ColumnElement[bool], limit: int | None = None, offset: int = 0) -> list[RunInfo]:
        query = select(runs).where(*wanted).order_by(runs.c.created.desc(), runs.c.number.desc())
        return [_run_info(row) for row in self._asked(query.limit(limit).offset(offset or None))]

    def _latest(self, branch: str | None, back: int) -> list[RunInfo]:
        wanted: list[ColumnElement[bool]] = [runs.c.finished.is_(True)]
        if branch is not None:
            wanted.append(runs.c.branch == branch)
        return self._runs(*wanted, limit=1, offset=back)

    def _of_workload(
        self,
        test: str,
        name: str,
        infos: Sequence[RunInfo] | None,
        *more: ColumnElement[Any],
    ) -> list[Any]:
        """Return a workload's rows, the newest first, of each run the last attempt."""
        key = workload_key(plain_text(test), plain_text(name))
        numbers = None if infos is None else {info.number for info in infos}
        query = (
            _figures()
            .add_columns(records.c.run, *more)
            .select_from(_with_names(runs))
            .where(workloads.c.key == key)
            .order_by(runs.c.created.desc(), runs.c.number.desc(), records.c.attempt.desc())
        )
        if numbers is not None and len(numbers) <= AT_ONCE:
            query = query.where(records.c.run.in_(numbers))

        def read(connection: Connection) -> list[Any]:
            found: list[Any] = []
            for row in connection.execute(query):
                if (numbers is None or row.run in numbers) and not (found and found[-1].run == row.run):
                    found.append(row)
            return found

        return self._database.asked(read)

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


def _figures() -> Select[Any]:
    return select(records.c.outcome, records.c.attempt, conditions.c.key, conditions.c.facts, records.c.figures)


def _with_names(*more: Table) -> Any:
    joined: Any = records.join(workloads).join(conditions)
    for table in more:
        joined = joined.join(table)
    return joined


def _run_info(row: Any) -> RunInfo:
    return RunInfo(
        row.number,
        row.id,
        row.created,
        row.commit,
        row.branch,
        row.dirty,
        row.machine,
        row.version,
        row.finished,
        row.duration_s,
        row.records,
        json.loads(row.head).get("counts", {}),
        row.has_samples,
    )


def _has_in_order(text: str, parts: Iterable[str]) -> bool:
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True
