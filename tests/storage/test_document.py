"""A run document is written whole, read back, and refused in one sentence where it is none."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.document import SCHEMA, figures_by_workload, read_document, unenforced, write_document

Make = Callable[..., dict[str, Any]]


def test_what_is_written_is_read(record: Make, document: Make, tmp_path: Path) -> None:
    """Also below folders that do not exist, and nothing lies beside it."""
    made = document(record())
    write_document(made, tmp_path / "a" / "b.json")
    assert read_document(tmp_path / "a" / "b.json") == made
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_document_may_come_from_standard_input(document: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a pipe."""
    made = document()
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(made)))
    assert read_document("-") == made


def test_what_cannot_be_written_leaves_the_old_one(document: Make, tmp_path: Path) -> None:
    """Whole or not at all."""
    path = tmp_path / "run.json"
    made = document()
    write_document(made, path)
    with pytest.raises(ValueError):
        write_document({**made, "duration_s": float("nan")}, path)
    assert read_document(path) == made
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_the_last_attempt_wins(record: Make, document: Make) -> None:
    """Wherever it stands."""
    made = document(record(attempt=2, gpu_time=2.0), record(attempt=1, gpu_time=1.0), record("b", "b"))
    found = figures_by_workload(made)
    assert list(found) == [("tests/test_it.py::test_fast", "fast"), ("b", "b")]
    assert found["tests/test_it.py::test_fast", "fast"]["figures"]["gpu_time"]["value"] == 2.0


def test_what_was_judged_and_fails_nothing_is_counted(record: Make, document: Make) -> None:
    """By its outcome, as the last attempt had it; what was not judged fails nothing anyway."""

    def judged(name: str, *verdicts: tuple[str, bool], attempt: int = 1) -> dict[str, Any]:
        told = [{"outcome": outcome, "enforce": enforce} for outcome, enforce in verdicts]
        return {**record(f"t::{name}", name, attempt=attempt), "verdicts": told}

    made = document(
        judged("a", ("missed", False), ("missed", True), ("met", False)),
        judged("b", ("missed", False), ("unavailable", False), ("not enforced", False)),
        judged("c", ("missed", False)),
        judged("c", ("inconclusive", False), attempt=2),
    )
    assert made["unenforced"] == unenforced(made) == {"met": 1, "missed": 2, "inconclusive": 1}
    assert document(judged("a", ("missed", True)))["unenforced"] == {}


def test_an_older_document_gets_what_it_lacks(record: Make, tmp_path: Path) -> None:
    """The same file is the same run each time it is read."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"schema": SCHEMA, "version": "0.1.0", "records": [record()]}), encoding="ascii")
    first, second = read_document(path), read_document(path)
    assert first == second
    assert len(first["id"]) == 32
    assert (first["machine"], first["counts"], list(first["source"])) == ("", {}, ["unavailable"])


RECORD = {"test": "t", "name": "n", "legs": {}}

BAD: dict[str, tuple[Any, str]] = {
    "no-json": ("{not json", "is not JSON (line 1: Expecting property name"),
    "cut-off": ('{"schema": "pytest-gpuprof/1",', "it was cut off"),
    "empty": ("", "is not JSON"),
    "nan": ('{"schema": "pytest-gpuprof/1", "records": [], "duration_s": NaN}', "is not JSON"),
    "conflict": (
        '{\n<<<<<<< HEAD\n"a": 1\n=======\n"a": 2\n>>>>>>> b\n}',
        "has a merge conflict in line 2; take one side",
    ),
    "list": ([1], "is not of pytest-gpuprof"),
    "other": ({"benchmarks": []}, "is not of pytest-gpuprof"),
    "newer": ({"schema": "pytest-gpuprof/2"}, "has the schema 'pytest-gpuprof/2'"),
    "strange": ({"schema": "pytest-gpuprof/x"}, "; measure again"),
    "no-records": ({"schema": SCHEMA}, "is damaged (it has no list of records)"),
    "bad-record": ({"schema": SCHEMA, "records": [RECORD, 3]}, "(record 2 is int)"),
    "no-test": ({"schema": SCHEMA, "records": [{"name": "n"}]}, "(record 1 has no test)"),
    "no-legs": ({"schema": SCHEMA, "records": [{"test": "t", "name": "n"}]}, "(record 1 has no legs)"),
    "attempt": ({"schema": SCHEMA, "records": [{**RECORD, "attempt": "1"}]}, "(record 1 has the attempt '1')"),
    "id": ({"schema": SCHEMA, "records": [], "id": "x"}, "(id is 'x')"),
    "created": ({"schema": SCHEMA, "records": [], "created": "yesterday"}, "(created is 'yesterday')"),
    "duration": ({"schema": SCHEMA, "records": [], "duration_s": "1"}, "(duration_s is '1')"),
    "spared": ({"schema": SCHEMA, "records": [], "unenforced": None}, "(unenforced is None)"),
    "spared-word": ({"schema": SCHEMA, "records": [], "unenforced": {"met": "x"}}, "(unenforced is {'met': 'x'})"),
    "note": (
        {"schema": SCHEMA, "records": [{**RECORD, "quarantine": {"reason": "x"}}]},
        "(record 1 has the quarantine {'reason': 'x'})",
    ),
    "no-note": (
        {"schema": SCHEMA, "records": [{**RECORD, "quarantine": None}]},
        "(record 1 has the quarantine None)",
    ),
    "source": ({"schema": SCHEMA, "records": [], "source": []}, "(source is [])"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_document_is_told(name: str, tmp_path: Path) -> None:
    """In one sentence that names the file."""
    content, words = BAD[name]
    path = tmp_path / "run.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError) as told:
        read_document(path)
    assert words in str(told.value)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    """And an older one for a new measurement."""
    path = tmp_path / "run.json"
    for number, remedy in ((99, "upgrade pytest-gpuprof"), (0, "measure again")):
        path.write_text(json.dumps({"schema": f"pytest-gpuprof/{number}"}), encoding="ascii")
        with pytest.raises(UsageError, match=remedy):
            read_document(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing, a folder, and no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, words in (("none.json", "there is no file"), (".", "cannot be read"), ("binary", "is no text")):
        with pytest.raises(UsageError, match=words):
            read_document(tmp_path / name)
