"""Earlier runs of the store in a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.reports.page.history import MOST_RUNS, history_of, runs_of, with_history
from pytest_gpuprof.reports.workloads import workloads
from pytest_gpuprof.storage.store import Store

from ..documents import document, record


def run(number: int, gpu_s: float = 1e-3, threads: int | None = None) -> dict[str, object]:
    """Return a run with one workload, of a day of its own."""
    made = record(gpu=(gpu_s,) * 3)
    if threads is not None:
        made["conditions"] = {**made["conditions"], "cpu_leg_threads": threads}
    created = f"2026-{1 + number // 28:02}-{1 + number % 28:02}T07:00:00Z"
    source = {"commit": f"{number:07x}" + "c" * 33, "branch": "main", "dirty": False}
    return document(made, id=f"{number:032x}", created=created, source=source, machine="0123456789ab")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(None, tmp_path) as opened:
        yield opened


def test_earlier_runs_come_in_the_order_in_which_they_were(store: Store) -> None:
    """This run is the last point, whether it is in the store or not; later runs are left out."""
    for number in (3, 1, 2, 9):
        store.add(run(number))
    now = with_history(run(3), store)
    assert [name for name, *_ in runs_of(now)] == ["run 2, 0000001", "run 3, 0000002", "this run, 0000003"]
    ((chart, ratio, *_),) = history_of(now, workloads(now)).values()
    assert (chart["title"], ratio["words"]) == ("GPU time", "derived")
    assert len(chart["values"]) == 3


def test_a_change_of_the_level_is_told(store: Store) -> None:
    """With the run that it began with, by the arithmetic of the command history."""
    for number in range(8):
        store.add(run(number, 1e-3 if number < 4 else 1.5e-3))
    now = with_history(run(8, 1.5e-3), store)
    chart, speedup = next(iter(history_of(now, workloads(now)).values()))
    assert chart["changes"] == [[4, "worse by 50% (1 ms to 1.5 ms)"]]
    assert chart["levels"] == [[0, 3, 1], [4, 8, 1.5]]
    assert speedup["changes"][0][1].startswith("worse by 33.3%")


def test_other_conditions_are_apart(store: Store) -> None:
    """They are shown, and no level is looked for among them."""
    for number in range(8):
        store.add(run(number, 1e-3 if number < 4 else 1.5e-3, threads=64 if number < 4 else None))
    now = with_history(run(8, 1.5e-3), store)
    chart, *_ = next(iter(history_of(now, workloads(now)).values()))
    assert chart["others"] == [0, 1, 2, 3]
    assert "changes" not in chart


def test_the_newest_runs_are_enough(store: Store) -> None:
    """So that the page stays small."""
    for number in range(MOST_RUNS + 5):
        store.add(run(number))
    now = with_history(run(MOST_RUNS + 5), store)
    assert len(runs_of(now)) == MOST_RUNS
    assert runs_of(now)[0][0] == "run 7, 0000006"


def test_a_store_that_cannot_be_read_leaves_the_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why there is no history."""

    def fail(*_: object, **__: object) -> None:
        raise StoreError("the store is locked; wait")

    monkeypatch.setattr(Store, "runs", fail)
    assert with_history(run(1), store)["history"] == {"unavailable": "the store is locked; wait"}


def test_a_first_run_has_no_history(store: Store) -> None:
    """One point is no line."""
    store.add(run(1))
    now = with_history(run(1), store)
    assert history_of(now, workloads(now)) == {}


def test_an_older_run_has_those_before_it(store: Store) -> None:
    """However many came after it, in the same second too."""
    for number in range(MOST_RUNS + 5):
        store.add(run(number))
    again = {**run(2), "id": "f" * 32}
    store.add(again)
    assert [name for name, *_ in runs_of(with_history(run(2), store))][:-1] == ["run 1, 0000000", "run 2, 0000001"]
    assert len(runs_of(with_history(again, store))) == 4


@pytest.mark.parametrize(("before", "after"), [("", "@slow"), ("@slow", "")])
def test_what_xdist_appends_makes_no_other_workload(store: Store, before: str, after: str) -> None:
    """A run with groups and one without them are one history."""
    for number in (1, 2):
        made = run(number)
        (each,) = made["records"]  # type: ignore[misc]  # a list
        each["test"] += before if number == 1 else after
        store.add(made)
    now = with_history(made, store)
    ((chart, *_),) = history_of(now, workloads(now)).values()
    assert len(chart["values"]) == 2


def test_without_a_store_the_page_says_so() -> None:
    """It has no history, and a reader could take that for a first run."""
    assert with_history(run(1), None)["history"] == {"unavailable": "there is no store with earlier runs"}


def test_a_run_on_a_stand_in_carries_its_word(store: Store) -> None:
    """Beside its point, and below the chart."""
    made = record(simulated=True)
    store.add(document(made, id="1" * 32, created="2026-01-01T07:00:00Z", source={}, machine="0123456789ab"))
    now = with_history(run(1), store)
    chart, *_ = next(iter(history_of(now, workloads(now)).values()))
    assert (chart["others"], chart["on"]) == ([0], ["Simulated GPU (simulated)"])
    assert chart["elsewhere"] == "Simulated GPU (simulated)"
    assert chart["alt"].endswith("; 1 under other conditions: Simulated GPU (simulated)")


def test_the_text_of_a_chart_tells_what_was_looked_for(store: Store) -> None:
    """Among two runs nobody looks for a level; words stand beside the figure here too."""
    for number in range(7):
        store.add(run(number))
        if number in (0, 6):
            now = with_history(run(number + 1), store)
            time, speedup, *_ = next(iter(history_of(now, workloads(now)).values()))
            assert ("no change of the level" in time["alt"]) is (number == 6)
            assert "derived" in speedup["alt"]
