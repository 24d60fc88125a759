"""The store gives back what it was given, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.store import RunInfo, Store
from pytest_gpuprof.storage.tables import bodies, records, samples, workloads

Make = Callable[..., dict[str, Any]]

TEST, NAME = "tests/test_it.py::test_fast", "fast"


def added(store: Store, document: dict[str, Any]) -> RunInfo:
    """Add a run and return what the store says of it."""
    store.add(document)
    (info,) = [each for each in store.runs() if each.id == document["id"]]
    return info


def count(store: Store, table: Any) -> int:
    return store._database.asked(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
    )


# -- writing and reading ----------------------------------------------------------------------------------------------


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


def test_of_a_rerun_the_last_attempt_counts(store: Store, record: Make, document: Make) -> None:
    """As in exports; the earlier ones are kept."""
    tried = [record(attempt=2, gpu_time=2e-3), record(attempt=1, outcome="rerun", gpu_time=9e-3)]
    info = added(store, document(*tried))
    assert [each["attempt"] for each in store.document(info)["records"]] == [2]
    assert [each["attempt"] for each in store.document(info, every_attempt=True)["records"]] == [2, 1]
    assert store.figures(info)[TEST, NAME].values["gpu_time"] == 2e-3
    assert [point.figure.value for point in store.history(TEST, NAME, figure="gpu_time")] == [2e-3]


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


# -- runs -------------------------------------------------------------------------------------------------------------


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


# -- figures ----------------------------------------------------------------------------------------------------------


def test_figures_of_a_run(store: Store, record: Make, document: Make) -> None:
    """By workload, with conditions, without reading a body."""
    info = added(store, document(record(), record("b", "b", outcome="failed", device="NVIDIA L4")))
    found = store.figures(info)
    assert found[TEST, NAME].conditions == {"backend": "simulated", "device": "NVIDIA T4"}
    assert found["b", "b"].outcome == "failed"
    assert found["b", "b"].conditions_key == key_of({"backend": "simulated", "device": "NVIDIA L4"})
    assert found[TEST, NAME].values["gpu_time"] == 1e-3
    (point,) = store.history(TEST, NAME, figure="gpu_time")
    figure = point.figure
    assert (figure.value, figure.interval, figure.rounds, figure.quality) == (
        1e-3,
        (1e-3 * 0.99, 1e-3 * 1.01),
        6,
        "measured",
    )


def test_a_figure_may_have_half_an_interval_or_none(store: Store, record: Make, document: Make) -> None:
    """JSON has no infinity; a word that this version does not know stays."""
    made = record()
    made["figures"] = {
        "open": {"value": 1.0, "interval": [0.5, None], "rounds": 3, "quality": "measured"},
        "none": {"value": 2.0, "interval": None, "rounds": 0, "quality": "declared"},
        "more": {"value": 3.0, "interval": None, "rounds": 0, "quality": "measured", "word": "new"},
    }
    info = added(store, document(made))
    assert store.figures(info)[TEST, NAME].values == {"open": 1.0, "none": 2.0, "more": 3.0}
    points = [store.history(TEST, NAME, figure=name)[0] for name in ("open", "none", "more")]
    assert [point.figure.interval for point in points] == [(0.5, float("inf")), None, None]
    assert store.document(info)["records"][0]["figures"] == made["figures"]


def test_figures_of_several_runs(store: Store, record: Make, document: Make) -> None:
    """Each run has its own, in the order that was asked for; what they have in common is fetched once."""
    added(store, document(record(gpu_time=1e-3)))
    added(store, document(record("b", "b", gpu_time=2e-3, device="NVIDIA L4"), record(gpu_time=3e-3)))
    newest, oldest = store.figures_of(store.runs())
    assert {each: found.values["gpu_time"] for each, found in newest.items()} == {("b", "b"): 2e-3, (TEST, NAME): 3e-3}
    assert newest["b", "b"].conditions["device"] == "NVIDIA L4"
    assert {each: found.values["gpu_time"] for each, found in oldest.items()} == {(TEST, NAME): 1e-3}
    assert [store.workloads_of(info) for info in store.runs()] == [newest.keys(), oldest.keys()]


def test_what_runs_have_of_a_workload(store: Store, record: Make, document: Make) -> None:
    """The newest first, of each run the last attempt, under whatever conditions and however its test ended."""
    for number in range(1, 5):
        outcome = "failed" if number == 3 else "passed"
        device = "NVIDIA L4" if number == 4 else "NVIDIA T4"
        tried = [record(attempt=1, outcome="rerun", gpu_time=9e-3)] if number == 2 else []
        made = record(attempt=2 if tried else 1, gpu_time=number * 1e-3, outcome=outcome, device=device)
        store.add(document(*tried, made, record("b", "b")))

    def found(**how: Any) -> list[tuple[int, str, Any]]:
        return [
            (round(each.values["gpu_time"] * 1e3), each.outcome, each.conditions["device"])
            for each in store.of_workload(TEST, NAME, **how)
        ]

    two, one = (2, "passed", "NVIDIA T4"), (1, "passed", "NVIDIA T4")
    assert found() == [(4, "passed", "NVIDIA L4"), (3, "failed", "NVIDIA T4"), two, one]
    assert found(infos=store.runs()[2:]) == [two, one]
    assert found(infos=[]) == []


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


def test_a_history(store: Store, record: Make, document: Make) -> None:
    """One point per run that has the figure, the oldest first."""
    for number in range(1, 6):
        store.add(document(record(gpu_time=number * 1e-3)) if number != 3 else document(record("other", "other")))
    points = store.history(TEST, NAME, figure="gpu_time")
    assert [(point.run.number, round(point.figure.value * 1e3)) for point in points] == [(1, 1), (2, 2), (4, 4), (5, 5)]
    assert [point.run.number for point in store.history(TEST, NAME, figure="gpu_time", limit=2)] == [4, 5]
    assert store.history(TEST, NAME, figure="energy") == []
    assert store.history("no", "no", figure="gpu_time") == []
    assert points[0].run == store.runs()[-1]


def test_workloads_are_found_by_a_part_of_their_name(store: Store, record: Make, document: Make) -> None:
    """``*`` stands for anything, and nothing else is special."""
    store.add(document(record("t.py::test_a[1]", "a"), record("t.py::test_b", "b"), record("u.py::test_a", "big_a")))
    assert [name for _, name in store.workloads()] == ["a", "b", "big_a"]
    assert [name for _, name in store.workloads("test_a")] == ["a", "big_a"]
    assert [name for _, name in store.workloads("t.py*[1]")] == ["a"]
    assert [name for _, name in store.workloads("big")] == ["big_a"]
    assert store.workloads("test%a") == []


def test_what_is_alike_is_stored_once(store: Store, record: Make, document: Make) -> None:
    """Workloads, conditions and environments of a hundred records in two runs."""
    for _ in range(2):
        store.add(document(*(record(f"t::{number}", "n") for number in range(50))))
    assert (count(store, records), count(store, workloads)) == (100, 50)
    assert [count(store, records.metadata.tables[name]) for name in ("conditions", "environments")] == [1, 1]


# -- pruning ----------------------------------------------------------------------------------------------------------


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


def test_a_body_is_small(store: Store, record: Make, document: Make) -> None:
    """What is alike in all records is not in it."""
    info = added(store, document(record()))
    body = store._database.asked(lambda connection: connection.execute(select(bodies.c.body)).scalar_one())
    text = zlib.decompress(body).decode()
    assert info.records == 1
    for part in ("identity", "samples", "conditions", "test_it.py"):
        assert part not in text
