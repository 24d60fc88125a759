"""Adding to the store: a run, and its records, each in the transaction of whoever calls.

Everything may be done twice, and what is there already stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select, update

from pytest_gpuprof.storage.rows import Packed, facts_key, plain_text, workload_key
from pytest_gpuprof.storage.tables import bodies, conditions, environments, records, runs, samples, workloads

__all__ = ["AT_ONCE", "Known", "begun", "in_parts", "inserted", "number_of", "run_row"]

AT_ONCE = 500
"""Values in one condition; SQLite before 3.32 takes 999."""

_COMMIT_DIGITS = 40  # of SHA-1; of SHA-256 as many tell commits apart

Known = MutableMapping[tuple[str, str], int]
"""Ids of what is stored once, by table and key."""

_EMPTY: Mapping[str, Any] = {"finished": False, "records": 0, "has_samples": True}
"""A run that has just begun."""


def begun(connection: Connection, head: Mapping[str, Any]) -> int:
    """Return the number of a run, which is added if it is not there."""
    number = number_of(connection, head["id"])
    if number is None:
        _insert_new(connection, runs, [{"id": head["id"], **_EMPTY, **run_row(head)}])
        number = number_of(connection, head["id"])
    assert number is not None
    return number


def _insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, without those that are there."""
    insert: Any
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:  # importing what is not needed takes a tenth of a second
        from sqlalchemy.dialects.postgresql import insert
    connection.execute(insert(table).on_conflict_do_nothing(), rows)


def inserted(connection: Connection, number: int, new: Sequence[Packed], known: Known) -> int:
    """Insert what a run lacks; return how many records these were."""
    if not new:
        return 0
    # the lock on its row lets one writer at a time add to a run; SQLite has only one anyway
    connection.execute(select(runs.c.number).where(runs.c.number == number).with_for_update())
    names = {
        workload_key(each.test, each.name): {"test": each.test, "name": each.name} for each in new
    }  # fmt: skip
    _identify(connection, workloads, names, known)
    _identify(connection, conditions, {each.conditions_key: {"facts": each.conditions} for each in new}, known)
    machines = {facts_key(each.environment): {"facts": each.environment} for each in new}
    _identify(connection, environments, machines, known)
    by_key = {(known["workloads", workload_key(each.test, each.name)], each.attempt): each for each in new}
    for there in _ids(connection, number, [workload for workload, _ in by_key]):
        by_key.pop(there, None)
    if not by_key:
        return 0
    rows = [
        {
            "run": number,
            "workload": workload,
            "attempt": attempt,
            "conditions": known["conditions", each.conditions_key],
            "environment": known["environments", facts_key(each.environment)],
            "outcome": each.outcome,
            "figures": each.figures,
        }
        for (workload, attempt), each in by_key.items()
    ]
    connection.execute(records.insert(), rows)
    ids = _ids(connection, number, [workload for workload, _ in by_key])
    connection.execute(bodies.insert(), [{"record": ids[key], "body": each.body} for key, each in by_key.items()])
    connection.execute(
        samples.insert(), [{"record": ids[key], "samples": each.samples} for key, each in by_key.items()]
    )
    connection.execute(
        update(runs).where(runs.c.number == number).values(records=runs.c.records + len(by_key), has_samples=True)
    )
    return len(by_key)


def _identify(
    connection: Connection,
    table: Table,
    values: Mapping[str, Mapping[str, str]],
    known: Known,
) -> None:
    """Learn the ids of what is stored once, stored where it is new."""
    for insert in (True, False):
        unknown = sorted(key for key in values if (table.name, key) not in known)
        for some in in_parts(unknown):
            query = select(table.c.key, table.c.id).where(table.c.key.in_(some))
            known.update({(table.name, row.key): row.id for row in connection.execute(query)})
        missing = [key for key in unknown if (table.name, key) not in known]
        if insert and missing:  # sorted, so that two writers never wait for each other
            _insert_new(connection, table, [{"key": key, **values[key]} for key in missing])


def number_of(connection: Connection, run_id: str) -> int | None:
    """Return the number of a run by its id, ``None`` if it is not there."""
    number: int | None = connection.execute(select(runs.c.number).where(runs.c.id == run_id)).scalar()
    return number


def _ids(connection: Connection, number: int, of: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return the records of a run by workload and attempt."""
    query = select(records.c.workload, records.c.attempt, records.c.id).where(records.c.run == number)
    found: dict[tuple[int, int], int] = {}
    for some in in_parts(sorted(set(of))) if len(of) <= AT_ONCE else [None]:
        asked = query if some is None else query.where(records.c.workload.in_(some))
        found |= {(row.workload, row.attempt): row.id for row in connection.execute(asked)}
    return found


def in_parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield ``values`` in parts that fit into one condition."""
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def run_row(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the head of a document says as a row of ``runs``."""
    source: Mapping[str, Any] = head.get("source", {})
    commit, branch = source.get("commit"), source.get("branch")
    return {
        "created": head["created"],
        "commit": None if commit is None else str(commit)[:_COMMIT_DIGITS],
        "branch": None if branch is None else plain_text(branch),
        "dirty": bool(source.get("dirty", False)),
        "machine": plain_text(head.get("machine", ""))[:64],
        "version": plain_text(head.get("version", "")),
        "duration_s": float(head.get("duration_s", 0.0)),
        "head": json.dumps({key: value for key, value in head.items() if key != "records"}, allow_nan=False),
    }
