"""What a run is compared with: what each name means, asked for one workload or read as a whole, in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.absence import ACCEPT, WAIT
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.reference import EarlierRuns, Now, Reference, reference_of
from pytest_gpuprof.storage.store import Store

TEST, NAME = "tests/test_it.py::test_fast", "fast"

Make = Callable[..., dict[str, Any]]

T4 = {"backend": "simulated", "device": "NVIDIA T4"}
L4 = {"backend": "simulated", "device": "NVIDIA L4"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    with Store.open(None, tmp_path) as opened:
        yield opened


def of(text: str, store: Store | None, now: Now | None = None, path: Path = Path("none.json")) -> Reference:
    """Return what a name means; there are no files."""
    return reference_of(text, now or Now("now"), baselines=Baselines(path), file=lambda name: None, store=lambda: store)


def both(text: str, store: Store, document: dict[str, Any]) -> list[Reference]:
    """Return what a name means to who measures, and to who has measured."""
    store.add(document)
    info = next(info for info in store.runs() if info.id == document["id"])
    return [of(text, store, Now(info.id)), of(text, store, Now(info.id, info, store.figures(info)))]


def test_both_ways_give_the_same_values(store: Store, record: Make, document: Make) -> None:
    """The newest under the same conditions, without the run itself and without tests that failed."""
    for number in range(1, 25):
        outcome, device = "failed" if number == 20 else "passed", "NVIDIA L4" if number == 21 else "NVIDIA T4"
        store.add(document(record(gpu_time=number * 1e-3, outcome=outcome, device=device)))
    for reference in both("latest", store, document(record())):
        values = reference.before(TEST, NAME, T4, "gpu_time").values
        assert [round(value * 1e3) for value in values][-5:] == [18, 19, 22, 23, 24]
        assert len(values) >= 18  # of the twenty newest that are alike, or of all that are
        assert reference.workloads() == {(TEST, NAME)}


def test_failed_tests_count_where_there_is_nothing_else(store: Store, record: Make, document: Make) -> None:
    """A workload whose test fails for another reason can still be compared."""
    store.add(document(record(gpu_time=2e-3, outcome="failed")))
    for reference in both("latest", store, document(record())):
        assert reference.before(TEST, NAME, T4, "gpu_time").values == (2e-3,)


def test_why_there_is_nothing_is_said_in_the_same_words(store: Store, record: Make, document: Make) -> None:
    """No workload, no such figure, other conditions; of one run, which has a number."""
    store.add(document(record()))
    for reference in both("1", store, document(record())):
        assert reference.title.startswith("run 1 (")
        found = [reference.before("t", "n", T4, "gpu_time"), reference.before(TEST, NAME, T4, "energy_of_nobody"),
                 reference.before(TEST, NAME, L4, "gpu_time")]  # fmt: skip
        assert [(each.absence, each.reason) for each in found] == [
            ("new", f"it is not in {reference.title}; {WAIT}"),
            ("new", f"its energy_of_nobody is not in {reference.title}, where other figures of it are; {WAIT}"),
            (
                "incomparable",
                f"it is in {reference.title} under other conditions only: device was NVIDIA T4 and is NVIDIA L4; "
                f"{WAIT}",
            ),
        ]


def test_the_first_run_is_new_and_nothing_is_wrong(store: Store) -> None:
    """Without a store, and with an empty one."""
    for opened in (None, store):
        reference = of("latest:main", opened)
        found = reference.before(TEST, NAME, T4, "gpu_time")
        assert found.absence == "new"
        assert found.reason == f"it is not in the newest runs on main, of which there is none yet; {WAIT}"
        assert list(reference.workloads()) == []
        assert isinstance(reference, EarlierRuns)
        assert reference.count == 0


def test_a_name_of_nothing_is_refused() -> None:
    """A number where nothing was ever stored."""
    with pytest.raises(UsageError, match="there is no run 17, because nothing is stored yet"):
        of("17", None)


def test_the_file_of_baselines_is_a_reference(tmp_path: Path) -> None:
    """By its own name, whatever the store holds."""
    path = tmp_path / "accepted.json"
    found = of("baseline", None, path=path).before(TEST, NAME, T4, "gpu_time")
    assert found.reason == f"there is no accepted.json; {ACCEPT}"
