"""Creating the tables of a store, and bringing those of an older one up to date.

Alembic does it, and is imported only when there is something to do: opening a store that is up to date takes one query.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

__all__ = ["FOLDER", "REVISIONS", "migrate", "revision_of"]

FOLDER = Path(__file__).parent / "migrations"
"""Where the changes are."""

REVISIONS = ("0001",)
"""Every revision of the tables that this version knows, the current one last."""


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a store's tables, ``None`` if it has none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(connection: Connection, folder: Path = FOLDER) -> None:
    """Bring the tables up to date, in the transaction that the connection is in: wholly, or not at all.

    Args:
        connection: in a transaction that keeps other writers out.
        folder: with the changes.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.script.revision import _RevIdType

    scripts = ScriptDirectory(str(folder))

    def steps(current: _RevIdType, context: MigrationContext) -> object:
        return scripts._upgrade_revs("head", current)  # type: ignore[arg-type]  # as Alembic's own commands call it

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
