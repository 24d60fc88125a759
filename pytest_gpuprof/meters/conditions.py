"""Doubts from the state of the board and the host, before and after: throttling, sharing, a container's CPU quota."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Caution, Leg, spoils

__all__ = ["HostUse", "board_cautions", "host_cautions", "host_use"]

_HARD_REASONS = frozenset({"thermal", "hardware", "power brake", "board limit", "reliability"})
"""Throttling that a well-kept machine does not show. A software power cap is how heavy kernels normally run."""

_ON_BOARD: frozenset[Leg] = frozenset({"gpu", "reference"})
"""The legs that run on the board: its state says nothing about the CPU leg."""

_CROWDED_SHARE = 0.25
"""Other programs that use a quarter of the CPUs or more slow a leg that uses all of them by as much; what the operating
system does by itself stays far below."""

_LEAST_WINDOW_S = 0.5
"""Linux counts CPU time in ticks of 10 ms, which says nothing about shorter times."""

_LEAST_SHARE = 0.01
"""Throttled for less than 1 % of the time moves no figure by more than 1 %."""


def board_cautions(before: Conditions, after: Conditions, seconds: float) -> Sequence[Caution]:
    """Return the doubts about what was measured between two states of a board, ``seconds`` apart."""
    return (*_throttling(before, after, seconds), *_sharing(before, after))


def _throttling(before: Conditions, after: Conditions, seconds: float) -> Sequence[Caution]:
    shares = {
        reason: (after.throttled_s[reason] - before.throttled_s[reason]) / max(seconds, 1e-9)
        for reason in after.throttled_s
        if reason in before.throttled_s
    }
    hard = {reason: share for reason, share in shares.items() if reason in _HARD_REASONS and share > _LEAST_SHARE}
    if not hard:
        hard = dict.fromkeys((after.reasons | before.reasons) & _HARD_REASONS, 0.0)
    if not hard:
        return ()
    clock, rated = after.sm_clock_hz.value, after.rated_clock_hz.value
    facts = " and ".join(
        f"{reason} for {share:.0%} of the time" if share else f"{reason} at the end" for reason, share in hard.items()
    )
    if clock and rated:
        facts += f" (clock {clock / 1e6:.0f} of {rated / 1e6:.0f} MHz)"
    # Throttling only slows: a time that met its limit would have met it all the more. Joules per call go either way.
    return (
        Caution(
            "throttled",
            f"the GPU was throttled: {facts}",
            "let it cool, or give it more air, and measure again",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            _ON_BOARD,
        ),
    )


def _sharing(before: Conditions, after: Conditions) -> Sequence[Caution]:
    counts = [each.other_processes.value for each in (before, after) if each.other_processes.value]
    if not counts:
        return ()
    others = int(max(counts))
    return (
        Caution(
            "shared",
            f"{others} other process{'es' if others > 1 else ''} used the GPU meanwhile",
            "stop them, or choose another device with --gpu-profile-devices",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            _ON_BOARD,
        ),
    )


@dataclass(frozen=True, slots=True)
class HostUse:
    """How the CPUs that this process may use have been used so far, in seconds.

    Args:
        busy_s: by anybody, time stolen by other virtual machines included; ``None`` if it is not counted.
        own_s: by this process.
        held_back_s: by the container's CPU quota, ``None`` without one.
        cpus: how many CPUs.
    """

    busy_s: float | None
    own_s: float
    held_back_s: float | None
    cpus: int


def host_use(
    cpus: Collection[int] | None = None, stat: Path = Path("/proc/stat"), quota: Path = Path("/sys/fs/cgroup/cpu.stat")
) -> HostUse:
    """Return how the CPUs have been used so far.

    Args:
        cpus: the CPUs that this process may use; ``None`` asks the system.
        stat: where Linux counts the time of each CPU.
        quota: where Linux counts how long a container was held back.
    """
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return HostUse(_busy_s(frozenset(cpus), stat), time.process_time(), _held_back_s(quota), len(cpus))


def _busy_s(cpus: frozenset[int], stat: Path) -> float | None:
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    # cpuN user nice system idle iowait irq softirq steal guest guest_nice; guests are counted in user and nice already.
    counted = [line[1:9] for line in lines if line and line[0] in {f"cpu{index}" for index in cpus}]
    if not counted:
        return None
    ticks = sum(int(value) for line in counted for column, value in enumerate(line) if column not in (3, 4))
    return ticks / os.sysconf("SC_CLK_TCK")


def _held_back_s(quota: Path) -> float | None:
    try:
        lines = quota.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counters: Mapping[str, str] = dict(line.split(maxsplit=1) for line in lines if " " in line)
    used = counters.get("throttled_usec")
    return None if used is None else int(used) * 1e-6


def host_cautions(before: HostUse, after: HostUse, seconds: float) -> Sequence[Caution]:
    """Return the doubts about what was measured between two states of the host, ``seconds`` apart."""
    return (*_held_back(before, after, seconds), *_crowded(before, after, seconds))


def _held_back(before: HostUse, after: HostUse, seconds: float) -> Sequence[Caution]:
    if before.held_back_s is None or after.held_back_s is None:
        return ()
    held_s = after.held_back_s - before.held_back_s
    if held_s / max(seconds, 1e-9) <= _LEAST_SHARE:
        return ()
    return (
        Caution(
            "cpu quota",
            f"the container's CPU quota held it back for {held_s:.2g} s of {seconds:.2g} s",
            "give the container more CPU, or the CPU leg fewer threads with cpu_threads=",
            spoils("ratio") | spoils("time", "cpu time", outcomes=("missed",)),
        ),
    )


def _crowded(before: HostUse, after: HostUse, seconds: float) -> Sequence[Caution]:
    if before.busy_s is None or after.busy_s is None or seconds < _LEAST_WINDOW_S:
        return ()
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    used = others_s / seconds
    if used <= _CROWDED_SHARE * after.cpus:
        return ()
    # A crowded CPU slows the CPU leg most: a speedup found on it is too good, never too small.
    return (
        Caution(
            "crowded",
            f"other programs used {used:.1f} of the {after.cpus} CPUs meanwhile",
            "close them, or measure when they are done",
            spoils("ratio", outcomes=("met",)) | spoils("time", "cpu time", outcomes=("missed",)),
        ),
    )
