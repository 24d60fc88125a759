"""What is held still around timed rounds, and restored after, whatever the workload does.

Garbage collection would run at any moment; a tracer (coverage, a debugger, a profiler) slows Python code up to twenty
times, on the CPU leg more than on the GPU leg. Both stop while rounds are taken.
"""

from __future__ import annotations

import gc
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_gpuprof.core.protocols import Threads
from pytest_gpuprof.core.results import Caution, spoils
from pytest_gpuprof.meters.host_use import cpu_quota

__all__ = ["allowed_threads", "quiet", "threads_limited", "tracing"]


@contextmanager
def quiet() -> Iterator[None]:
    """Stop automatic garbage collection and tracing until the context ends, then restore both."""
    collecting = gc.isenabled()
    tracer = sys.gettrace()
    profiler: Any = sys.getprofile()  # typeshed knows functions only
    gc.collect(1)  # what building and the first calls left; all else outlived the collection that ends a measurement
    gc.disable()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        if profiler is None or callable(profiler):
            sys.setprofile(profiler)
        else:  # cProfile, which is no Python function: it alone knows how to begin again
            profiler.enable()
        sys.settrace(tracer)
        if collecting:
            gc.enable()


def tracing() -> Caution | None:
    """Return a caution if something watches every line or call of Python code.

    ``sys.settrace`` is paused by :func:`quiet`, but its tools also watch other threads and C calls of the workload, and
    tools of ``sys.monitoring`` (Python 3.12) cannot be paused by anyone else. A tracer slows the CPU leg more than the
    GPU leg, so a speedup found under it is too good.
    """
    watcher = "a trace function" if sys.gettrace() else "a profile function" if sys.getprofile() else None
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        tools = [monitoring.get_tool(index) for index in range(6)]
        watcher = next((f"sys.monitoring tool {tool!r}" for tool in tools if tool), watcher)
    if watcher is None:
        return None
    return Caution(
        "traced",
        f"Python code is watched by {watcher}, which slows the CPU leg",
        "run without coverage or debugger (--no-cov)",
        spoils("ratio") | spoils("cpu time", outcomes=("missed",)),
    )


def allowed_threads() -> int:
    """Return how many threads this process may usefully run: its CPU affinity, less a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


@contextmanager
def threads_limited(threads: Threads | None, count: int) -> Iterator[None]:
    """Let a framework compute with ``count`` CPU threads until the context ends."""
    if threads is None:
        yield
        return
    with threads.limit(count):
        yield
