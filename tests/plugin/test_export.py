"""Exports: what a run writes, where, and what happens when it cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from .conftest import BLIND_GPU, Runs, text_of

ONE = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
EXPORT = "--gpu-profile-export=json:out.json"


def test_the_document(runs: Runs) -> None:
    """The document says its schema, the settings, the counts and every record with the outcome of its test."""
    runs(ONE + "\ndef test_fails(gpu_profile):\n    gpu_profile(slow)\n    assert False\n", EXPORT)
    document = runs.exported()
    assert document["schema"] == "pytest-gpuprof/1"
    assert document["settings"]["devices"] == ["simulated:0"]
    assert document["counts"] == {"met": 1, "missed": 0, "inconclusive": 0, "not enforced": 0}
    assert [(record["test"], record["outcome"]) for record in document["records"]] == [
        ("test_it.py::test_it", "passed"),
        ("test_it.py::test_fails", "failed"),
    ]
    assert document["records"][0]["legs"]["gpu"]["device"]["stand_in"] == "simulated"


def test_nothing_in_a_record_is_nan(runs: Runs) -> None:
    """What is missing is ``unavailable`` with its reason; no number is NaN or infinite."""
    (record,) = runs.records(
        "@pytest.mark.gpu_budget(max_energy=1, min_speedup=5)\ndef test_it(gpu_profile):\n"
        "    gpu_profile(fast, params={'n': float('inf')})\n".replace("fast,", "lambda device, n: fast(device),"),
        conftest=BLIND_GPU,
        devices=None,
    )

    def leaves(value: Any) -> list[Any]:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return [value] if parts is None else [leaf for part in parts for leaf in leaves(part)]

    assert all(math.isfinite(leaf) for leaf in leaves(record) if isinstance(leaf, (int, float)))
    assert "has no energy counter" in record["legs"]["gpu"]["readings"]["energy"]["unavailable"]
    assert record["params"] == {"n": None}


def test_large_parameters_are_shortened(runs: Runs) -> None:
    """An object among the parameters is told by a short text, never dumped."""
    (record,) = runs.records(
        """
class Large:
    def __repr__(self):
        return "x" * 10**6

def test_it(gpu_profile):
    gpu_profile(lambda device, big: fast(device), params={"big": Large()})
"""
    )
    assert len(record["params"]["big"]) == 200


def test_several_exports_and_folders(runs: Runs) -> None:
    """Each export is written, into folders that are made if need be, relative to where pytest was called."""
    runs(ONE, EXPORT, "--gpu-profile-export=json:reports/of/today.json")
    assert runs.exported()["records"] == runs.exported("reports/of/today.json")["records"] != []


def test_an_export_replaces_the_one_before(runs: Runs) -> None:
    """An existing file is replaced whole."""
    (runs.path / "out.json").write_text("x" * 10**5, encoding="utf-8")
    runs(ONE, EXPORT)
    assert len(runs.exported()["records"]) == 1


def test_a_run_without_records_writes_an_empty_document(runs: Runs) -> None:
    """Where nothing was measured the export says so, and is there."""
    runs("def test_a(): pass", EXPORT)
    assert runs.exported()["records"] == []


def test_a_plain_run_writes_nothing(runs: Runs) -> None:
    """Without --gpu-profile there is nothing to export."""
    runs(ONE, EXPORT, on=False)
    assert not (runs.path / "out.json").exists()


@pytest.mark.parametrize("path", [".", "a_file/out.json"])
def test_a_path_that_cannot_be_written_ends_the_run_at_once(runs: Runs, path: str) -> None:
    """Before any test runs, not after hours of measuring."""
    (runs.path / "a_file").touch()
    result = runs(ONE, f"--gpu-profile-export=json:{path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--gpu-profile-export=json:{path} cannot be written" in result.stderr.str()
    assert "name a file in a folder you may write to" in result.stderr.str()
    assert "collected" not in result.stdout.str()


def test_looking_whether_a_path_can_be_written_leaves_nothing(runs: Runs) -> None:
    """The file is there only when it is written, and an existing one is not touched before."""
    (runs.path / "old.json").write_text("old", encoding="utf-8")
    result = runs(
        """
import pathlib
def test_it():
    assert not pathlib.Path("out.json").exists()
    assert pathlib.Path("old.json").read_text() == "old"
""",
        EXPORT,
        "--gpu-profile-export=json:old.json",
    )
    result.assert_outcomes(passed=1)


IN_THE_WAY = ONE + "\ndef test_folder():\n    import pathlib\n    pathlib.Path('out.json').mkdir()\n"


def test_a_path_that_cannot_be_written_at_the_end(runs: Runs) -> None:
    """The run fails with one sentence that says where the records are, and everything else is shown and written."""
    result = runs(IN_THE_WAY, EXPORT, "--gpu-profile-export=json:other.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    assert "FAILED gpuprof: json:out.json could not be written (Is a directory)" in shown
    assert "the records are in" in shown
    assert "budgets: 1 met" in shown
    assert len(runs.exported("other.json")["records"]) == len(runs.journal()) == 1
    assert "Traceback" not in shown + result.stderr.str()


def test_a_format_of_a_conftest(runs: Runs) -> None:
    """A conftest brings a format of its own; one that breaks is told, and costs no other result."""
    conftest = """
import pathlib
from pytest_gpuprof import hookimpl

class Count:
    def write(self, document, path):
        pathlib.Path(path).write_text(str(len(document["records"])))

class Broken:
    def write(self, document, path):
        raise KeyError("bug")

@hookimpl
def pytest_gpuprof_reports():
    return {"count": Count(), "broken": Broken()}
"""
    result = runs(ONE, "--gpu-profile-export=broken:b", "--gpu-profile-export=count:c", conftest=conftest)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (runs.path / "c").read_text(encoding="utf-8") == "1"
    assert "FAILED gpuprof: broken:b could not be written (KeyError: 'bug')" in text_of(result)
    assert "budgets: 1 met" in text_of(result)


def test_an_export_goes_to_where_pytest_was_called(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that changes the directory does not move it."""
    source = ONE + "\ndef test_moves(tmp_path, monkeypatch):\n    import os\n    os.chdir(tmp_path)\n"
    here = Path.cwd()
    try:
        runs(source, EXPORT)
    finally:
        monkeypatch.chdir(here)
    assert len(runs.exported()["records"]) == 1
