"""Records: builtins only, judged again with the same verdicts, and refused if they are damaged or foreign."""

from __future__ import annotations

import copy
import enum
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.budgets.budget import KINDS, Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.errors import BudgetError, Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Verdict, spoils
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.profiling import profile
from pytest_gpuprof.storage.codec import (
    SCHEMA,
    budgets_from_record,
    builtins_of,
    completed,
    profile_from,
    record_of,
)
from tests.budgets.profiles import leg_of, profile_of

repeatable = settings(derandomize=True, deadline=None)


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


class Huge:
    def __repr__(self) -> str:
        return "x" * 10**6


BUILTINS = (dict, list, str, int, float, bool, type(None))


def only_builtins(value: Any) -> bool:
    """Whether a value consists of builtins of exactly these types, all the way down."""
    if type(value) is dict:
        return all(type(key) is str and only_builtins(each) for key, each in value.items())
    if type(value) is list:
        return all(only_builtins(each) for each in value)
    return type(value) in BUILTINS and (type(value) is not float or math.isfinite(value))


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("text", "text"),
        (math.nan, None),
        (math.inf, None),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float32("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(7), 7),
        (Level.LOW, 1),
        (Text("text"), "text"),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1: {"a": (np.float64(2),)}}, {"1": {"a": [2.0]}}),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_everything_becomes_builtins(value: Any, stored: Any) -> None:
    """A NumPy float, which is a float, would kill an xdist worker; a NaN is no JSON."""
    made = builtins_of(value)
    assert made == stored
    assert type(made) is type(stored)
    assert only_builtins(made)


def test_what_is_unknown_becomes_a_short_text() -> None:
    """Parameters may be arrays: their text must not fill a disk."""
    for value in (Huge(), np.zeros((100, 100)), object()):
        text = builtins_of(value)
        assert type(text) is str
        assert len(text) <= 200


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=15,
)


@repeatable
@given(anything)
def test_builtins_are_json(value: Any) -> None:
    """Strictly: without NaN; and what is builtin already stays as it is."""
    made = builtins_of(value)
    assert only_builtins(made)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert builtins_of(made) == made


# -- records ----------------------------------------------------------------------------------------------------------


def full_profile() -> Profile:
    """Return a profile with something in every field."""
    gpu = leg_of(
        "gpu",
        [0.001, 0.0011, 0.0009],
        [0.0008, 0.0009, 0.0007],
        readings={
            "memory": 2000,
            "workspace": 500,
            "energy": Reading(2.0, interval=(1.9, 2.1), quality="simulated", gain_error=0.04),
            "power": Reading.unavailable("no counter", cause="no reading"),
            "package_energy": Reading(1.0, interval=(0.9, 1.1)),
            "flops": Reading(1e9, quality="estimated", source="counted by an abacus"),
        },
        latency=[0.001] * 250,
    )
    cpu = leg_of("cpu", [0.02, 0.021, 0.019], readings={"package_energy": 6.0, "memory": 100})
    taken = profile_of(
        cpu,
        gpu,
        Measurement.absent("reference", "there is no reference="),
        cautions=(
            Caution("shared", "2 others", "stop them", spoils("time", outcomes=("missed",)), frozenset({"gpu"})),
            Caution("unsteady", "it varied", "wait"),
        ),
        stop_reason="decided",
        threads=8,
        items=np.float64(100),
        bytes=1e8,
        counts_flops=True,
        precision="bf16",
        peaks={"flops": Reading(2e12, quality="derived", source="at 1 GHz"), "bytes": Reading.unavailable("no bus")},
        params={"n": np.int64(4096), "mode": "fast"},
        baselines={
            "gpu_time": Baseline((0.00051, 0.0005), "gpuprof-baselines.json"),
            "gpu_memory": Baseline((2000.0,), "gpuprof-baselines.json"),
            "cpu_time": Baseline((0.0199, 0.0201), "gpuprof-baselines.json"),
            "speedup": Baseline((15.0, 15.1), "gpuprof-baselines.json"),
            "energy": Baseline(absence="incomparable", reason="the card was another"),
            "power": Baseline((300.0,), "gpuprof-baselines.json"),
        },
    )
    written = tuple(budget.as_written for budget in BUDGETS)
    return taken.with_verdicts(tuple(judge(taken, budget) for budget in BUDGETS), written)


BUDGETS = (
    *(
        Budget(keyword, limit)
        for keyword, kind in KINDS.items()
        for limit in ((0.0005, 0.5, 0.99) if kind.unit == "share" else (0.0005, 2, 2048))
    ),
    Budget("max_gpu_time", {"H200": "1 ms", "*": 1}, stat="p95"),
    Budget("min_speedup", {"T4": 5}),
    Budget("max_cpu_time", "1 s", stat="mean"),
    Budget("max_gpu_time", "10 us"),
    *(
        Budget("max_regression", "5%", metric=metric)
        for metric in ("gpu_memory", "cpu_time", "speedup", "energy", "power", "leak")
    ),
)


def through_json(taken: Profile) -> Profile:
    return profile_from(json.loads(json.dumps(record_of(taken), allow_nan=False)))


def test_a_record_is_builtins_that_json_knows() -> None:
    """With its schema, its test, and the figures that are derived, for readers who do not want to compute."""
    record = record_of(full_profile(), test="test_a.py::test_b", attempt=2)
    assert only_builtins(record)
    assert (record["schema"], record["test"], record["attempt"]) == (SCHEMA, "test_a.py::test_b", 2)
    assert record["derived"]["speedup"]["value"] == pytest.approx(20, rel=0.01)
    assert record["derived"]["speedup_over_reference"]["unavailable"] == "there is no reference="
    assert record["params"] == {"n": 4096, "mode": "fast"}


def test_a_stored_profile_gets_the_same_verdicts() -> None:
    """Every keyword, statistic and outcome: a record holds all that judging needs."""
    taken = full_profile()
    again = through_json(taken)
    assert [judge(again, budget) for budget in BUDGETS] == list(taken.verdicts)
    assert {verdict.outcome for verdict in taken.verdicts} == {
        "met", "missed", "inconclusive", "unavailable", "not enforced",
    }  # fmt: skip


def test_a_stored_profile_is_the_profile() -> None:
    """Figures, doubts, environment and verdicts; the text that is printed too."""
    taken = full_profile()
    again = through_json(taken)
    assert str(again) == str(taken)
    assert (again.verdicts, again.cautions) == (taken.verdicts, taken.cautions)
    assert again.baselines == taken.baselines
    assert (again.environment, again.threads, again.items) == (taken.environment, 8, 100)
    assert again.gpu.rounds == taken.gpu.rounds
    assert again.gpu.series == taken.gpu.series
    assert again.gpu.readings == taken.gpu.readings
    assert (again.bytes, again.counts_flops, again.precision, again.peaks) == (1e8, True, "bf16", taken.peaks)
    assert record_of(again) == record_of(taken)


def test_flags_of_a_profile_are_stored() -> None:
    """Out of time, and not judged."""
    for flags in ({"out_of_time": True}, {"not_judged": "a stand-in"}):
        taken = profile_of([1.0] * 3, [0.1] * 3, **flags)
        assert judge(through_json(taken), Budget("min_speedup", 5)) == judge(taken, Budget("min_speedup", 5))


def test_what_was_measured_survives_storing() -> None:
    """A real one, of the simulated machine."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: device.run(cpu=0.02, gpu=0.001)

    budgets = [Budget("min_speedup", 5), Budget("max_gpu_memory", 1), Budget("max_gpu_time", "1 ns")]
    taken = profile(work, backend="simulated", budgets=budgets, profiler=Profiler(devices=["simulated:0"]))
    again = through_json(taken)
    assert again.verdicts == taken.verdicts
    assert judge(again, budgets[0]) == taken.verdicts[0]
    assert again.speedup == taken.speedup
    with pytest.raises(Unavailable, match="was read from a file"):
        again.require(min_speedup=5)


def test_private_facts_of_a_device_are_not_stored() -> None:
    """No serial number leaves the machine."""
    assert "uuid" not in json.dumps(record_of(full_profile()))


# -- what other runs need of a record ----------------------------------------------------------------------------------


def test_a_record_says_under_which_conditions_which_figures_were_found() -> None:
    """Readers who compare many runs need not decode what was measured."""
    taken = full_profile()
    record = record_of(taken)
    assert record["conditions"] == {
        "backend": "torch", "cpu": "AMD EPYC 9654", "cpu_leg_threads": 8, "device": "NVIDIA H200", "procedure": 1,
    }  # fmt: skip
    assert record["figures"]["gpu_time"] == {
        "value": 0.001,
        "interval": [pytest.approx(0.0006, rel=0.02), pytest.approx(0.00165, rel=0.02)],
        "rounds": 3,
        "quality": "measured",
    }
    assert record["figures"]["gpu_memory"] == {"value": 2000, "interval": None, "rounds": 0, "quality": "measured"}
    assert record["figures"]["energy"]["quality"] == "simulated"
    assert not {"power", "leak", "regression"} & record["figures"].keys()


def test_the_figure_of_somebodys_own_budget_is_kept_too() -> None:
    """A hook brings the keyword, and the record has its figure."""
    kind = replace(KINDS["max_gpu_memory"], keyword="max_flops_per_call", figure="flops", family="time")
    assert record_of(full_profile(), kinds=[kind])["figures"].keys() == {"flops_per_call"}


def test_the_budgets_of_a_record_are_those_that_were_judged() -> None:
    """With the limit as it was written and every option, so that they can be judged again."""
    taken = full_profile()
    record = json.loads(json.dumps(record_of(taken)))
    again = budgets_from_record(record)
    assert again == BUDGETS
    assert tuple(judge(profile_from(record), budget) for budget in again) == taken.verdicts


def test_a_budget_of_a_plugin_that_is_not_here_is_told() -> None:
    """And one of a plugin that is has its meaning."""
    kind = replace(KINDS["max_gpu_time"], keyword="max_copies")
    budget = Budget("max_copies", np.float64(5), kind=kind, reason="less is faster")
    record = record_of(profile_of().with_verdicts((), (budget.as_written,)))
    assert record["budgets"][0]["limit"] == 5
    assert budgets_from_record(record, {"max_copies": kind}) == (budget,)
    with pytest.raises(BudgetError, match="'max_copies' is no budget"):
        budgets_from_record(record)


@pytest.mark.parametrize("budgets", [7, [7], [{}], ["max_gpu_time"], [{"keyword": "max_gpu_time"}]])
def test_damaged_budgets_are_refused(budgets: Any) -> None:
    """With the same sentence as any other damage."""
    with pytest.raises(UsageError, match=r"the record is damaged \(.*\); measure again"):
        budgets_from_record(record_of(profile_of()) | {"budgets": budgets})


def test_a_record_of_before_baselines_is_read() -> None:
    """It has no budgets and no baselines; its figures and conditions are found from what was measured."""
    new = record_of(full_profile())
    old = copy.deepcopy(new)
    for key in ("conditions", "figures", "budgets", "baselines"):
        del old[key]
    for verdict in old["verdicts"]:
        del verdict["metric"], verdict["change"], verdict["effect"]
    again = profile_from(old)
    assert (again.budgets, again.baselines, budgets_from_record(old)) == ((), {}, ())
    assert again.verdicts[0].change == ""
    made = completed(old)
    assert (made["conditions"], made["figures"]) == (new["conditions"], new["figures"])
    assert completed(new) is new


def test_what_a_newer_version_adds_to_a_record_is_passed_over() -> None:
    """Readers ignore what they do not know, as long as the schema is theirs."""
    record = record_of(full_profile())
    record["mood"] = "good"
    record["verdicts"][0]["mood"] = "good"
    assert profile_from(record).verdicts == full_profile().verdicts


# -- records that cannot be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, "pytest-gpuprof/2", "pytest-benchmark", 1])
def test_a_record_of_another_schema_is_refused(schema: Any) -> None:
    """With both schemas and the remedy."""
    record = record_of(full_profile()) | {"schema": schema}
    with pytest.raises(UsageError, match=r"the record has the schema .*, and this version reads 'pytest-gpuprof/1'"):
        profile_from(record)
    with pytest.raises(UsageError, match="schema"):
        profile_from({})


@pytest.mark.parametrize(
    "key",
    [
        key
        for key in record_of(profile_of())
        if key not in ("schema", "test", "attempt", "derived", "conditions", "figures")
    ],
)
@pytest.mark.parametrize("damage", ["missing", "a number"])
def test_a_damaged_record_is_refused(key: str, damage: str) -> None:
    """Any part that reading needs, missing or of another kind; never with the error of our own code."""
    record = copy.deepcopy(record_of(full_profile()))
    if damage == "missing" and key in ("budgets", "baselines"):
        return  # see test_a_record_of_before_baselines_is_read
    if damage == "missing":
        del record[key]
    elif type(record[key]) in (dict, list) and key != "params":
        record[key] = 7
    else:
        return
    with pytest.raises(UsageError, match=r"the record is damaged \(.*\); measure again"):
        profile_from(record)


def test_an_interval_without_bounds_comes_back_without_bounds() -> None:
    """One round bounds nothing: JSON has no infinity, and the verdict's interval has one."""
    taken = profile_of(None, [0.001])
    verdict = judge(taken, Budget("max_gpu_time", 1))
    assert verdict.interval == (0.0, math.inf)
    (again,) = through_json(taken.with_verdicts((verdict,))).verdicts
    assert again == verdict
    assert isinstance(again, Verdict)


@pytest.mark.parametrize("damage", ["an interval of one bound", "no mapping"])
def test_damage_inside_a_record_is_refused_too(damage: str) -> None:
    """A file that was cut off, or one of somebody else's."""
    record: Any = record_of(full_profile())
    if damage == "no mapping":
        record = [record]
    else:
        record["legs"]["gpu"]["readings"]["energy"]["interval"] = [1.0]
    with pytest.raises(UsageError):
        profile_from(record)
