"""What a store has of its runs: their documents, figures, and how a figure went over time.

A body, which holds all that was measured, is read for a document alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.adding import AT_ONCE, in_parts
from pytest_gpuprof.storage.finding import StoredRuns, run_info
from pytest_gpuprof.storage.rows import figures_from, plain_text, unpacked, values_from, workload_key
from pytest_gpuprof.storage.runs import HistoryPoint, RunInfo, StoredFigures
from pytest_gpuprof.storage.tables import bodies, conditions, environments, records, runs, samples, workloads

__all__ = ["StoredRecords"]


class StoredRecords(StoredRuns):
    """The runs of a store, with their records."""

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
                    points.append(HistoryPoint(run_info(row), found, row.key, row.outcome))
        return points[::-1]

    def workloads(self, like: str | None = None) -> list[tuple[str, str]]:
        """Return the workloads by test and name, sorted.

        Args:
            like: only those that have this in their test and name, with a space between; ``*`` stands for anything.

        Raises:
            StoreError: if the store cannot be read.
        """
        pairs = sorted((row.test, row.name) for row in self._asked(select(workloads.c.test, workloads.c.name)))
        if not like:
            return pairs
        parts = like.split("*")
        return [pair for pair in pairs if _has_in_order(" ".join(pair), parts)]

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
            select(records.c.outcome, records.c.attempt, conditions.c.key, conditions.c.facts, records.c.figures)
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


def _with_names(*more: Table) -> Any:
    joined: Any = records.join(workloads).join(conditions)
    for table in more:
        joined = joined.join(table)
    return joined


def _has_in_order(text: str, parts: Iterable[str]) -> bool:
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True
