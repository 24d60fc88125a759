"""Taking the samples of older runs from the store, or whole runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.runs import RunInfo
from pytest_gpuprof.storage.store import Store
from pytest_gpuprof.storage.tables import bodies, records, samples
from tests.storage.stores import NAME, TEST, added, count

Make = Callable[..., dict[str, Any]]


def test_pruning_thins_older_runs(store: Store, record: Make, document: Make) -> None:
    """Their figures and a summary stay, and the newest keep every sample."""
    infos = [added(store, document(record())) for _ in range(3)]
    before = store.document(infos[0])["records"][0]
    planned = store.prune(keep_samples=1, dry_run=True)
    assert (planned.thinned, planned.deleted, planned.records) == (2, 0, 2)
    assert planned.freed_bytes > 0
    assert count(store, samples) == 3
    assert store.prune(keep_samples=1).thinned == 2
    assert store.prune(keep_samples=1).thinned == 0
    assert [info.has_samples for info in store.runs()] == [True, False, False]
    thin = store.document(infos[0])["records"][0]
    assert (thin["figures"], thin["conditions"], thin["verdicts"]) == (
        before["figures"], before["conditions"], before["verdicts"],
    )  # fmt: skip
    assert thin["legs"]["gpu"]["rounds"] == []
    assert profile_from(thin).gpu.time_s == profile_from(before).gpu.time_s
    taken = [sample for each in before["legs"]["gpu"]["rounds"] for sample in each["samples"]["wall_time"]]
    summary = thin["summary"]["gpu"]["wall_time"]
    assert (summary["count"], summary["min"], summary["max"]) == (len(taken), min(taken), max(taken))
    assert store.document(store.runs()[0])["records"] == [before]


def test_pruning_takes_old_runs_away(store: Store, record: Make, document: Make) -> None:
    """By number and by date; workloads that nothing has go with them, and a number is not given twice."""
    old = document(record("old", "old"), created="2025-01-01T00:00:00Z")
    for made in (old, document(record()), document(record()), document(record())):
        store.add(made)
    running = document(record(), created="2024-01-01T00:00:00Z")
    store.begin(running)
    assert store.prune(keep_samples=9, older_than=date(2025, 6, 1)).deleted == 1
    assert store.workloads() == [(TEST, NAME)]
    assert store.prune(keep_samples=9, keep_runs=1).deleted == 2
    assert [info.number for info in store.runs()] == [4, 5]
    assert (count(store, records), count(store, bodies), count(store, samples)) == (1, 1, 1)
    assert store.prune(keep_samples=0, keep_runs=0).deleted == 1
    store.add(document())
    assert store.runs()[0].number == 6
    with pytest.raises(StoreError, match="it was pruned"):
        store.document(RunInfo(2, "", "", None, None, False, "", "", True, 0.0, 0))


def test_pruning_gives_space_back(record: Make, document: Make, tmp_path: Path) -> None:
    """The file of a SQLite store is smaller by what is said."""
    path = tmp_path / "store.sqlite3"
    with Store.open(str(path), tmp_path) as store:
        store.add(document(*(record(f"t::{number}", "n") for number in range(300))))
        store.add(document(record()))
        size = store._database.file_bytes()
        assert size is not None
        freed = store.prune(keep_samples=9, keep_runs=1).freed_bytes
        assert freed > size / 2
        assert path.stat().st_size == size - freed
