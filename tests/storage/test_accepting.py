"""What may become a baseline: figures that nobody has reason to doubt, of one run or of several."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.results import Caution, spoils
from pytest_gpuprof.storage.accepting import entries_of
from pytest_gpuprof.storage.codec import record_of
from tests.budgets.profiles import leg_of, profile_of


def record(
    gpu: float = 0.001, *budgets: Budget, outcome: str = "passed", test: str = "tests/test_a.py::test", **parts: Any
) -> dict[str, Any]:
    attempt = parts.pop("attempt", 1)
    taken = profile_of([0.02] * 3, leg_of("gpu", [gpu] * 3, readings={"memory": 1000}), **parts)
    taken = taken.with_verdicts(tuple(judge(taken, budget) for budget in budgets))
    return {**record_of(taken, test=test, attempt=attempt), "outcome": outcome}


def offered(*runs: Any, **options: Any) -> dict[str, tuple[float, ...]]:
    return {entry.figure: entry.values for entry in entries_of(runs, **options).entries}


def test_one_run_offers_each_figure_once() -> None:
    """With the conditions of its machine."""
    offer = entries_of([[record()]])
    assert offer.left_out == ()
    assert {entry.figure for entry in offer.entries} == {"speedup", "gpu_time", "cpu_time", "gpu_memory"}
    (time,) = [entry for entry in offer.entries if entry.figure == "gpu_time"]
    assert (time.test, time.name, time.values) == ("tests/test_a.py::test", "work", (0.001,))
    assert time.conditions == record()["conditions"]
    assert offered([record()], figures=["gpu_time"]) == {"gpu_time": (0.001,)}


def test_several_runs_offer_a_value_each_the_newest_twenty_at_most() -> None:
    """The oldest first; of a test that was rerun, what it was the last time."""
    runs = [[record(number / 1000)] for number in range(1, 26)]
    assert offered(*runs, figures=["gpu_time"])["gpu_time"] == tuple(number / 1000 for number in range(6, 26))
    rerun = [record(0.002, attempt=2), record(0.001, attempt=1)]
    assert offered(rerun, figures=["gpu_time"])["gpu_time"] == (0.002,)


def test_each_machine_has_entries_of_its_own() -> None:
    """A history may come from several cards."""
    other = record(0.005) | {"conditions": {"device": "NVIDIA T4"}}
    entries = entries_of([[record()], [other], [record(0.0011)]], figures=["gpu_time"]).entries
    assert sorted((str(entry.conditions["device"]), entry.values) for entry in entries) == [
        ("NVIDIA H200", (0.001, 0.0011)),
        ("NVIDIA T4", (0.005,)),
    ]


@pytest.mark.parametrize("outcome", ["failed", "error"])
def test_a_failed_test_offers_nothing(outcome: str) -> None:
    """Whatever failed it; and the sentence says so."""
    for budgets in ((), (Budget("max_gpu_time", "1 us"),)):
        offer = entries_of([[record(0.001, *budgets, outcome=outcome)]])
        assert (offer.entries, offer.left_out) == ((), ("test_a.py::test work is left out: its test failed",))


def test_a_test_that_failed_for_its_regression_alone_can_be_accepted() -> None:
    """That is how a person says that the slowdown is wanted. With another miss beside it, it is not."""
    before = {"gpu_time": Baseline((0.0005,), "runs")}
    slower = Budget("max_regression", "5%")
    assert offered([record(0.001, slower, outcome="failed", baselines=before)])["gpu_time"] == (0.001,)
    both = record(0.001, slower, Budget("max_cpu_time", "1 us"), outcome="failed", baselines=before)
    assert entries_of([[both]]).entries == ()


def test_a_figure_that_misses_its_own_limit_is_left_out() -> None:
    """Also where that does not fail the test; the others are offered."""
    offer = entries_of([[record(0.001, Budget("max_gpu_time", "1 us", enforce=False))]])
    assert offer.left_out == ("gpu_time of test_a.py::test work is left out: it misses max_gpu_time",)
    assert {entry.figure for entry in offer.entries} == {"speedup", "cpu_time", "gpu_memory"}


@pytest.mark.parametrize("outcome", ["met", "missed"])
def test_a_doubt_leaves_out_the_figures_that_it_spoils(outcome: str) -> None:
    """In either direction; one that spoils nothing leaves out nothing."""
    doubt = Caution("throttled", "the clock fell", "cool it", spoils("time", outcomes=(outcome,)), frozenset({"gpu"}))
    offer = entries_of([[record(cautions=(doubt,))]])
    assert offer.left_out == ("gpu_time of test_a.py::test work is left out: the clock fell; cool it",)
    assert {entry.figure for entry in offer.entries} == {"speedup", "cpu_time", "gpu_memory"}
    harmless = Caution("unsteady", "it varied", "wait")
    assert entries_of([[record(cautions=(harmless,))]]).left_out == ()


def test_a_doubtful_run_among_good_ones_is_passed_over() -> None:
    """And told."""
    doubt = Caution("throttled", "the clock fell", "cool it", spoils("time"))
    runs = [[record(0.001)], [record(0.002, cautions=(doubt,))], [record(0.003)]]
    assert offered(*runs, figures=["gpu_time"])["gpu_time"] == (0.001, 0.003)
    assert len(entries_of(runs, figures=["gpu_time"]).left_out) == 1


def test_a_record_of_before_figures_were_kept_has_some() -> None:
    """They follow from what was measured."""
    old = {key: value for key, value in record().items() if key not in ("conditions", "figures", "outcome")}
    assert entries_of([[old]]) == entries_of([[record()]])


def test_a_negative_figure_is_left_out() -> None:
    """Net energy may be: no share of it can be told."""
    made = record()
    made["figures"] = {"net_energy": {**made["figures"]["gpu_time"], "value": -1.0}}
    assert entries_of([[made]]).left_out[0].endswith("it is negative, and no share of it can be told")


def test_the_figure_of_an_unknown_budget_is_offered() -> None:
    """Its plugin is not here to say what it is."""
    made = record()
    made["figures"] = {"copies": made["figures"]["gpu_time"]}
    assert offered([made]) == {"copies": (0.001,)}
