"""Which runs a store has, and under which conditions they were measured."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.adding import in_parts
from pytest_gpuprof.storage.database import Database
from pytest_gpuprof.storage.runs import RunInfo, resolved
from pytest_gpuprof.storage.tables import conditions, records, runs

__all__ = ["StoredRuns", "run_info"]


class StoredRuns:
    """The runs of a store.

    Args:
        database: open.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def url_shown(self) -> str:
        """What people see of its address: no password."""
        return self._database.address.shown

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

    # -- how ----------------------------------------------------------------------------------------------------------

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

    def _asked(self, query: Select[Any]) -> Sequence[Any]:
        return self._database.asked(lambda connection: connection.execute(query).all())

    def _runs(self, *wanted: ColumnElement[bool], limit: int | None = None, offset: int = 0) -> list[RunInfo]:
        query = select(runs).where(*wanted).order_by(runs.c.created.desc(), runs.c.number.desc())
        return [run_info(row) for row in self._asked(query.limit(limit).offset(offset or None))]

    def _latest(self, branch: str | None, back: int) -> list[RunInfo]:
        wanted: list[ColumnElement[bool]] = [runs.c.finished.is_(True)]
        if branch is not None:
            wanted.append(runs.c.branch == branch)
        return self._runs(*wanted, limit=1, offset=back)


def run_info(row: Any) -> RunInfo:
    """Return what a row of ``runs`` says."""
    head = json.loads(row.head)
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
        head.get("counts", {}),
        head.get("unenforced"),
        row.has_samples,
    )
