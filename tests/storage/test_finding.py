"""Runs are found by when, where and under which conditions they were, and by what a person calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.store import Store

Make = Callable[..., dict[str, Any]]


def test_runs_are_listed_the_newest_first(store: Store, document: Make) -> None:
    """By when they began, not by when they were stored."""
    made = [document() for _ in range(4)]
    for each in (made[2], made[0], made[3], made[1]):
        store.add(each)
    assert [info.id for info in store.runs()] == [each["id"] for each in reversed(made)]
    assert [info.id for info in store.runs(limit=2)] == [made[3]["id"], made[2]["id"]]
    newest = store.runs()[1]
    assert [info.id for info in store.runs(before=newest)] == [made[1]["id"], made[0]["id"]]
    assert [info.id for info in store.runs(until=newest.created)] == [made[n]["id"] for n in (2, 1, 0)]


def test_runs_of_a_branch_or_a_commit(store: Store, document: Make) -> None:
    """Without git a run has neither."""
    for branch, commit in (("main", "ab" * 20), ("a%b", "ac" * 20), ("main", "ab" * 20)):
        store.add(document(source={"commit": commit, "branch": branch, "dirty": True}))
    store.add(document(source={"unavailable": "git is not installed"}))
    assert [info.number for info in store.runs(branch="main")] == [3, 1]
    assert [info.number for info in store.runs(branch="a%b")] == [2]
    assert [info.number for info in store.runs(commit="abab")] == [3, 1]
    assert store.runs(commit="%") == []
    assert [info.dirty for info in store.runs()] == [False, True, True, True]


@pytest.mark.parametrize(
    ("ref", "numbers"),
    [
        ("latest", [3]),
        ("latest~1", [2]),
        ("latest:main", [3]),
        ("latest:main~1", [1]),
        ("latest:feature/x", [2]),
        ("#2", [2]),
        (" 2 ", [2]),
        ("0a0a0a0", [3, 1]),
        ("0A0A0A0", [3, 1]),
        ("d" * 40, [2]),
        ("e00000", [1]),
        ("2222222", [2]),
    ],
)
def test_a_run_is_named_in_many_ways(store: Store, document: Make, ref: str, numbers: list[int]) -> None:
    """By its place, its branch, its number, its commit or its id."""
    runs = (("e" + "0" * 31, "main", "0a" * 20), ("2" * 32, "feature/x", "d" * 40), ("3" * 32, "main", "0a" * 20))
    for run_id, branch, commit in runs:
        store.add(document(run_id=run_id, source={"commit": commit, "branch": branch, "dirty": False}))
    store.begin(document())  # it has not finished, so it is not the latest
    assert [info.number for info in store.resolve(ref)] == numbers


@pytest.mark.parametrize("ref", ["latest", "latest:main", "latest~3", "#9", "0a0a0a0", "e00000", "nonsense", "", "%"])
def test_a_run_that_is_not_there_is_told(store: Store, ref: str) -> None:
    """With what there is, and how to name it."""
    with pytest.raises(StoreError, match="pytest-gpuprof list shows"):
        store.resolve(ref)


def test_runs_under_the_same_conditions(store: Store, record: Make, document: Make) -> None:
    """Those that have at least one record under them, so many as are asked for."""
    for device in ("NVIDIA T4", "NVIDIA L4", "NVIDIA T4"):
        store.add(document(record(device=device), record("b", "b", device="none")))
    keys = {device: key_of({"backend": "simulated", "device": device}) for device in ("NVIDIA T4", "NVIDIA L4", "none")}
    infos = store.runs()
    assert store.under({keys["NVIDIA T4"]}, infos, limit=5) == [infos[0], infos[2]]
    assert store.under({keys["NVIDIA L4"], keys["NVIDIA T4"]}, infos, limit=2) == infos[:2]
    assert store.under({keys["none"]}, infos[1:], limit=5) == infos[1:]
    assert store.under({"of another"}, infos, limit=5) == []
