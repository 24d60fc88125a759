"""How long a test with a speedup budget takes, beside pytest-benchmark running its two legs as two benchmarks.

The legs are NumPy on the CPU and OpenCL, on a GPU or on PoCL in its place, of three sizes. Ours is judged: the budget
is far below what any machine finds, so it is met as soon as the least number of rounds is taken. pytest-benchmark
judges nothing here, and has no notion of the two belonging together.

pytest-benchmark runs in three ways. By default it takes its number of rounds from the time of the very first call;
where that compiles something, a handful of rounds is all it takes, and it is done soon and knows little. With one call
before, rounds fill the second per benchmark that it means to spend. With calibrated warm-up it warms up first.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import CannotRun
from benchmarks.progress import say
from benchmarks.results import ROOT
from benchmarks.simulation import OneMachine
from pytest_gpuprof import Profiler, profile
from pytest_gpuprof.backends.simulated import SimulatedBackend

__all__ = ["OURS", "SIZES", "measure", "phases_of"]

SIZES = {"small": 2_000, "medium": 200_000, "large": 4_000_000}
"""Numbers in an array: a call of some 10 µs, 0.2 ms and 5 ms on one core."""

_LEGS = '''
import numpy
import pyopencl
import pyopencl.array
import pytest

KERNEL = """
kernel void hypotenuse(global const float *a, global const float *b, global float *c) {
    size_t i = get_global_id(0);
    c[i] = sqrt(a[i] * a[i] + b[i] * b[i]);
}
"""

def numbers(n):
    return numpy.arange(n, dtype=numpy.float32), numpy.full(n, 0.5, dtype=numpy.float32)

def in_numpy(n=200_000):
    a, b = numbers(n)
    return lambda: numpy.sqrt(a * a + b * b)

def in_opencl(queue, n=200_000):
    a, b = (pyopencl.array.to_device(queue, part) for part in numbers(n))
    c = pyopencl.array.empty_like(a)
    kernel = pyopencl.Program(queue.context, KERNEL).build().hypotenuse
    return lambda: kernel(queue, (n,), None, a.data, b.data, c.data)
'''

_OURS = """
from legs import in_numpy, in_opencl
import pytest

@pytest.mark.parametrize("n", {sizes})
@pytest.mark.gpu_budget(min_speedup=0.001)
def test_speedup(gpu_profile, n):
    gpu_profile(in_opencl, cpu=in_numpy, params={{"n": n}})
"""

_THEIRS = """
from legs import in_numpy, in_opencl
from pytest_gpuprof.backends.opencl import OpenclBackend
import pytest

BACKEND = OpenclBackend()
DEVICE = BACKEND.open(BACKEND.devices()[0].id)

@pytest.mark.parametrize("n", {sizes})
def test_cpu(benchmark, n):
    leg = in_numpy(n)
    {before}
    benchmark(leg)

@pytest.mark.parametrize("n", {sizes})
def test_gpu(benchmark, n):
    call = in_opencl(DEVICE.arguments["queue"], n)

    def leg():
        call()
        DEVICE.synchronize()

    {before}
    benchmark(leg)
"""

_CONFTEST = """
import json
import sys

sys.path.insert(0, ".")
seconds = {}

def pytest_runtest_logreport(report):
    if report.failed:
        print(report.longreprtext)
    key = report.nodeid.partition("[")[2].rstrip("]")
    seconds[key] = seconds.get(key, 0.0) + report.duration

def pytest_unconfigure(config):
    with open("seconds.json", "w") as file:
        json.dump(seconds, file)
"""

OURS = "gpuprof"
_PLUGIN = ("-p", "pytest_benchmark.plugin")


@dataclass(frozen=True, slots=True)
class _Way:
    """How the tests are written and run."""

    source: str
    options: tuple[str, ...]
    before: str = "pass"


_WAYS = {
    OURS: _Way(_OURS, ("-p", "pytest_gpuprof.plugin", "--gpu-profile", "--gpu-profile-devices=any")),
    "pytest-benchmark": _Way(_THEIRS, _PLUGIN),
    "pytest-benchmark, one call before": _Way(_THEIRS, _PLUGIN, "leg()"),
    "pytest-benchmark, calibrated warm-up": _Way(_THEIRS, (*_PLUGIN, "--benchmark-warmup=on")),
}

_SIMULATED = {"small": (20e-6, 10e-6), "medium": (500e-6, 100e-6), "large": (10e-3, 1e-3)}
"""Seconds of a call on the CPU and on the GPU of a simulated machine, which nothing disturbs."""


def measure(repeats: int) -> dict[str, Any]:
    """Return the seconds per test by way and size: set-up, measuring and clean-up, as pytest counts them.

    Raises:
        CannotRun: without PyOpenCL or pytest-benchmark.
    """
    for module, package in (("pyopencl", "'pyopencl[pocl]'"), ("pytest_benchmark", "pytest-benchmark")):
        if importlib.util.find_spec(module) is None:
            raise CannotRun(f"{module} is not installed; pip install {package}")
    seconds: dict[str, dict[str, list[float]]] = {way: {size: [] for size in SIZES} for way in _WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("legs.py").write_text(_LEGS, encoding="utf-8")
        folder.joinpath("conftest.py").write_text(_CONFTEST, encoding="utf-8")
        for repeat in range(repeats):
            for way in _WAYS if repeat % 2 == 0 else reversed(_WAYS):
                taken = _run(folder, way)
                for size, n in SIZES.items():
                    seconds[way][size].append(taken[str(n)])
            say("gated tests, repeats", repeat + 1, repeats)
        phases = _phases(folder)
    medians = {way: {size: statistics.median(each) for size, each in sizes.items()} for way, sizes in seconds.items()}
    totals = {way: sum(sizes.values()) for way, sizes in medians.items()}
    return {
        "seconds": medians,
        "ratios": {way: totals[OURS] / total for way, total in totals.items() if way != OURS},
        "ratios_by_size": {
            way: {size: medians[OURS][size] / sizes[size] for size in SIZES}
            for way, sizes in medians.items()
            if way != OURS
        },
        "phases": phases,
        "phases_simulated": {size: _simulated_phases(*seconds) for size, seconds in _SIMULATED.items()},
    }


def _run(folder: Path, way: str) -> dict[str, float]:
    how = _WAYS[way]
    file = folder / "test_legs.py"
    file.write_text(how.source.format(sizes=list(SIZES.values()), before=how.before), encoding="utf-8")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environment["GPUPROF_LOCK_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *how.options, file.name],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the tests by {way} ended with {done.returncode}: {done.stdout[-2000:]}")
    found: dict[str, float] = json.loads(folder.joinpath("seconds.json").read_text(encoding="utf-8"))
    return found


def _phases(folder: Path) -> dict[str, dict[str, float]]:
    """Return the seconds that each phase of a measurement takes, by size."""
    sys.path.insert(0, str(folder))
    try:
        legs = importlib.import_module("legs")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("legs", None)
    return {
        size: _phases_of_profile(legs.in_opencl, legs.in_numpy, time.perf_counter, n=n) for size, n in SIZES.items()
    }


def _simulated_phases(cpu_s: float, gpu_s: float) -> dict[str, float]:
    """Return the simulated seconds that each phase takes: what the plan's numbers cost where nothing disturbs."""
    machine = SimulatedBackend()
    return _phases_of_profile(
        lambda device: lambda: device.run(gpu_s), lambda device: lambda: device.run(cpu_s),
        lambda: machine.clock.time, OneMachine(machine), backend="simulated",
    )  # fmt: skip


def _phases_of_profile(
    gpu: Any, cpu: Any, now: Callable[[], float], plugin: object = None, backend: str | None = None, **params: Any
) -> dict[str, float]:
    told: list[tuple[float, str]] = []
    run = Profiler(
        plugins=() if plugin is None else (plugin,),
        devices=("any",),
        watch=lambda what: told.append((now(), str(what))),
    )
    profile(gpu, cpu=cpu, params=params, rounds=3, backend=backend, profiler=run)
    told.append((now(), "end"))
    return phases_of(told)


def phases_of(told: Sequence[tuple[float, str]]) -> dict[str, float]:
    """Return the seconds between what was told, summed by its first two words.

    >>> phases_of([(0.0, "round 1 of 3"), (1.0, "round 2 of 3"), (3.0, "warming up on cpu"), (4.0, "end")])
    {'round': 3.0, 'warming up': 1.0}
    """
    seconds: dict[str, float] = {}
    for (start, what), (end, _) in pairwise(told):
        words = what.split()[:2]
        key = words[0] if words[0] == "round" else " ".join(words)
        seconds[key] = seconds.get(key, 0.0) + end - start
    return seconds
