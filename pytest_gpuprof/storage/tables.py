"""The tables of the store, as they are now; ``migrations/`` tells how they came to be.

::

    runs ─┬─< records >─┬─ workloads      which test, which profile of it
          │      │      ├─ conditions     what has to be equal for two figures to be compared
          │      │      └─ environments   what identified the machine in full
          │      ├── bodies    the record without what is stored beside it
          │      └── samples   every sample, until they are thinned

A run of 10,000 tests is 10,000 rows in ``records``, each a few hundred bytes: figures are in the row itself, so that
comparing and drawing a history read nothing else. Text that is the same in all of a run's records is stored once.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["bodies", "conditions", "environments", "metadata", "records", "runs", "samples", "workloads"]

metadata = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only where the type is INTEGER

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("created", String(20), nullable=False),
    Column("commit", String(40)),
    Column("branch", Text),
    Column("dirty", Boolean, nullable=False),
    Column("machine", String(64), nullable=False),
    Column("version", Text, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("has_samples", Boolean, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("records", Integer, nullable=False),
    Column("head", Text, nullable=False),
    Index("runs_created", "created"),
    Index("runs_commit", "commit"),
    sqlite_autoincrement=True,  # the number of a run that was pruned is not given to another
)

workloads = Table(
    "workloads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("test", Text, nullable=False),
    Column("name", Text, nullable=False),
    sqlite_autoincrement=True,  # a process that knows the id of a pruned one must not meet another
)

conditions = Table(
    "conditions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("facts", Text, nullable=False),
)

environments = Table(
    "environments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("facts", Text, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("run", Integer, ForeignKey("runs.number"), nullable=False),
    Column("workload", Integer, ForeignKey("workloads.id"), nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("conditions", Integer, ForeignKey("conditions.id"), nullable=False),
    Column("environment", Integer, ForeignKey("environments.id"), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("figures", Text, nullable=False),
    UniqueConstraint("run", "workload", "attempt", name="records_by_run"),
    Index("records_by_workload", "workload", "run"),
)

bodies = Table(
    "bodies",
    metadata,
    Column("record", _ID, ForeignKey("records.id"), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("record", _ID, ForeignKey("records.id"), primary_key=True, autoincrement=False),
    Column("samples", LargeBinary, nullable=False),
)
