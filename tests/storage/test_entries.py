"""The text of the file of baselines: what it may hold, and every way in which it can be broken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.entries import SCHEMA, Content, Entry, Place, parsed, text_of

TITLE = "gpuprof-baselines.json"
T4 = {"device": "NVIDIA T4", "torch": "2.13", "gpu_power_limit_w": 70}
TEST = "tests/test_a.py::test_b[4-ä]"


def test_the_file_can_be_reviewed() -> None:
    """One line per figure, sorted; a machine is told once; six digits, and whole numbers in full."""
    entries = [
        Entry(TEST, "work", "gpu_time", T4, (0.00123456789,)),
        Entry(TEST, "work", "gpu_memory", T4, (17179869185.0,)),
        Entry("a.py::test", "work", "gpu_time", T4, (3.0,)),
    ]
    content = Content({}, {}).merged(entries, add=False, gone=())
    assert text_of(content) == (
        "{\n"
        '  "schema": "pytest-gpuprof-baselines/1",\n'
        '  "figures": [\n'
        f'    {{"test": "a.py::test", "profile": "work", "figure": "gpu_time", "machine": "{key_of(T4)}", '
        '"values": [3]},\n'
        f'    {{"test": "{TEST}", "profile": "work", "figure": "gpu_memory", "machine": "{key_of(T4)}", '
        '"values": [17179869185]},\n'
        f'    {{"test": "{TEST}", "profile": "work", "figure": "gpu_time", "machine": "{key_of(T4)}", '
        '"values": [0.00123457]}\n'
        "  ],\n"
        '  "machines": {\n'
        f'    "{key_of(T4)}": {{\n'
        '      "device": "NVIDIA T4",\n'
        '      "gpu_power_limit_w": 70,\n'
        '      "torch": "2.13"\n'
        "    }\n"
        "  }\n"
        "}\n"
    )
    assert parsed(text_of(content), TITLE) == content


def document(**changes: Any) -> dict[str, Any]:
    line = {"test": TEST, "profile": "work", "figure": "gpu_time", "machine": "abc", "values": [0.001]}
    return {"schema": SCHEMA, "figures": [line], "machines": {"abc": T4}, **changes}


def line_with(**changes: Any) -> dict[str, Any]:
    (line,) = document()["figures"]
    return document(figures=[{key: value for key, value in {**line, **changes}.items() if value is not ...}])


CONFLICT = '{\n  "schema": "x",\n<<<<<<< HEAD\n  1\n=======\n  2\n>>>>>>> feature\n}\n'

BROKEN: dict[str, tuple[Any, str]] = {
    "merge conflict": (CONFLICT, r"has a merge conflict in line 3 \(<<<<<<< HEAD\); keep the lines of one side"),
    "rest of a conflict": (CONFLICT.replace("<<<<<<< HEAD\n", ""), r"a merge conflict in line 4 \(=======\)"),
    "not JSON": ('{"schema": }', r"is not JSON \(Expecting value: line 1 column 12 .*\); restore it"),
    "empty": ("", r"is not JSON .*; restore it from version control, or delete it and run pytest-gpuprof accept"),
    "a list": ([1], "has no schema where baselines have"),
    "no schema": ({"figures": []}, "has no schema where baselines have"),
    "newer": (document(schema="pytest-gpuprof-baselines/2"), "and this version reads .*; upgrade pytest-gpuprof"),
    "a run": (document(schema="pytest-gpuprof/1"), "has the schema 'pytest-gpuprof/1' where baselines have"),
    "schema of a wrong type": (document(schema=1), "has the schema 1 where"),
    "no figures": ({"schema": SCHEMA, "machines": {}}, "is damaged: it lacks 'figures'; restore it"),
    "no machines": ({"schema": SCHEMA, "figures": []}, "is damaged: it lacks 'machines'"),
    "figures of a wrong type": (document(figures={}), "is damaged: figures is {}, and not a list"),
    "a line of a wrong type": (document(figures=[1]), "a line of figures is 1, and not a dict"),
    "machines of a wrong type": (document(machines=[]), "machines is"),
    "a machine of a wrong type": (document(machines={"abc": 1}), "machine 'abc' is 1"),
    "a fact of a wrong type": (document(machines={"abc": {"x": []}}), r"'x' of machine 'abc' is \[\]"),
    "no test": (line_with(test=...), "it lacks 'test'"),
    "a test of a wrong type": (line_with(test=1), "'test' of a line of figures is 1, and not a str"),
    "no values": (line_with(values=...), "it lacks 'values'"),
    "values of a wrong type": (line_with(values=1), "the values of gpu_time of .* is 1, and not a list"),
    "a text among the values": (line_with(values=["1 ms"]), r"are \['1 ms'\], which are not all numbers"),
    "a truth among the values": (line_with(values=[True]), "which are not all numbers"),
    "a negative value": (line_with(values=[-1]), "finite figures of at least 0"),
    "not a number": (json.dumps(line_with(values=[float("nan")])), "finite figures of at least 0"),
    "an empty list": (line_with(values=[]), "holds 1 to 20 values, not 0"),
    "too many": (line_with(values=[1] * 21), "holds 1 to 20 values, not 21"),
    "an unknown machine": (line_with(machine="xyz"), "on machine 'xyz', which is not in the table of machines"),
    "a figure twice": (document(figures=document()["figures"] * 2), "gpu_time of .* on machine 'abc' is there twice"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_told_in_one_sentence(case: str) -> None:
    """What is wrong, where, and what to do about it."""
    content, message = BROKEN[case]
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(UsageError, match=rf"^{TITLE} .*{message}") as told:
        parsed(text, TITLE)
    assert "\n" not in str(told.value)
    assert "; " in str(told.value)


def test_keys_of_a_newer_version_are_passed_over() -> None:
    """As long as the schema is ours."""
    content = parsed(json.dumps({**line_with(mood="good"), "more": 1}), TITLE)
    assert content == Content({"abc": T4}, {Place(TEST, "work", "gpu_time", "abc"): (0.001,)})


@pytest.mark.parametrize("values", [(), (1.0,) * 21, (-1.0,), (float("inf"),)])
def test_an_entry_is_a_possible_one(values: tuple[float, ...]) -> None:
    """Whoever makes one."""
    with pytest.raises(ValueError, match="an entry holds"):
        Entry(TEST, "work", "gpu_time", T4, values)
