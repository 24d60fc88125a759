"""What a store tells of the records of its runs, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.store import Store
from tests.storage.stores import NAME, TEST, added

Make = Callable[..., dict[str, Any]]


def test_of_a_rerun_the_last_attempt_counts(store: Store, record: Make, document: Make) -> None:
    """As in exports; the earlier ones are kept."""
    tried = [record(attempt=2, gpu_time=2e-3), record(attempt=1, outcome="rerun", gpu_time=9e-3)]
    info = added(store, document(*tried))
    assert [each["attempt"] for each in store.document(info)["records"]] == [2]
    assert [each["attempt"] for each in store.document(info, every_attempt=True)["records"]] == [2, 1]
    assert store.figures(info)[TEST, NAME].values["gpu_time"] == 2e-3
    assert [point.figure.value for point in store.history(TEST, NAME, figure="gpu_time")] == [2e-3]


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
