"""The tables of a store are created and brought up to date, once, by whichever process comes first."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage import database, migration
from pytest_gpuprof.storage.store import Store
from pytest_gpuprof.storage.tables import metadata

Make = Callable[..., dict[str, Any]]

SECOND = '''
"""What a later version may do: a column, filled from what is stored."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

def upgrade():
    op.add_column("runs", sa.Column("month", sa.String(7)))
    op.execute("UPDATE runs SET month = substr(created, 1, 7)")
    op.create_index("runs_month", "runs", ["month"])
'''

BROKEN = SECOND + '    op.execute("UPDATE no_such_table SET a = 1")\n'


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this version a later one, with a second revision of the tables."""

    def become(revision: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(migration.FOLDER, folder, dirs_exist_ok=True)
        (folder / "versions" / "r0002_second.py").write_text(revision, encoding="ascii")
        as_it_is = migration.migrate
        monkeypatch.setattr(database.migration, "migrate", lambda connection: as_it_is(connection, folder))
        monkeypatch.setattr(migration, "REVISIONS", (*migration.REVISIONS, "0002"))

    return become


def months(store: Store) -> list[str]:
    return store._database.asked(lambda c: list(c.execute(text("SELECT month FROM runs ORDER BY number")).scalars()))


def test_the_tables_are_those_that_the_changes_make(store: Store) -> None:
    """Alembic finds no difference between ``tables.py`` and what the revisions created."""
    different = store._database.asked(
        lambda connection: compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
    )
    assert different == []


def test_a_store_with_records_is_brought_up_to_date(
    url: str, later: Callable[[str], None], record: Make, document: Make, tmp_path: Path
) -> None:
    """By a later version; every record is still there, and more can be added."""
    made = [document(record(), created=f"2026-0{month}-01T00:00:00Z") for month in (1, 2)]
    with Store.open(url, tmp_path) as store:
        for each in made:
            store.add(each)
    later(SECOND)
    with Store.open(url, tmp_path) as store:
        assert months(store) == ["2026-01", "2026-02"]
        assert [store.document(info) for info in reversed(store.runs())] == made
        assert store.add(document(record()))


def test_a_change_that_fails_changes_nothing(
    url: str,
    later: Callable[[str], None],
    record: Make,
    document: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is as it was, and the version that wrote it goes on using it."""
    made = document(record())
    with Store.open(url, tmp_path) as store:
        store.add(made)
    later(BROKEN)
    with pytest.raises(StoreError, match="no_such_table"):
        Store.open(url, tmp_path)
    monkeypatch.undo()
    with Store.open(url, tmp_path) as store:
        assert store.document(store.runs()[0]) == made
        with pytest.raises(StoreError, match="month"):
            months(store)


def test_a_store_of_a_newer_version_is_refused(
    url: str, later: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do, and untouched."""
    later(SECOND)
    Store.open(url, tmp_path).close()
    monkeypatch.undo()
    for opening in (Store.open, Store.existing):
        with pytest.raises(StoreError, match=r"written by a newer pytest-gpuprof \(.* revision 0002.*upgrade"):
            opening(url, tmp_path)


def test_eight_processes_create_one_store(url: str, tmp_path: Path) -> None:
    """All at once, and each can use it."""
    code = (
        f"from pathlib import Path; from pytest_gpuprof.storage.store import Store; Store.open({url!r}, Path()).runs()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(8)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()


def test_opening_an_up_to_date_store_does_not_import_alembic(url: str, tmp_path: Path) -> None:
    """It is imported when there is something to change only."""
    Store.open(url, tmp_path).close()
    code = (
        "import sys; from pathlib import Path; from pytest_gpuprof.storage.store import Store; "
        f"Store.open({url!r}, Path()).runs(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_store_is_not_made_by_looking_for_it(url: str, tmp_path: Path) -> None:
    """``existing`` finds none, and leaves nothing."""
    assert Store.existing(url, tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    Store.open(url, tmp_path).close()
    found = Store.existing(url, tmp_path)
    assert found is not None
    with found:
        assert found.runs() == []
