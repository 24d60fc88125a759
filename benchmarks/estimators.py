"""How others time a call on a GPU, written once against the package's own device interface.

So that on a simulated device all see the same card. Each is the procedure that its name stands for, not its code: where
a tool calls its framework, here the device is called.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from pytest_gpuprof.core.protocols import Device

__all__ = ["FLUSH_S", "do_bench", "host_clock", "naive_events"]

FLUSH_S = 65e-6
"""What clearing 256 MiB takes an H100; it hides some of the launches behind it."""


def naive_events(device: Device, call: Callable[[], object], repeats: int = 100) -> float:
    """Return the median of that many calls, each between two events on an idle device."""
    assert device.timer is not None
    timer, times = device.timer, []
    for _ in range(repeats):
        device.synchronize()
        start = timer.mark()
        call()
        end = timer.mark()
        device.synchronize()
        times.append(timer.elapsed_s(start, end))
    return statistics.median(times)


def do_bench(
    device: Device,
    call: Callable[[], object],
    flush: Callable[[], object],
    warmup_s: float = 0.025,
    repeat_s: float = 0.1,
) -> float:
    """Return what ``triton.testing.do_bench`` does with its defaults: the mean of calls between events.

    Five calls, each after clearing the cache, estimate the time of one; from that follow the number of warm-up calls
    and of repeats. Each repeat clears the cache, then marks, calls and marks; nothing is waited for in between.
    """
    assert device.timer is not None
    timer = device.timer
    call()
    device.synchronize()
    start = timer.mark()
    for _ in range(5):
        flush()
        call()
    end = timer.mark()
    device.synchronize()
    estimate = max(timer.elapsed_s(start, end) / 5, 1e-9)
    for _ in range(max(1, int(warmup_s / estimate))):
        call()
    marks = []
    for _ in range(max(1, int(repeat_s / estimate))):
        flush()
        first = timer.mark()
        call()
        marks.append((first, timer.mark()))
    device.synchronize()
    return statistics.fmean(timer.elapsed_s(first, second) for first, second in marks)


def host_clock(device: Device, call: Callable[[], object], max_time_s: float = 0.1) -> tuple[float, float]:
    """Return least and median of a loop as pytest-benchmark's, around the call and a synchronization.

    Calls per round grow tenfold until a round takes 5 µs; then rounds fill ``max_time_s``, five at least. The tool's
    own default is 1 s, which makes more rounds and changes neither figure.
    """
    now = device.clock.now

    def round_of(loops: int) -> float:
        start = now()
        for _ in range(loops):
            call()
            device.synchronize()
        return now() - start

    loops = 1
    while (seconds := round_of(loops)) < 5e-6:
        loops *= 10
    rounds = max(5, math.ceil(max_time_s / seconds))
    times = [round_of(loops) / loops for _ in range(rounds)]
    return min(times), statistics.median(times)
