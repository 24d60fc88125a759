"""How long it takes to look back when much is stored: ``compare`` of runs and ``history`` of one workload.

A store holds 1,000 runs of 100, 1,000 and 10,000 tests: ten million records in the last. Two of the runs are of this
benchmark and hold every sample; the others are copies of one of them, thinned as ``pytest-gpuprof prune`` thins what is
old. Two runs are compared, for a person and as JSON, and the newest with the twenty before it (``latest:main``). Beside
it stands ``pytest-benchmark compare`` on the same two runs, exported for it: two legs of each test, with their
statistics. Each command is a process of its own, from its start to its end, its output thrown away. Seconds, and those
of the processor in them, are the least of several; memory is the most that was resident.

The goals: at 10,000 tests, two runs are compared in at most 2 s and a history is told in at most 0.5 s. Memory should
grow with what is shown, and not with what is stored: beside the two runs among 1,000, the same two are compared in a
store that holds nothing else.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from benchmarks import CannotRun
from benchmarks.drawing import COLOURS, drawing
from benchmarks.progress import say
from benchmarks.results import ROOT
from pytest_gpuprof import profile
from pytest_gpuprof.reports.pytest_benchmark import pytest_benchmark_text
from pytest_gpuprof.storage.codec import record_of
from pytest_gpuprof.storage.document import new_document
from pytest_gpuprof.storage.store import Store

__all__ = ["NAME", "TITLE", "measure", "plots", "table"]

NAME = "scale"
TITLE = "Comparing much"

GOALS = {"compare": 2.0, "compare --format json": 2.0, "history": 0.5}
"""Seconds at 10,000 tests and 1,000 runs."""

_FULL = ((100, 1_000, 10_000), 1_000, 5)
_QUICK = ((10, 50), 10, 1)
"""Tests per run, runs, and repeats."""

_BYTES_PER_RECORD = 1700
"""What a thinned record takes on the disk, with indices: 1,651 at 10,000 tests."""

_RUNS_AT_ONCE = 10
"""Runs that are copied in one transaction, whose journal takes as much room once more."""

_PEER = "pytest-benchmark compare"

_WORKLOAD = "test_workload[7]"


def measure(quick: bool = False) -> dict[str, Any]:
    """Return seconds and bytes of each command at each size.

    Raises:
        CannotRun: without pytest-benchmark, or without room for the largest store.
    """
    command = shutil.which("pytest-benchmark", path=str(Path(sys.executable).parent)) or shutil.which(
        "pytest-benchmark"
    )
    if command is None:
        raise CannotRun("pytest-benchmark is not installed; pip install --group benchmarks brings it")
    sizes, runs, repeats = _QUICK if quick else _FULL
    with tempfile.TemporaryDirectory(prefix="gpuprof-scale-") as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.2 * _BYTES_PER_RECORD * sizes[-1] * runs:
            raise CannotRun(f"{folder} has {free / 1e9:.0f} GB free, too little for {sizes[-1] * runs:,} records")
        found = {}
        for size in sizes:
            say(f"{runs} runs of {size} tests", 0, 1)
            found[str(size)] = _at(size, runs, repeats, Path(folder) / str(size), command)
            say(f"{runs} runs of {size} tests", 1, 1)
    return {"runs": runs, "sizes": found}


def _at(size: int, runs: int, repeats: int, folder: Path, command: str) -> dict[str, Any]:
    folder.mkdir()
    documents = [_document(size, seed) for seed in (0, 1)]
    exports = folder / "Linux-CPython-0.0-64bit"  # the kind of folder that pytest-benchmark looks into
    exports.mkdir()
    for number, document in enumerate(documents, start=1):
        (exports / f"000{number}_run.json").write_text(pytest_benchmark_text(document), encoding="utf-8")
    alone, among = folder / "alone.sqlite3", folder / "among.sqlite3"
    for place in (alone, among):
        with Store.open(str(place), folder) as store:
            for document in documents:
                store.add(document)
    _multiply(among, runs - len(documents))
    ours = [sys.executable, "-m", "pytest_gpuprof"]
    commands = {
        "compare": [*ours, "compare", "1", "2", "--store", str(among)],
        "compare --format json": [*ours, "compare", "1", "2", "--format", "json", "--store", str(among)],
        "compare, only two stored": [*ours, "compare", "1", "2", "--store", str(alone)],
        "compare latest:main": [*ours, "compare", "latest:main", "--store", str(among)],
        "history": [*ours, "history", _WORKLOAD, "--store", str(among)],
        _PEER: [command, "--storage", folder.as_uri(), "compare", "0001", "0002"],
    }
    found: dict[str, Any] = {what: {"seconds": [], "cpu_seconds": [], "bytes": []} for what in commands}
    for _ in range(repeats):  # in turn, so that a busy moment of the machine meets all of them
        for what, each in commands.items():
            for figure, value in _run(each, folder).items():
                found[what][figure].append(value)
    size_on_disk = among.stat().st_size
    shutil.rmtree(folder)
    return {"commands": found, "store_bytes": size_on_disk}


_LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - began
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
"""A small process that starts the command: the memory of a process counts from that of its parent on, and ours holds
documents. The output of the command goes where errors go."""


def _run(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Return how long a command took, how long it had a processor, and the most memory that was resident."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "output").open("wb") as output:
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
        told = subprocess.run(launched, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=output, check=True)
    status, seconds, cpu_seconds, most = json.loads(told.stdout)
    if status != 0:
        said = (folder / "output").read_text(encoding="utf-8", errors="replace")[-500:]
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {said}")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "bytes": most * (1 if sys.platform == "darwin" else 1024),
    }


def _document(size: int, seed: int) -> dict[str, Any]:
    """Return a run of so many tests, all like one that was really made on a simulated device, with 2 % of noise."""

    def workload(device: Any) -> Any:
        return lambda: device.run(cpu=20e-3, gpu=1e-3)

    made = record_of(profile(workload, backend="simulated", devices="simulated:0", rounds=6), test="test_it.py::test")
    noise = random.Random(seed)
    records = []
    for number in range(size):
        record = copy.deepcopy(made)
        record["test"] = f"tests/test_{number % 100}.py::test_workload[{number}]"
        record["outcome"] = "passed"
        factor = noise.lognormvariate(0.0, 0.02)
        for figure in record["figures"].values():
            figure["value"] *= factor
        records.append(record)
    created = f"2026-01-01T00:00:0{seed}Z"
    return new_document(
        records,
        run_id=uuid.UUID(int=noise.getrandbits(128)).hex,
        created=created,
        duration_s=1.0,
        source={"commit": f"{seed + 1:x}" * 40, "branch": "main", "dirty": False, "commit_time": created},
        machine="0" * 12,
        settings={},
        counts={"met": 0, "missed": 0, "inconclusive": 0, "not enforced": 0},
    )


def _multiply(path: Path, copies: int) -> None:
    """Add copies of the first run, older than it and without samples, by the database's own means."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA synchronous = OFF"))
        head = json.loads(connection.execute(text("SELECT head FROM runs WHERE number = 1")).scalar_one())
        size = connection.execute(text("SELECT max(id) FROM records WHERE run = 1")).scalar_one()
        last = connection.execute(text("SELECT max(id) FROM records")).scalar_one()
        for number in range(copies):
            created = f"2025-{1 + number // 84 % 12:02}-{1 + number // 3 % 28:02}T{number % 3:02}:00:00Z"
            run_id = f"{number + 3:032x}"
            row = {
                "run": number + 3,
                "id": run_id,
                "created": created,
                "commit": run_id.zfill(40),
                "head": json.dumps({**head, "id": run_id, "created": created}),
                "shift": last + number * size,
            }
            for statement in _COPY:
                connection.execute(text(statement), row)
            if number % _RUNS_AT_ONCE == _RUNS_AT_ONCE - 1:
                connection.commit()
        connection.commit()
        connection.execute(text("ANALYZE"))
        connection.commit()
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()


_COPY = (
    "INSERT INTO runs SELECT :run, :id, :created, :commit, branch, dirty, machine, version, finished, 0, duration_s, "
    "records, :head FROM runs WHERE number = 1",
    "INSERT INTO records SELECT id + :shift, :run, workload, attempt, conditions, environment, outcome, figures "
    "FROM records WHERE run = 1",
    "INSERT INTO bodies SELECT record + :shift, body FROM bodies "
    "WHERE record IN (SELECT id FROM records WHERE run = 1)",
)


def table(results: Mapping[str, Any]) -> str:
    """Return seconds and memory of each command at each size, and the ratio to pytest-benchmark."""
    lines = [
        f"| tests per run, {results['runs']:,} runs | command | seconds | of them CPU | goal | "
        "÷ pytest-benchmark | memory |",
        "| --: | :-- |" + " --: |" * 5,
    ]
    for size, found in results["sizes"].items():
        first = f"{int(size):,} ({found['store_bytes'] / 1e6:,.0f} MB)"
        peer = min(found["commands"][_PEER]["seconds"])
        for what, each in found["commands"].items():
            seconds, goal = min(each["seconds"]), GOALS.get(what)
            lines.append(
                f"| {first} | {what} | {seconds:.2f}{' ✗' if goal is not None and seconds > goal else ''} | "
                f"{min(each['cpu_seconds']):.2f} | {'' if goal is None else goal} | {seconds / peer:.2f} | "
                f"{max(each['bytes']) / 1e6:.0f} MB |"
            )
            first = ""
    return "\n".join(lines)


def plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw seconds over the size of a run."""
    path = folder / "benchmark-scale.svg"
    sizes = [int(size) for size in results["sizes"]]
    title = f"Seconds of a command, {results['runs']:,} runs stored"
    with drawing(path, title=title, x="tests per run", y="seconds") as axes:
        for colour, what in zip(COLOURS, ("compare", "compare latest:main", "history", _PEER), strict=False):
            seconds = [min(found["commands"][what]["seconds"]) for found in results["sizes"].values()]
            axes.plot(sizes, seconds, marker="o", color=colour, label=what)
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=8, frameon=False)
    return [path]


if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main([NAME, *sys.argv[1:]]))
