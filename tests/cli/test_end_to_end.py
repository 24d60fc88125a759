"""Real test runs, which store themselves, and the command after them: as a person uses both."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import Runs

from .conftest import Command

SUITE = """
def work(device):
    return lambda: device.run(cpu=20e-3, gpu={gpu})

@pytest.mark.gpu_budget(max_gpu_time="5 ms")
def test_steady(gpu_profile):
    gpu_profile(fast)

def test_changing(gpu_profile):
    gpu_profile(work)
"""


@pytest.fixture
def measure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Inner runs of pytest in a folder that is the current one."""
    monkeypatch.delenv("GPUPROF_STORE", raising=False)
    pytester.makeini("[pytest]")
    return Runs(pytester)


def test_a_slowdown_is_found_told_and_accepted(measure: Runs, command: Command) -> None:
    """Five runs, a baseline, a slowdown of 20 %: the gate closes, the history tells since when, accepting opens it."""
    for _ in range(5):
        measure(SUITE.format(gpu="1e-3")).assert_outcomes(passed=2)
    assert command("list", "--format", "json") == 0
    listed = json.loads(command.out)
    assert [run["number"] for run in listed] == [5, 4, 3, 2, 1]
    assert listed[0]["counts"]["met"] == 1
    assert listed[0]["devices"] == ["Simulated GPU (simulated)"]
    assert command("accept", "--runs", "5") == 0
    assert command("compare", "baseline", "--fail-on", "regressed") == 0

    measure(SUITE.format(gpu="1.2e-3")).assert_outcomes(passed=2)
    assert command("show", "-k", "changing") == 0
    assert "test_changing" in command.out
    for base in ("baseline", "latest"):
        assert command("compare", base, "--fail-on", "gpu_time:10%") == 1
        rows = [line for line in command.out.splitlines() if "regressed" in line and "gpu time" in line]
        assert [row.split()[0] for row in rows] == ["test_it.py::test_changing"]
    for _ in range(2):
        measure(SUITE.format(gpu="1.2e-3"))
    assert command("history", "test_changing") == 0
    assert "worse since " in command.out
    assert "run 6 of " in command.out
    assert command("history", "test_steady") == 0
    assert "since " not in command.out

    assert command("accept", "--runs", "3") == 0
    assert command("compare", "baseline", "--fail-on", "regressed") == 0


def test_an_export_goes_around(measure: Runs, command: Command) -> None:
    """Exported by pytest, imported elsewhere, judged again, written in every format."""
    measure(SUITE.format(gpu="1e-3"), "--gpu-profile-export=json:run.json", "--gpu-profile-store=none")
    assert not (measure.path / ".gpuprof" / "history.sqlite3").exists()
    assert command("import", "run.json") == 0
    assert command("show", "latest", "--format", "json") == 0
    assert json.loads(command.out)["records"] == json.loads((measure.path / "run.json").read_text())["records"]
    assert command("check", "run.json", "--anyway") == 0
    assert "budgets: 1 met" in command.out
    for name in ("json", "pytest-benchmark", "csv", "markdown", "openmetrics", "bencher"):
        assert command("export", "latest", "--format", name) == 0
        assert "test_steady" in command.out
    assert command("prune", "--keep-samples", "0") == 0
    assert command("compare", "latest", "run.json") == 3  # the same run
