"""The published schema: what runs of every kind export is valid, and what is broken is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from tests.conftest import has

from .conftest import BLIND_GPU, GPU, NO_GPU, Runs

if not has("jsonschema"):
    pytest.skip("NOT TESTED: jsonschema is not installed to validate exports", allow_module_level=True)

EXPORT = "--gpu-profile-export=json:out.json"

TIE = "\ndef tie(device):\n    return lambda: device.run(cpu=10e-3, gpu=10e-3)\n"

EVERY_OUTCOME = f"""{TIE}
@pytest.mark.gpu_budget(min_speedup=5, max_energy="10 J", reason="we promised it")
@pytest.mark.gpu_budget(max_gpu_time="1 s", stat="p95")
@pytest.mark.parametrize("n", [1, 2])
def test_met(gpu_profile, n):
    gpu_profile(lambda device, n, text, big: fast(device), params={{"n": n, "text": "x", "big": object()}},
                items=10, flops=1e6, bytes=1e6, metrics=["time", "memory", "energy"])

@pytest.mark.gpu_budget(min_speedup=50)
@pytest.mark.gpu_budget(max_gpu_time={{"NVIDIA H100": "1 ms"}})
def test_missed(gpu_profile):
    gpu_profile(fast, name="a")
    gpu_profile(fast, name="b", reference=slow)

@pytest.mark.gpu_budget(min_speedup=1)
def test_inconclusive(gpu_profile):
    gpu_profile(tie)

@pytest.mark.gpu_budget(min_speedup=50)
@pytest.mark.xfail
def test_expected(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(max_energy="1 J", max_cpu_memory="1 GiB", max_leak=0)
def test_readings(gpu_profile):
    gpu_profile(hungry)

def test_no_budget(gpu_profile):
    gpu_profile(slow)
    assert False
"""


@pytest.fixture(scope="module")
def validator() -> Any:
    """The validator of the schema that is shipped."""
    from jsonschema import Draft202012Validator

    schema = json.loads((files("pytest_gpuprof") / "storage" / "document.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(validator: Any, document: Any) -> list[str]:
    """Return what is wrong, and where."""
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize(
    ("conftest", "args"),
    [
        (GPU, []),
        (BLIND_GPU, ["--gpu-profile-inconclusive=fail"]),
        (NO_GPU, []),
        (GPU, ["--gpu-profile-strict"]),
        (GPU, ["--gpu-profile-session-time=0.000001", "--gpu-profile-unavailable=skip"]),
    ],
    ids=["gpu", "no energy counter", "no gpu", "strict", "out of time"],
)
def test_runs_with_every_outcome_are_valid(runs: Runs, validator: Any, conftest: str, args: list[str]) -> None:
    """With and without a GPU, readings, time."""
    runs.on_gpu(EVERY_OUTCOME, EXPORT, *args, conftest=conftest)
    document = runs.exported()
    assert problems(validator, document) == []
    assert len(document["records"]) == 8


def test_the_outcomes_are_all_there(runs: Runs) -> None:
    """Or the test above would prove little."""
    runs.on_gpu(EVERY_OUTCOME, EXPORT, conftest=BLIND_GPU)
    verdicts = [each["outcome"] for record in runs.exported()["records"] for each in record["verdicts"]]
    assert set(verdicts) == {"met", "missed", "inconclusive", "unavailable", "not enforced"}
    assert {record["outcome"] for record in runs.exported()["records"]} == {"passed", "failed", "skipped"}


def test_a_stand_in_under_xdist_and_an_empty_run_are_valid(runs: Runs, validator: Any) -> None:
    """The workers' records are the same, and no record is fine."""
    pytest.importorskip("xdist")
    runs("def test_it(gpu_profile):\n    gpu_profile(fast)\n", EXPORT, "-n1", conftest=GPU)
    assert len(runs.exported()["records"]) == 1
    assert problems(validator, runs.exported()) == []
    runs("def test_it(): pass", EXPORT)
    assert problems(validator, runs.exported()) == []


def test_keys_that_are_not_known_are_allowed(runs: Runs, validator: Any) -> None:
    """A later version may add some, at every level."""
    runs.on_gpu(EVERY_OUTCOME, EXPORT)
    document = runs.exported()

    def with_more(value: Any, at: str = "") -> Any:
        if isinstance(value, list):
            return [with_more(each, at) for each in value]
        if not isinstance(value, dict):
            return value
        named = {"legs", "counts", "unenforced", "derived", "readings", "samples", "series", "overhead", "params",
                 "peaks", "identity", "state", "figures", "conditions", "baselines"}  # fmt: skip
        more = {} if at in named else {"from_the_future": {"x": 1}}
        return {**{key: with_more(each, key) for key, each in value.items()}, **more}

    assert problems(validator, with_more(document)) == []


def test_what_comes_with_history_is_described(runs: Runs, validator: Any) -> None:
    """Source, machine, conditions, figures, budgets, baselines and changes."""
    runs.on_gpu(EVERY_OUTCOME, EXPORT)
    document = runs.exported()
    source = {"commit": "a" * 40, "branch": None, "dirty": True, "commit_time": "2026-11-28T07:00:00Z",
              "project": "p", "trees": {".": "b" * 40, "gone": None}}  # fmt: skip
    document |= {"id": "0" * 32, "machine": "0123456789ab", "source": source}
    document["records"][0] |= {
        "conditions": {"device": "NVIDIA T4", "torch": "2.9"},
        "figures": {"gpu_time": {"value": 1e-3, "interval": [9e-4, None], "rounds": 6, "quality": "measured"}},
        "budgets": [{"keyword": "max_regression", "limit": "5%", "stat": "median", "confidence": 0.95, "reason": "",
                     "enforce": True, "profile": None, "metric": "gpu_time"}],
        "baselines": {"gpu_time": {"values": [1e-3], "source": "5 runs on main"},
                      "energy": {"absence": "new", "reason": "no baseline was accepted"}},
    }  # fmt: skip
    document["records"][0]["verdicts"][0] |= {"change": "regressed", "effect": 0.18}
    assert problems(validator, document) == []
    assert problems(validator, {**document, "source": {"unavailable": "git is not installed"}}) == []


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def _without(*path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


RECORD = ("records", 0)
BROKEN = {
    "another schema": _set("schema", value="pytest-gpuprof/2"),
    "no schema": _without("schema"),
    "no records": _without("records"),
    "records are no list": _set("records", value={}),
    "local time": _set("created", value="2026-11-28 07:00"),
    "a record without a test": _without(*RECORD, "test"),
    "attempt 0": _set(*RECORD, "attempt", value=0),
    "a leg too many": _set(*RECORD, "legs", "tpu", value={}),
    "a leg too few": _without(*RECORD, "legs", "gpu"),
    "a reading without a reason": _set(*RECORD, "legs", "gpu", "readings", "x", value={"cause": "no reading"}),
    "an empty reason": _set(*RECORD, "derived", "speedup", value={"unavailable": "", "cause": "no reading"}),
    "a value and a reason": _set(
        *RECORD, "derived", "speedup", value={"value": 1, "unavailable": "x", "cause": "no reading"}
    ),
    "an unknown word": _set(*RECORD, "derived", "speedup", "quality", value="guessed"),
    "a text for a number": _set(*RECORD, "derived", "speedup", "value", value="20"),
    "an interval of one": _set(*RECORD, "derived", "speedup", "interval", value=[1]),
    "a sample that is null": _set(
        *RECORD, "legs", "gpu", "rounds", 0, "samples", "wall_time", value=[None]
    ),
    "an unknown outcome": _set(*RECORD, "verdicts", 0, "outcome", value="fine"),
    "a verdict without a sentence": _set(*RECORD, "verdicts", 0, "sentence", value=""),
    "a keyword that limits nothing": _set(*RECORD, "verdicts", 0, "budget", value="speedup"),
    "an unknown outcome of a test": _set(*RECORD, "outcome", value="broken"),
    "a line 0": _set(*RECORD, "location", "line", value=0),
    "a kind of device": _set(*RECORD, "legs", "gpu", "device", "kind", value="tpu"),
    "a nested parameter": _set(*RECORD, "params", "n", value=[1]),
    "a short id": _set("id", value="1"),
    "a machine by name": _set("machine", value="build-host-7"),
    "a source of nothing": _set("source", value={}),
    "a short commit": _set("source", value={"commit": "abc"}),
    "an empty baseline": _set(*RECORD, "baselines", value={"gpu_time": {"values": []}}),
    "a negative count": _set("counts", "met", value=-1),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    """A valid document."""
    from pytest_gpuprof import profile
    from pytest_gpuprof.core.results import Verdict
    from pytest_gpuprof.storage.codec import record_of

    def work(device: Any) -> Callable[[], None]:
        return lambda: device.run(cpu=20e-3, gpu=1e-3)

    taken = profile(work, backend="simulated", rounds=3).with_verdicts((Verdict("met", "min_speedup", "fine"),))
    record = {**record_of(taken, test="t.py::a"), "outcome": "passed", "location": {"file": "t.py", "line": 1}}
    return {"schema": "pytest-gpuprof/1", "version": "0.1.0", "created": "2026-11-28T07:00:00Z", "duration_s": 1.0,
           "settings": {}, "counts": {"met": 1}, "records": [record]}  # fmt: skip


def test_the_document_to_break_is_whole(validator: Any, exported: dict[str, Any]) -> None:
    """Or each of the next would pass for another reason."""
    assert problems(validator, exported) == []


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_documents_are_not_valid(
    validator: Any, exported: dict[str, Any], broken: Callable[[Any], None]
) -> None:
    """Each for one thing."""
    document = copy.deepcopy(exported)
    broken(document)
    assert len(problems(validator, document)) >= 1
