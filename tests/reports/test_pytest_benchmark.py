"""The pytest-benchmark document: its entries, its statistics, and its words."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pytest_gpuprof.reports.pytest_benchmark import pytest_benchmark_document, pytest_benchmark_text, statistics_of

from ..conftest import has
from .documents import document, record, verdict


def entries(*records: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Return the entries of a run."""
    found: list[dict[str, Any]] = json.loads(pytest_benchmark_text(document(*records, **more)))["benchmarks"]
    return found


def test_one_entry_per_leg_in_a_group() -> None:
    """So that a table has CPU and GPU side by side, with their ratio."""
    cpu, gpu = entries(record("tests/test_a.py::TestA::test_a[1024-x[0]]", params={"n": 1024}))
    assert (cpu["name"], cpu["fullname"]) == (
        "test_a[1024-x[0]-cpu]",
        "tests/test_a.py::TestA::test_a[1024-x[0]-cpu]",
    )
    assert gpu["fullname"] == "tests/test_a.py::TestA::test_a[1024-x[0]-gpu]"
    assert cpu["group"] == gpu["group"] == "tests/test_a.py::TestA::test_a[1024-x[0]]"
    assert (gpu["params"], gpu["param"]) == ({"n": 1024, "device": "gpu"}, "1024-x[0]-gpu")


def test_several_profiles_of_a_test_have_names_of_their_own() -> None:
    """The profile's name is between parameters and device; no name occurs twice."""
    found = entries(record("t.py::a"), record("t.py::a", name="other"))
    assert [each["name"] for each in found] == ["a[work-cpu]", "a[work-gpu]", "a[other-cpu]", "a[other-gpu]"]
    assert [each["group"] for each in found] == ["t.py::a[work]"] * 2 + ["t.py::a[other]"] * 2


def test_a_record_from_outside_pytest_is_called_like_its_workload() -> None:
    """It has no test."""
    assert [each["fullname"] for each in entries(record(""))] == ["work[cpu]", "work[gpu]"]


def test_a_leg_that_was_not_run_has_no_entry() -> None:
    """There is nothing to say about it, and no zero."""
    assert [each["name"] for each in entries(record(cpu=()))] == ["test_a[gpu]"]
    assert entries(record(cpu=(), gpu=())) == []


def test_the_samples_are_those_of_the_rounds() -> None:
    """In seconds per call, with the number of calls of each."""
    _, gpu = entries(record(gpu=(1e-3, 2e-3, 3e-3)))
    assert gpu["stats"]["data"] == [1e-3, 2e-3, 3e-3]
    assert gpu["stats"]["iterations"] == 10
    assert gpu["stats"]["ops"] == pytest.approx(500)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 24, 25, 26, 27])
def test_statistics_are_those_of_pytest_benchmark(count: int) -> None:
    """Each of its fields, as its own class computes it; and each that is no count is a float, also where it is 0."""
    if not has("pytest_benchmark"):
        pytest.skip("NOT TESTED: pytest-benchmark is not installed to compare its statistics with ours")
    from pytest_benchmark.stats import Stats

    theirs = Stats()
    theirs.data = [random.Random(count * 100 + index).lognormvariate(-7, 0.5) for index in range(count)]
    ours = statistics_of(theirs.data, 7)
    expected = theirs.as_dict()
    assert set(ours) == {*expected, "data", "iterations"}
    for name, value in expected.items():
        assert ours[name] == (value if isinstance(value, str) else pytest.approx(value)), name
        if name not in ("rounds", "outliers", "iqr_outliers", "stddev_outliers"):
            assert isinstance(ours[name], float), name


def test_words_are_in_the_name_and_beside_each_figure() -> None:
    """A chart that follows a name never mixes a stand-in with a GPU."""
    cpu, gpu = entries(record("t.py::a", simulated=True))
    assert (cpu["name"], gpu["name"]) == ("a[cpu (simulated)]", "a[gpu (simulated)]")
    ours = gpu["extra_info"]["gpuprof"]
    assert (ours["stand_in"], ours["device"]) == ("simulated", "Simulated GPU (simulated)")
    assert ours["figures"]["speedup"]["quality"] == "derived"
    assert ours["figures"]["speedup"]["value"] == pytest.approx(20, rel=0.02)
    assert set(cpu["extra_info"]["gpuprof"]["figures"]) == {"cpu_time"}


def test_verdicts_are_beside_the_figures() -> None:
    """With their sentences, once."""
    cpu, gpu = entries(record(verdicts=[verdict("missed")]))
    assert cpu["extra_info"]["gpuprof"]["verdicts"] == []
    assert gpu["extra_info"]["gpuprof"]["verdicts"] == [
        {"budget": "max_gpu_time", "outcome": "missed", "sentence": "max_gpu_time is missed"}
    ]


def test_a_name_is_never_too_long_for_bencher() -> None:
    """It refuses a whole file for one; two long names stay two."""
    tests = [f"t.py::a[{'é' * 2000}{number}]" for number in range(2)]
    names = {each["fullname"] for test in tests for each in entries(record(test))}
    assert len(names) == 4
    assert max(len(name.encode()) for name in names) <= 1024


def test_the_commit_is_told() -> None:
    """As pytest-benchmark tells it; where it is not known, so."""
    source = {
        "commit": "a" * 40,
        "branch": "main",
        "dirty": True,
        "commit_time": "2026-11-28T06:00:00Z",
        "project": "p",
    }
    told = pytest_benchmark_document(document(record(), source=source))["commit_info"]
    assert told == {
        "id": "a" * 40,
        "time": "2026-11-28T06:00:00Z",
        "author_time": None,
        "dirty": True,
        "project": "p",
        "branch": "main",
    }
    unknown = pytest_benchmark_document(document(record(), source={"unavailable": "git is not installed"}))
    assert unknown["commit_info"]["error"] == "git is not installed"
    assert unknown["commit_info"]["id"] == "unversioned"


def test_the_machine_is_the_one_that_measured() -> None:
    """By its hash, its processor and its devices; the name of whoever exports is not in it."""
    import platform

    told = pytest_benchmark_document(document(record(), machine="0123456789ab"))
    assert told["machine_info"]["node"] == "0123456789ab"
    assert told["machine_info"]["cpu"]["brand_raw"] == "AMD EPYC 9654"
    assert told["machine_info"]["gpu"] == ["NVIDIA H200"]
    assert platform.node() not in json.dumps(told)
