"""What an iteration of our loop costs beside one of ``timeit``'s, calling the same function.

Where valgrind is installed, the instructions of a call are counted in both loops, which nothing disturbs: a process
that calls often, less one that does not call at all. In seconds the two are compared in turn, many times: each ratio
is one of neighbours, which a fast or a slow moment of the machine hits alike. (The least of all seconds of either loop
come from moments of their own: their ratio was 0.98 in one run and 1.07 in the next.) The median of the ratios comes
with its interval, and beside a control: two loops of ``timeit``, whose true ratio is 1.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.idle import median_interval
from benchmarks.instructions import instructions_of
from benchmarks.progress import say
from benchmarks.results import ROOT
from pytest_gpuprof.sampling.loop import call_repeatedly

__all__ = ["measure"]

_CALLS = 20_000
"""About 1 ms for an empty function: so short that many of the repeats are not interrupted by anything."""

_COUNTED_CALLS = 200_000
"""Some 80 million instructions: far more than two starts of Python differ by."""

_COUNTED = """
import sys, timeit
from pytest_gpuprof.sampling.loop import call_repeatedly

def nothing():
    pass

loops = {"ours": lambda calls: call_repeatedly(nothing, calls), "timeit": timeit.Timer(nothing).timeit}
loops[sys.argv[1]](int(sys.argv[2]))
"""


def _nothing() -> None:
    pass


def measure(repeats: int, *, count_instructions: bool = True) -> dict[str, Any]:
    """Return what a call costs in both loops: in instructions, and in seconds, taken in turn without collection."""
    loops: dict[str, Callable[[], object]] = {
        "ours": lambda: call_repeatedly(_nothing, _CALLS),
        "timeit": _timeit(),
        "control": _timeit(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for repeat in range(repeats):
            for name in loops if repeat % 2 == 0 else reversed(loops):
                start = time.perf_counter()
                loops[name]()
                seconds[name].append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    say("loops, repeats", repeats, repeats)
    ratios, controls = (
        [each / other for each, other in zip(seconds[name], seconds["timeit"], strict=True)]
        for name in ("ours", "control")
    )
    return {
        "calls": _CALLS,
        "repeats": repeats,
        "instructions": _instructions() if count_instructions else None,
        "ours_s": min(seconds["ours"]) / _CALLS,
        "timeit_s": min(seconds["timeit"]) / _CALLS,
        "ratio": statistics.median(ratios),
        "ratio_interval": list(median_interval(ratios)),
        "control_ratio": statistics.median(controls),
        "control_ratio_interval": list(median_interval(controls)),
    }


def _timeit() -> Callable[[], object]:
    timer = timeit.Timer(_nothing)
    return lambda: timer.timeit(_CALLS)


def _instructions() -> dict[str, float] | None:
    """Return the instructions per call of each loop, ``None`` without valgrind."""
    found = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # once uncounted: the first import of a fresh checkout also compiles it
    subprocess.run([sys.executable, "-c", _COUNTED, "ours", "0"], env=environment, check=True)
    with tempfile.TemporaryDirectory() as name:
        for loop in ("ours", "timeit"):
            counts = []
            for calls in (0, _COUNTED_CALLS):
                command = [sys.executable, "-c", _COUNTED, loop, str(calls)]
                counted = instructions_of(command, Path(name), environment)
                if counted is None:
                    return None
                counts.append(counted)
            found[loop] = (counts[1] - counts[0]) / _COUNTED_CALLS
            say("loop, instructions of", len(found), 2)
    return found
