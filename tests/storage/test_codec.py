"""Records: builtins only, judged again with the same verdicts, and refused if they are damaged or foreign."""

from __future__ import annotations

import copy
import enum
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.budgets.budget import KINDS, Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.errors import Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Verdict, spoils
from pytest_gpuprof.profiler import Profiler, profile
from pytest_gpuprof.storage.codec import SCHEMA, builtins_of, profile_from, record_of
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
    )
    return taken.with_verdicts(tuple(judge(taken, budget) for budget in BUDGETS))


BUDGETS = (
    *(
        Budget(keyword, limit)
        for keyword, kind in KINDS.items()
        for limit in ((0.0005, 0.5, 1) if kind.unit == "share" else (0.0005, 2, 2048))
    ),
    Budget("max_gpu_time", {"H200": "1 ms", "*": 1}, stat="p95"),
    Budget("min_speedup", {"T4": 5}),
    Budget("max_cpu_time", "1 s", stat="mean"),
    Budget("max_gpu_time", "10 us"),
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
    "key", [key for key in record_of(profile_of()) if key not in ("schema", "test", "attempt", "derived")]
)
@pytest.mark.parametrize("damage", ["missing", "a number"])
def test_a_damaged_record_is_refused(key: str, damage: str) -> None:
    """Any part that reading needs, missing or of another kind; never with the error of our own code."""
    record = copy.deepcopy(record_of(full_profile()))
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
