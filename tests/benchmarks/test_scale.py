"""The benchmark of scale: its table marks what misses a goal, and it runs the real commands on what it stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale


def command(seconds: float, megabytes: float = 50) -> dict[str, list[float]]:
    return {"seconds": [9.0, seconds], "cpu_seconds": [seconds / 2, 8.0], "bytes": [1e6, megabytes * 1e6]}


FOUND: dict[str, Any] = {
    "runs": 1000,
    "sizes": {
        "10000": {
            "store_bytes": 16_500_000_000,
            "commands": {
                "compare": command(1.5, 90),
                "compare --format json": command(2.5),
                "compare, only two stored": command(1.4),
                "compare latest:main": command(4.0),
                "history": command(0.4),
                "pytest-benchmark compare": command(3.0),
            },
        }
    },
}


def test_a_goal_that_is_not_met_is_marked() -> None:
    """And one that is met is not; the least of the times and the most of the memory count."""
    _, _, compare, json, alone, latest, history, peer = scale.table(FOUND).splitlines()
    assert compare == "| 10,000 (16,500 MB) | compare | 1.50 | 0.75 | 2.0 | 0.50 | 90 MB |"
    assert json == "|  | compare --format json | 2.50 ✗ | 1.25 | 2.0 | 0.83 | 50 MB |"
    assert alone.startswith("|  | compare, only two stored | 1.40 | 0.70 |  |")
    assert latest.startswith("|  | compare latest:main | 4.00 | 2.00 |  |")
    assert history.startswith("|  | history | 0.40 | 0.20 | 0.5 |")
    assert peer.startswith("|  | pytest-benchmark compare | 3.00 | 1.50 |  | 1.00 |")


def test_the_plot_has_the_commands(tmp_path: Path) -> None:
    """One line for each of them."""
    pytest.importorskip("matplotlib", reason="NOT TESTED: plots need matplotlib")
    (plot,) = scale.plots(FOUND, tmp_path)
    drawn = plot.read_text(encoding="utf-8")
    assert all(what in drawn for what in ("compare latest:main", "history", "pytest-benchmark compare"))


def test_every_command_runs_on_a_small_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs of three tests: the copies are runs like any other, and each command finds something to say."""
    pytest.importorskip("pytest_benchmark", reason="NOT TESTED: scale needs pytest-benchmark beside it")
    monkeypatch.setattr(scale, "_WORKLOAD", "test_workload[2]")
    monkeypatch.setattr(scale, "_QUICK", ((3,), 4, 1))
    found = scale.measure(quick=True)
    assert found["runs"] == 4
    commands = found["sizes"]["3"]["commands"]
    assert commands.keys() == FOUND["sizes"]["10000"]["commands"].keys()
    assert all(each["seconds"][0] > each["cpu_seconds"][0] / 8 > 0 for each in commands.values())
    assert all(each["bytes"][0] > 1e6 for each in commands.values())
    assert found["sizes"]["3"]["store_bytes"] > 0


def test_memory_is_that_of_the_command(tmp_path: Path) -> None:
    """And not that of the process that starts it, from which a process of Linux inherits the mark."""
    kept = bytearray(b"x") * 200_000_000
    few, many = (
        scale._run([sys.executable, "-c", f"kept = bytearray(b'x') * {size}; print(len(kept))"], tmp_path)["bytes"]
        for size in (1, len(kept) // 2)
    )
    assert few < 50e6
    assert 100e6 < many < 150e6
    assert (tmp_path / "output").read_text() == "100000000\n"


def test_a_command_that_fails_is_no_result(tmp_path: Path) -> None:
    """It is told with what it said."""
    with pytest.raises(RuntimeError, match=r"ended with 2: .*no such thing"):
        scale._run([sys.executable, "-c", "import sys; print('no such thing'); sys.exit(2)"], tmp_path)
