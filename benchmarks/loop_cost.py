"""What an iteration of our loop costs beside one of ``timeit``'s, calling the same function."""

from __future__ import annotations

import gc
import time
import timeit
from collections.abc import Callable
from typing import Any

from benchmarks.progress import say
from pytest_gpuprof.sampling.loop import call_repeatedly

__all__ = ["measure"]

_CALLS = 20_000
"""About 1 ms for an empty function: so short that many of the repeats are not interrupted by anything."""


def _nothing() -> None:
    pass


def measure(repeats: int) -> dict[str, Any]:
    """Return the least seconds per call of both loops, taken in turn, without garbage collection."""
    timer = timeit.Timer(_nothing)
    ours: list[float] = []
    theirs: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for repeat in range(repeats):
            pair: list[tuple[list[float], Callable[[], float]]] = [
                (ours, _ours),
                (theirs, lambda: timer.timeit(_CALLS)),
            ]
            for seconds, run in pair if repeat % 2 == 0 else reversed(pair):
                seconds.append(run())
    finally:
        if collecting:
            gc.enable()
    say("loops, repeats", repeats, repeats)
    return {
        "calls": _CALLS,
        "repeats": repeats,
        "ours_s": min(ours) / _CALLS,
        "timeit_s": min(theirs) / _CALLS,
        "ratio": min(ours) / min(theirs),
    }


def _ours() -> float:
    start = time.perf_counter()
    call_repeatedly(_nothing, _CALLS)
    return time.perf_counter() - start
