"""The store gives back what it was given, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.store import Store
from pytest_gpuprof.storage.tables import bodies, records, workloads
from tests.storage.stores import NAME, TEST, added, count

Make = Callable[..., dict[str, Any]]


def test_a_document_comes_back_as_it_was(store: Store, record: Make, document: Make) -> None:
    """Every sample, figure and fact of it; nothing is rounded."""
    made = document(record(), record("tests/test_it.py::test_slow", "slow", gpu_time=0.1 + 0.2))
    info = added(store, made)
    assert store.document(info) == made
    assert (info.number, info.records, info.finished, info.has_samples) == (1, 2, True, True)
    assert (info.commit, info.branch, info.dirty) == (made["source"]["commit"], "main", False)
    assert (info.machine, info.version, info.duration_s, info.counts) == (
        "0123456789ab",
        made["version"],
        12.5,
        {"met": 1},
    )


def test_a_run_that_is_stored_test_by_test_is_the_same(store: Store, record: Make, document: Make) -> None:
    """Begun, appended to and finished, each call made twice as after a dropped connection."""
    made = document(record(), record("tests/test_it.py::test_slow", "slow"))
    head = {**made, "records": [], "duration_s": 0.0, "counts": {}}
    for _ in range(2):
        store.begin(head)
    assert [(info.finished, info.records) for info in store.runs()] == [(False, 0)]
    for each in made["records"]:
        for _ in range(2):
            store.append(made["id"], each)
    for _ in range(2):
        store.finish(made["id"], made)
    (info,) = store.runs()
    assert (info.finished, info.records, info.duration_s, info.counts) == (True, 2, 12.5, {"met": 1})
    assert store.document(info) == made


def test_adding_twice_adds_once(store: Store, record: Make, document: Make) -> None:
    """And says so; what a run that is there lacks is added, and it counts as finished then."""
    made = document(record(), record("b", "b"))
    store.begin(made)
    store.append(made["id"], made["records"][0])
    assert store.add(made, finished=False)
    assert not store.add(made)
    (info,) = store.runs()
    assert (info.records, info.finished) == (2, True)
    assert store.document(info) == made


def test_a_record_of_an_older_version_gets_its_figures(store: Store, measured: dict[str, Any], document: Make) -> None:
    """One without figures, conditions and outcome has them when it is stored."""
    bare = {key: value for key, value in measured.items() if key not in ("figures", "conditions")}
    info = added(store, document(bare))
    (stored,) = store.figures(info).values()
    assert stored.values["gpu_time"] == profile_from(measured).gpu.time_s
    assert stored.conditions["device"] == "Simulated GPU (simulated)"
    assert stored.outcome == ""


def test_a_record_without_an_environment_stays_one(store: Store, record: Make, document: Make) -> None:
    """Nothing is made up."""
    made = record()
    del made["environment"]
    info = added(store, document(made))
    assert store.document(info)["records"] == [made]


def test_names_may_be_long_and_strange(store: Store, record: Make, document: Make) -> None:
    """A node id of 10,000 characters, quotes, every alphabet, and what no database takes."""
    names = ["x" * 10_000, "'; DROP TABLE runs; --", "größe[中文]-€", "half a pair \ud800", "nul \0"]
    info = added(store, document(*(record(f"t::{name}", name) for name in names)))
    stored = {name for _, name in store.figures(info)}
    assert stored == {*names[:3], "half a pair \\ud800", "nul \\0"}
    assert store.history(f"t::{names[4]}", names[4], figure="gpu_time")


def test_appending_to_a_run_that_never_began_is_refused(store: Store, record: Make) -> None:
    """It would belong to nothing."""
    with pytest.raises(StoreError, match="has not begun"):
        store.append("f" * 32, record())


def test_a_run_that_was_pruned_meanwhile_begins_again(
    url: str, store: Store, record: Make, document: Make, tmp_path: Path
) -> None:
    """Also when others took away the rows that this process knows."""
    first, made = document(record()), document(record())
    store.add(first)
    store.begin(made)
    store.append(made["id"], record())
    with Store.open(url, tmp_path) as other:
        other.finish(made["id"], made)
        assert other.prune(keep_samples=0, keep_runs=0).deleted == 2
        other.add(document(record("another", "another")))
    store.append(made["id"], record("b", "b"))
    store.append(made["id"], record())
    (info,) = [each for each in store.runs() if each.id == made["id"]]
    assert set(store.figures(info)) == {("b", "b"), (TEST, NAME)}


def test_what_is_alike_is_stored_once(store: Store, record: Make, document: Make) -> None:
    """Workloads, conditions and environments of a hundred records in two runs."""
    for _ in range(2):
        store.add(document(*(record(f"t::{number}", "n") for number in range(50))))
    assert (count(store, records), count(store, workloads)) == (100, 50)
    assert [count(store, records.metadata.tables[name]) for name in ("conditions", "environments")] == [1, 1]


def test_a_body_is_small(store: Store, record: Make, document: Make) -> None:
    """What is alike in all records is not in it."""
    info = added(store, document(record()))
    body = store._database.asked(lambda connection: connection.execute(select(bodies.c.body)).scalar_one())
    text = zlib.decompress(body).decode()
    assert info.records == 1
    for part in ("identity", "samples", "conditions", "test_it.py"):
        assert part not in text
