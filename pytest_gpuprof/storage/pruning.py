"""Taking from the store: the samples of older runs, or whole runs, each in the transaction of whoever calls."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, select, update

from pytest_gpuprof.storage.adding import in_parts
from pytest_gpuprof.storage.rows import thinned
from pytest_gpuprof.storage.tables import bodies, records, runs, samples, workloads

__all__ = ["delete_run", "stored_bytes", "thin_run"]


def stored_bytes(connection: Connection, number: int, *, whole: bool) -> int:
    """Return how many bytes the samples of a run take, or all of it."""
    columns = [samples.c.samples] + ([bodies.c.body, records.c.figures] if whole else [])
    total = sum((func.coalesce(func.length(column), 0) for column in columns), func.length(""))
    joined = records.outerjoin(samples).outerjoin(bodies)
    query = select(func.coalesce(func.sum(total), 0)).select_from(joined).where(records.c.run == number)
    return int(connection.execute(query).scalar_one())


def thin_run(connection: Connection, number: int) -> None:
    """Take the samples of a run away, some records at a time, and leave their summary in the body."""
    ids = connection.execute(select(records.c.id).where(records.c.run == number)).scalars().all()
    for some in in_parts(ids):
        query = select(bodies.c.record, bodies.c.body, samples.c.samples).join(
            samples, samples.c.record == bodies.c.record
        )
        rows = connection.execute(query.where(bodies.c.record.in_(some))).all()
        if rows:
            connection.execute(
                update(bodies).where(bodies.c.record == bindparam("of")).values(body=bindparam("thin")),
                [{"of": row.record, "thin": thinned(row.body, row.samples)} for row in rows],
            )
        connection.execute(delete(samples).where(samples.c.record.in_(some)))
    connection.execute(update(runs).where(runs.c.number == number).values(has_samples=False))


def delete_run(connection: Connection, number: int) -> None:
    """Take a run away, and the workloads that no other run has."""
    of_run = select(records.c.id).where(records.c.run == number)
    orphans = select(records.c.workload).where(records.c.run == number)
    touched = connection.execute(orphans.distinct()).scalars().all()
    for table in (samples, bodies):
        connection.execute(delete(table).where(table.c.record.in_(of_run)))
    connection.execute(delete(records).where(records.c.run == number))
    connection.execute(delete(runs).where(runs.c.number == number))
    used = select(records.c.id).where(records.c.workload == workloads.c.id).exists()
    for some in in_parts(touched):
        connection.execute(delete(workloads).where(workloads.c.id.in_(some), ~used))
