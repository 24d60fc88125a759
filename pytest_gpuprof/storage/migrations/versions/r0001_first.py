"""The first store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    large = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("commit", sa.String(40)),
        sa.Column("branch", sa.Text),
        sa.Column("dirty", sa.Boolean, nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("has_samples", sa.Boolean, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_created", "runs", ["created"])
    op.create_index("runs_commit", "runs", ["commit"])
    op.create_table(
        "workloads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(32), nullable=False, unique=True),
        sa.Column("test", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sqlite_autoincrement=True,  # a process that knows the id of a pruned one must not meet another
    )
    for name in ("conditions", "environments"):
        op.create_table(
            name,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("key", sa.String(32), nullable=False, unique=True),
            sa.Column("facts", sa.Text, nullable=False),
        )
    op.create_table(
        "records",
        sa.Column("id", large, primary_key=True),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.number"), nullable=False),
        sa.Column("workload", sa.Integer, sa.ForeignKey("workloads.id"), nullable=False),
        sa.Column("attempt", sa.SmallInteger, nullable=False),
        sa.Column("conditions", sa.Integer, sa.ForeignKey("conditions.id"), nullable=False),
        sa.Column("environment", sa.Integer, sa.ForeignKey("environments.id"), nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
        sa.UniqueConstraint("run", "workload", "attempt", name="records_by_run"),
    )
    op.create_index("records_by_workload", "records", ["workload", "run"])
    for name, column in (("bodies", "body"), ("samples", "samples")):
        op.create_table(
            name,
            sa.Column("record", large, sa.ForeignKey("records.id"), primary_key=True, autoincrement=False),
            sa.Column(column, sa.LargeBinary, nullable=False),
        )
