"""What tests of the store have in common."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from pytest_gpuprof.storage.runs import RunInfo
from pytest_gpuprof.storage.store import Store

TEST, NAME = "tests/test_it.py::test_fast", "fast"
"""The workload of the fixture ``record``."""


def added(store: Store, document: dict[str, Any]) -> RunInfo:
    """Add a run and return what the store says of it."""
    store.add(document)
    (info,) = [each for each in store.runs() if each.id == document["id"]]
    return info


def count(store: Store, table: Any) -> int:
    """Return how many rows a table has."""
    return store._database.asked(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
    )
