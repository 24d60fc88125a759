"""The facts of a run, each told once."""

from __future__ import annotations

from typing import Any

from pytest_gpuprof.reports.page.facts import devices_of, facts_of
from pytest_gpuprof.reports.workloads import Workload, workloads

from ..documents import document, record


def made(*identities: dict[str, Any]) -> list[Workload]:
    records = []
    for number, identity in enumerate(identities):
        each = record(f"t.py::t{number}")
        each["environment"] = {"identity": identity, "state": {"load": float(number)}}
        records.append(each)
    return workloads(document(*records))


def test_what_is_the_same_is_told_once_and_what_differs_with_its_numbers() -> None:
    """And is known to differ, so that each workload tells its own."""
    found = facts_of(made(*[{"cpu": "x", "torch": "2.9"}] * 2, {"cpu": "x", "torch": "2.13"}), "identity")
    assert found.told == {"cpu": "x", "torch": "2.9 (2); 2.13 (1)"}
    assert found.varying == {"torch"}


def test_many_numbers_are_told_by_their_range() -> None:
    """A load is never twice the same."""
    assert facts_of(made(*[{}] * 9), "state").told == {"load": "0 to 8"}


def test_a_fact_of_some_workloads_only_is_told_with_these() -> None:
    """It is no fact of the run."""
    assert facts_of(made({"cupy": "13"}, {}), "identity").varying == {"cupy"}


def test_units_are_told() -> None:
    """The name says which."""
    found = facts_of(made({"gpu_power_limit_w": 700, "gpu_memory_bytes": 2**36, "cpu_smt": True}), "identity")
    assert found.told == {"gpu power limit": "700 W", "gpu memory": "64 GiB", "cpu smt": "yes"}


def test_devices_are_told_accelerators_first() -> None:
    """Each with the number of workloads."""
    found = devices_of(workloads(document(record("a"), record("b", simulated=True), record("c", gpu=()))))
    told = [(each.label, each.kind, each.workloads) for each in found]
    assert told == [
        ("NVIDIA H200", "gpu", 1),
        ("Simulated GPU (simulated)", "stand-in", 1),
        ("AMD EPYC 9654", "cpu", 2),
        ("Simulated CPU", "cpu", 1),
    ]


def test_a_workload_with_both_legs_on_a_device_is_one() -> None:
    """Workloads are counted, not legs."""
    made = record("a")
    made["legs"]["cpu"]["device"] = made["legs"]["gpu"]["device"]
    assert [each.workloads for each in devices_of(workloads(document(made)))] == [1]
