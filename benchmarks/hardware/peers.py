"""Other tools that time a call on the GPU, by their own code; one that is missing says so."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Callable
from typing import Any

from pytest_gpuprof.core.errors import Unavailable

__all__ = ["PEERS", "compared", "cupyx_benchmark", "graph_replay", "torch_benchmark", "triton_do_bench"]

Call = Callable[[], Any]

_GRAPH_S = 5e-3
"""A replay lasts about 5 ms, so that its own launch of some 10 µs and the events' resolution are below 0.3 %."""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unavailable(f"{name} cannot be imported ({error})") from None


def triton_do_bench(call: Call, seconds: float) -> float:
    """Return ``triton.testing.do_bench`` with its defaults: the mean, with the cache cleared before each call."""
    return float(_module("triton.testing").do_bench(call)) * 1e-3


def cupyx_benchmark(call: Call, seconds: float) -> float:
    """Return the median GPU time of ``cupyx.profiler.benchmark``; repeats for half a second, ten at least."""
    repeats = max(10, min(1000, math.ceil(0.5 / seconds)))
    found = _module("cupyx.profiler").benchmark(call, n_repeat=repeats, n_warmup=10)
    return statistics.median(float(each) for each in found.gpu_times.ravel())


def torch_benchmark(call: Call, seconds: float) -> float:
    """Return the median of ``torch.utils.benchmark``'s ``blocked_autorange``: wall time of synchronized blocks."""
    timer = _module("torch.utils.benchmark").Timer(stmt="call()", globals={"call": call})
    return float(timer.blocked_autorange().median)


def graph_replay(call: Call, seconds: float) -> float:
    """Return the time of a call within the replay of a CUDA graph of many; the median of 20 replays."""
    torch = _module("torch")
    if not torch.cuda.is_available():
        raise Unavailable("CUDA graphs need a CUDA device")
    calls = max(1, math.ceil(_GRAPH_S / seconds))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # warms up on a side stream, as capturing asks for
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    graph.replay()
    times = []
    for _ in range(20):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / calls)
    return statistics.median(times)


PEERS: dict[str, Callable[[Call, float], float]] = {
    "graph replay": graph_replay,
    "triton do_bench": triton_do_bench,
    "cupyx benchmark": cupyx_benchmark,
    "torch benchmark": torch_benchmark,
}
"""By the name on the page; each gets the call and about how long it takes."""


def compared(
    kernel: str,
    call: Call,
    seconds: float,
    ours: Callable[[Call, float], float],
    peers: dict[str, Callable[[Call, float], float]] | None = None,
) -> dict[str, Any]:
    """Return the seconds of one kernel by every tool, ours among them, and why a tool has none."""
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, tool in {"gpuprof": ours, **(PEERS if peers is None else peers)}.items():
        try:
            found[name] = tool(call, seconds)
        except Unavailable as error:
            missing[name] = str(error)
        except Exception as error:  # a tool's own failure is a finding, and no reason to lose the others
            missing[name] = f"{type(error).__name__}: {error}"
    return {"kernel": kernel, "about_s": seconds, "seconds": found, "missing": missing}
