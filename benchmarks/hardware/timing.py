"""The open questions about time, each a function of a device that returns number, unit and sentence.

They use nothing but the package's device interface, so that they run on a simulated device too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.protocols import Board, Device, Timer
from pytest_gpuprof.core.results import Reading

__all__ = ["Rig", "clock", "empty", "escape", "floor", "probe", "queue", "resolution", "rewarm", "spin", "wall"]

Found = tuple[float, str, str]

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Rig:
    """What the questions are asked of.

    Args:
        device: the GPU.
        kernel: returns a callable that gives the current stream one kernel of about that many seconds.
        profile: measures such a callable in a number of rounds by the package itself.
        board: its sensors.
        spin_cycles: gives the stream a kernel of that many cycles of the SM clock, ``None`` if nothing does.
    """

    device: Device
    kernel: Callable[[float], Call]
    profile: Callable[[Call, int], Profile]
    board: Board | Reading
    spin_cycles: Callable[[int], Any] | None = None

    @property
    def timer(self) -> Timer:
        """The device's events."""
        if self.device.timer is None:
            raise Unavailable(self.device.lacks.get("timer", "the device has no events"))
        return self.device.timer

    def backlog(self, seconds: float) -> None:
        """Keep the stream busy."""
        if self.device.backlog is None:
            raise Unavailable("the device has no backlog")
        self.device.backlog(seconds)

    def seconds_of(self, call: Call) -> float:
        """Return the device time of one call behind a backlog that outlasts its launch."""
        self.device.synchronize()
        self.backlog(1e-3)
        start = self.timer.mark()
        call()
        end = self.timer.mark()
        self.device.synchronize()
        return self.timer.elapsed_s(start, end)


def spin(rig: Rig) -> Found:
    """Return the greatest deviation of the backlog's time from proportionality to what was asked for."""
    rig.seconds_of(lambda: rig.backlog(1e-3))  # finds out its own speed
    found = {}
    for wanted in (0.25e-3, 0.5e-3, 1e-3, 2e-3, 4e-3, 8e-3):
        times = [rig.seconds_of(lambda wanted=wanted: rig.backlog(wanted)) for _ in range(9)]  # type: ignore[misc]
        found[wanted] = statistics.median(times) / wanted
    middle = statistics.median(found.values())
    worst = max(abs(ratio / middle - 1) for ratio in found.values())
    return 100 * worst, "%", "Medians of 9, from 0.25 to 8 ms, against their common slope."


def probe(rig: Rig) -> Found:
    """Return cycles over event time of the spin kernel, over the SM clock that NVML tells meanwhile."""
    if rig.spin_cycles is None:
        raise Unavailable("nothing spins for a number of cycles on this device")
    if isinstance(rig.board, Reading):
        raise Unavailable(rig.board.reason)
    cycles = 20_000_000  # about 10 ms, which is long against the clock's own readings
    spun = rig.spin_cycles
    ratios = []
    for _ in range(15):
        seconds = rig.seconds_of(lambda: spun(cycles))
        told_hz = rig.board.conditions().sm_clock_hz.require("the SM clock")
        ratios.append(cycles / seconds / told_hz)
    return statistics.median(ratios), "", f"Median of {len(ratios)} spins of {cycles:,} cycles."


def _stamps(rig: Rig, pairs: int = 100) -> list[float]:
    """Return the moments of pairs of events with nothing between them, behind a backlog, since the first."""
    rig.device.synchronize()
    rig.backlog(5e-3)
    marks = [rig.timer.mark() for _ in range(2 * pairs)]
    rig.device.synchronize()
    return [rig.timer.elapsed_s(marks[0], mark) for mark in marks]


def resolution(rig: Rig) -> Found:
    """Return the smallest step between events: of those in a row, and of the ends of ever longer kernels."""
    stamps = _stamps(rig)
    for index in range(50):
        stamps.append(rig.seconds_of(rig.kernel(20e-6 * (1 + index / 997))))
    ordered = sorted(stamps)
    # Smaller ones are rounding: CUDA tells milliseconds in single precision, half a nanosecond at 5 ms.
    steps = [later - earlier for earlier, later in pairwise(ordered) if later - earlier > 2e-9]
    if not steps:
        raise Unavailable("all events have the same stamp")
    return 1e6 * min(steps), "µs", f"The least of {len(steps)} steps between different stamps."


def empty(rig: Rig) -> Found:
    """Return the median interval of two events with nothing between them."""
    stamps = _stamps(rig)
    pairs = [second - first for first, second in zip(stamps[::2], stamps[1::2], strict=True)]
    return 1e6 * statistics.median(pairs), "µs", f"Median of {len(pairs)} pairs behind a backlog."


def queue(rig: Rig, most: int = 4096) -> Found:
    """Return how many launches the device takes while it is busy before one blocks the host."""
    call = rig.kernel(2e-6)
    call()
    rig.device.synchronize()
    now = rig.device.clock.now
    wait_s = 0.2  # 4096 launches at up to 20 µs take less than half of it
    rig.backlog(wait_s)
    for count in range(most):
        start = now()
        call()
        if now() - start > wait_s / 10:
            rig.device.synchronize()
            return float(count), "launches", "The first launch that took the host longer than a tenth of the backlog."
    rig.device.synchronize()
    return float(most), "launches", "None of them blocked the host."


def escape(rig: Rig, repeats: int = 200) -> Found:
    """Return how long synchronizing takes longer after the last event has passed than on an idle device."""
    device, now = rig.device, rig.device.clock.now
    call = rig.kernel(50e-6)
    idle, after = [], []
    for _ in range(repeats):
        device.synchronize()
        start = now()
        device.synchronize()
        idle.append(now() - start)
        call()
        rig.timer.wait(rig.timer.mark())
        start = now()
        device.synchronize()
        after.append(now() - start)
    high = statistics.quantiles(after, n=100)[98] - statistics.median(idle)
    return 1e6 * max(0.0, high), "µs", f"99 % of {repeats} kernels of one stream were below; more means escaped work."


def clock(rig: Rig, seconds: float) -> Found:
    """Return the lowest over the highest speed of the spin kernel under load, while nothing throttled the clock."""
    if isinstance(rig.board, Reading):
        raise Unavailable(rig.board.reason)
    call, now = rig.kernel(5e-3), rig.device.clock.now
    speeds, reasons = [], set()
    began = now()
    while now() - began < seconds:
        for _ in range(10):
            call()
        took = rig.seconds_of(lambda: rig.backlog(1e-3))
        throttled = {
            reason for reason in rig.board.conditions().reasons if reason not in ("idle", "application clocks")
        }
        reasons |= throttled
        if not throttled:
            speeds.append(1e-3 / took)
    if len(speeds) < 3:
        raise Unavailable(f"the clock was throttled all the time ({', '.join(sorted(reasons))})")
    seen = f"; throttled meanwhile by {', '.join(sorted(reasons))}" if reasons else ""
    return min(speeds) / max(speeds), "", f"{len(speeds)} probes in {seconds:.0f} s of load{seen}."


def floor(rig: Rig, rounds: int = 24) -> Found:
    """Return the standard deviation of the logarithms of the rounds' device times."""
    found = rig.profile(rig.kernel(100e-6), rounds).gpu
    logs = [math.log(value) for value in found.per_round("device_time")]
    if len(logs) < 3:
        raise Unavailable("fewer than three rounds have a device time")
    return 100 * statistics.stdev(logs), "%", f"{len(logs)} rounds of a kernel of 100 µs, with the clocks as they are."


def rewarm(rig: Rig, idle_s: float = 0.25) -> Found:
    """Return after how much load, following an idle turn, calls are within 1 % of what they take later."""
    call = rig.kernel(1e-3)
    for _ in range(200):
        call()
    rig.device.synchronize()
    rig.device.clock.sleep(idle_s)
    marks = [rig.timer.mark()]
    for _ in range(200):
        call()
        marks.append(rig.timer.mark())
    rig.device.synchronize()
    times = [rig.timer.elapsed_s(first, second) for first, second in pairwise(marks)]
    later = statistics.median(times[100:])
    spread = statistics.quantiles(times[100:], n=10)[8] / later - 1  # an outlier among later calls is no ramp
    slow = [index for index, seconds in enumerate(times[:100]) if seconds > later * (1.01 + spread)]
    # The last of a ramp: single slow calls after ten that are not slow are noise.
    ramp = 0
    for index in slow:
        if index <= ramp + 10:
            ramp = index + 1
    return (
        1e3 * sum(times[:ramp]),
        "ms",
        f"After {idle_s:g} s of idling, calls of 1 ms, against the median of the last 100.",
    )


def wall(rig: Rig) -> Found:
    """Return how much longer wall time is than device time where a call is 50 times as long as its overheads."""
    device, now = rig.device, rig.device.clock.now
    short = rig.kernel(2e-6)
    launches, syncs = [], []
    for _ in range(50):
        device.synchronize()
        start = now()
        short()
        launches.append(now() - start)
        device.synchronize()
        start = now()
        device.synchronize()
        syncs.append(now() - start)
    overhead = statistics.median(launches) + statistics.median(syncs)
    found = rig.profile(rig.kernel(50 * overhead), 3).gpu
    return (
        100 * (found.time_s / found.device_time_s - 1), "%",
        f"A kernel of 50 times launch and synchronization, which take {1e6 * overhead:.1f} µs.",
    )  # fmt: skip
