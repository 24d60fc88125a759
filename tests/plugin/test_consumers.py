"""Our exports, unmodified, in the hands of those who read them.

``pytest-benchmark`` is the real program. github-action-benchmark and Bencher are no Python packages and cannot be
installed here, so what they take out of a file is written down as two small functions, after their sources.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import has

from .conftest import GPU, Runs

SOURCE = """
@pytest.mark.gpu_budget(min_speedup=5)
@pytest.mark.parametrize("n", [64, 1024])
def test_sized(gpu_profile, n):
    gpu_profile(lambda device, n: fast(device), params={"n": n}, metrics=["time", "memory", "energy"])

def test_two(gpu_profile):
    gpu_profile(fast, name="a")
    gpu_profile(slow, name="b", reference=fast)
"""

ENTRIES = [
    "test_it.py::test_sized[64-cpu (simulated)]",
    "test_it.py::test_sized[64-gpu (simulated)]",
    "test_it.py::test_sized[1024-cpu (simulated)]",
    "test_it.py::test_sized[1024-gpu (simulated)]",
    "test_it.py::test_two[a-cpu (simulated)]",
    "test_it.py::test_two[a-gpu (simulated)]",
    "test_it.py::test_two[b-cpu (simulated)]",
    "test_it.py::test_two[b-gpu (simulated)]",
    "test_it.py::test_two[b-reference (simulated)]",
]
"""The card of these runs passes for a GPU with pytest, and carries its word all the same."""


def export(runs: Runs, kind: str, name: str = "out.json") -> Path:
    """Return the export of a run on a simulated card."""
    runs.on_gpu(SOURCE, f"--gpu-profile-export={kind}:{name}", conftest=GPU)
    return runs.path / name


@pytest.fixture
def storage(runs: Runs) -> Path:
    """Two runs, in a folder as pytest-benchmark wants it."""
    if not has("pytest_benchmark"):
        pytest.skip("NOT TESTED: pytest-benchmark is not installed to read what we export for it")
    folder = runs.path / "storage"
    machine = folder / "Linux-CPython-3.11-64bit"
    machine.mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(export(runs, "pytest-benchmark"), machine / f"000{number}_x.json")
    return folder


def benchmark(storage: Path, *args: str) -> str:
    """Return what the real command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", f"--storage={storage}", *args],
        cwd=storage,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_pytest_benchmark_lists_our_files(storage: Path) -> None:
    """Both."""
    listed = benchmark(storage, "list").split()
    assert [Path(each).name for each in listed] == ["0001_x.json", "0002_x.json"]


def test_pytest_benchmark_compares_our_files(storage: Path) -> None:
    """Each workload is a table, with its CPU beside its GPU and their ratio."""
    columns = "min,max,mean,stddev,median,iqr,outliers,ops,rounds,iterations"
    shown = benchmark(storage, "compare", f"--columns={columns}", "--name=short")
    assert shown.count("benchmark 'test_it.py::test_sized[64]': 4 tests") == 1
    assert shown.count("benchmark 'test_it.py::test_two[b]': 6 tests") == 1
    assert shown.count("sized[64-gpu (simulated)] ") == shown.count("sized[64-cpu (simulated)] ") == 2
    assert "(1.0)" in shown


@pytest.mark.parametrize("by", ["name", "fullname", "param", "param:device", "param:n"])
def test_pytest_benchmark_groups_our_files(storage: Path, by: str) -> None:
    """By whatever it offers."""
    args = ["0001_x", "-k", "sized"] if by == "param:n" else ["0001_x"]
    assert "test_sized" in benchmark(storage, "compare", f"--group-by={by}", *args)


def test_pytest_benchmark_compares_between_our_files(storage: Path) -> None:
    """The same entry of two runs."""
    shown = benchmark(storage, "compare", "--between=mean,median")
    assert "test_sized[64-gpu (simulated)]" in shown


def test_pytest_benchmark_makes_csv_of_our_files(storage: Path) -> None:
    """With the parameters as columns."""
    benchmark(storage, "compare", "0001_x", f"--csv={storage / 'out.csv'}")
    with (storage / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(ENTRIES)
    assert {(row["param:device"], row["param:n"]) for row in rows} >= {("gpu", "64"), ("cpu", "1024"), ("gpu", "")}
    assert all(float(row["mean"]) > 0 for row in rows)


def test_pytest_benchmark_compares_a_run_of_its_own_with_ours(storage: Path, runs: Runs) -> None:
    """It reads the machine and the commit then."""
    path = runs.path / "own" / "test_own.py"
    shutil.copytree(
        storage, path.parent / "storage"
    )  # its own message fails if that is not below the folder it runs in
    (path.parent / "pytest.ini").touch()
    path.write_text("def test_own(benchmark):\n    benchmark(lambda: None)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--confcutdir=.", path.name,
         "--benchmark-disable-gc", "--benchmark-storage=storage", "--benchmark-compare=0002"],
        cwd=path.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Comparing against benchmarks from: Linux-CPython-3.11-64bit/0002_x.json" in done.stdout + done.stderr


def github_action_benchmark(text: str) -> list[dict[str, Any]]:
    """Return what github-action-benchmark takes out of a file with ``tool: pytest``. A double, after its extract.ts.

    It reads the full name, operations per second as the value, and deviation, mean and rounds as remarks. JavaScript
    knows neither NaN nor Infinity in JSON, and an empty list is an error.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"JSON.parse: unexpected {constant}")

    found = []
    for entry in json.loads(text, parse_constant=refuse)["benchmarks"]:
        stats = entry["stats"]
        numbers = {name: stats[name] for name in ("ops", "stddev", "mean", "rounds")}
        assert all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in numbers.values())
        found.append(
            {
                "name": entry["fullname"],
                "value": stats["ops"],
                "unit": "iter/sec",
                "range": f"stddev: {stats['stddev']}",
                "extra": f"mean: {stats['mean']} sec\nrounds: {stats['rounds']}",
            }
        )
    assert found, "no benchmark result was found"
    return found


def test_github_action_benchmark_finds_every_leg(runs: Runs) -> None:
    """With operations per second, of which more is better. A double of its extraction reads it."""
    found = github_action_benchmark(export(runs, "pytest-benchmark").read_text(encoding="utf-8"))
    assert [each["name"] for each in found] == ENTRIES
    values = {each["name"]: each["value"] for each in found}
    assert values["test_it.py::test_sized[64-gpu (simulated)]"] == pytest.approx(1000, rel=0.05)
    assert values["test_it.py::test_sized[64-cpu (simulated)]"] == pytest.approx(50, rel=0.05)


def bencher_python_pytest(text: str) -> dict[str, tuple[float, float, float]]:
    """Return what Bencher's ``python_pytest`` adapter takes out of a file: latency in ns. A double, after pytest.rs.

    One entry that lacks a field has the whole file refused.
    """
    document = json.loads(text)
    assert isinstance(document["machine_info"], dict)
    assert isinstance(document["commit_info"], dict)
    found = {}
    for entry in document["benchmarks"]:
        name, stats = entry["fullname"], entry["stats"]
        assert 0 < len(name.encode()) <= 1024
        median, iqr = stats["median"], stats["iqr"]
        for field in ("mean", "stddev", "median", "iqr"):
            assert isinstance(stats[field], float), field  # an integer is none for its parser
        found[name] = (median * 1e9, (median - iqr) * 1e9, (median + iqr) * 1e9)
    return found


def test_bencher_finds_every_leg(runs: Runs) -> None:
    """As latency. A double of its adapter reads it."""
    found = bencher_python_pytest(export(runs, "pytest-benchmark").read_text(encoding="utf-8"))
    assert list(found) == ENTRIES
    value, low, high = found["test_it.py::test_sized[64-gpu (simulated)]"]
    assert low <= value <= high
    assert value == pytest.approx(1e6, rel=0.05)


def test_bencher_finds_every_figure(runs: Runs) -> None:
    """In its own format, where a measure may be anything: numbers, and bounds around them."""
    found = json.loads(export(runs, "bencher").read_text(encoding="utf-8"))
    assert list(found) == [
        "test_it.py::test_sized[64] (simulated)",
        "test_it.py::test_sized[1024] (simulated)",
        "test_it.py::test_two a (simulated)",
        "test_it.py::test_two b (simulated)",
    ]
    measures = found["test_it.py::test_sized[64] (simulated)"]
    assert {"gpu-time", "cpu-time", "speedup-derived", "gpu-memory", "energy"} <= {
        name.removesuffix("-simulated") for name in measures
    }
    for metric in measures.values():
        assert set(metric) <= {"value", "lower_value", "upper_value"}
        assert (
            metric.get("lower_value", metric["value"]) <= metric["value"] <= metric.get("upper_value", metric["value"])
        )


@pytest.mark.parametrize("kind", ["csv", "markdown", "openmetrics", "bencher", "pytest-benchmark"])
def test_every_format_carries_the_word(runs: Runs, kind: str) -> None:
    """What a simulated machine says is never shown without it."""
    runs(SOURCE, f"--gpu-profile-export={kind}:out.txt")
    text = (runs.path / "out.txt").read_text(encoding="utf-8")
    assert "simulated" in text
    assert "derived" in text


@pytest.mark.parametrize("kind", ["csv", "markdown", "openmetrics", "bencher", "pytest-benchmark"])
def test_every_format_can_tell_of_nothing(runs: Runs, kind: str) -> None:
    """A run that measured nothing is written too."""
    result = runs("def test_a(): pass", f"--gpu-profile-export={kind}:out.txt")
    assert result.ret == pytest.ExitCode.OK
    assert (runs.path / "out.txt").stat().st_size > 0
