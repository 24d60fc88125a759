"""Doubts from what else the host's CPUs were doing: a container's quota, other programs, threads that had to wait.

All of it is read from counters before and after, so that what happened between two looks is not missed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.results import Caution, spoils

__all__ = ["HostUse", "cpu_quota", "host_cautions", "host_state", "host_use"]

_CROWDED_SHARE = 0.25
"""Other programs that use a quarter of the CPUs or more slow a leg that uses all of them by as much; what the operating
system does by itself stays far below."""

_LEAST_WINDOW_S = 0.5
"""Linux counts CPU time in ticks of 10 ms, which says nothing about shorter times."""

_LEAST_SHARE = 0.01
"""Throttled for less than 1 % of the time moves no figure by more than 1 %."""

_CONTESTED_PER_S = 100
"""Two threads that both want one CPU take turns every few milliseconds: on Linux 6.18 each was interrupted 130 times a
second. A thread with a CPU to itself is interrupted now and then. 100 a second on every CPU is a CPU that is shared
most of the time."""


@dataclass(frozen=True, slots=True)
class HostUse:
    """How the CPUs that this process may use have been used so far, in seconds.

    Args:
        busy_s: by anybody, time stolen by other virtual machines included; ``None`` if it is not counted.
        own_s: by this process.
        held_back_s: by the container's CPU quota, ``None`` without one.
        cpus: how many CPUs.
        waited_s: while anything on this machine waited for a CPU, ``None`` if that is not counted.
        interrupted: how often a thread of this process had to leave its CPU to another, ``None`` if not counted.
    """

    busy_s: float | None
    own_s: float
    held_back_s: float | None
    cpus: int
    waited_s: float | None = None
    interrupted: int | None = None


def host_use(cpus: Collection[int] | None = None, root: Path = Path("/")) -> HostUse:
    """Return how the CPUs have been used so far.

    Args:
        cpus: the CPUs that this process may use; ``None`` asks the system.
        root: where ``proc`` and ``sys`` are.
    """
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return HostUse(
        _busy_s(frozenset(cpus), root),
        time.process_time(),
        _held_back_s(root),
        len(cpus),
        _waited_s(root),
        _interrupted(),
    )


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many CPUs' worth of time the container allows, ``None`` without a limit.

    The least of this process's control group and all above it; version 2 says ``quota period`` or ``max period``,
    version 1 has a file for each and -1 for no limit.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    found = []
    for folder in _control_groups(root):
        words = [line.split() for line in _lines(folder / "cpu.max")]
        quota, period = words[0] if words and len(words[0]) == 2 else (
            next(iter(_lines(folder / "cpu.cfs_quota_us")), ""),
            next(iter(_lines(folder / "cpu.cfs_period_us")), ""),
        )  # fmt: skip
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _lines(file: Path) -> list[str]:
    """Return the lines of a file; one that is not there, or cannot be read, has none."""
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _busy_s(cpus: frozenset[int], root: Path) -> float | None:
    names = {f"cpu{index}" for index in cpus}
    # cpuN user nice system idle iowait irq softirq steal guest guest_nice; guests are counted in user and nice already.
    rows = [line.split() for line in _lines(root / "proc/stat")]
    counted = [row[1:9] for row in rows if row and row[0] in names]
    if not counted:
        return None
    ticks = sum(int(value) for row in counted for column, value in enumerate(row) if column not in (3, 4))
    return ticks / os.sysconf("SC_CLK_TCK")


def _held_back_s(root: Path) -> float | None:
    """Return the sum over this process's control group and all above it: a quota on any of them holds it back."""
    counted = [held for folder in _control_groups(root) if (held := _throttled_s(folder / "cpu.stat")) is not None]
    return sum(counted) if counted else None


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the CPU controller, innermost first; a line is ``number:controllers:path``."""
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers == "":  # version 2: one hierarchy, which names no controllers
            top = mount
        elif "cpu" in controllers.split(","):  # version 1: a hierarchy for each, perhaps together with cpuacct
            top = next((folder for name in (controllers, "cpu") if (folder := mount / name).is_dir()), mount / "cpu")
        else:
            continue
        # From inside a container the path can be the host's, or lead out of what is mounted; then only the top is seen.
        names = [] if ".." in path else [name for name in PurePosixPath(path).parts if name != "/"]
        for depth in range(len(names), -1, -1):
            yield top.joinpath(*names[:depth])


def _throttled_s(stat: Path) -> float | None:
    counters: Mapping[str, str] = dict(line.split(maxsplit=1) for line in _lines(stat) if " " in line)
    for name, seconds in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):  # version 2, version 1
        if name in counters:
            return int(counters[name]) * seconds
    return None


def _waited_s(root: Path) -> float | None:
    """Return Linux's pressure stall information: ``some avg10=… avg60=… avg300=… total=microseconds``."""
    for line in _lines(root / "proc/pressure/cpu"):
        total = line.rpartition("total=")[2]
        if line.startswith("some ") and total.isdigit():
            return int(total) * 1e-6
    return None


def _interrupted() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def host_state(before: HostUse, after: HostUse, seconds: float) -> Mapping[str, Fact]:
    """Return what the host was like between two states of it, ``seconds`` apart, as facts of a record's state."""
    facts: dict[str, Fact] = {}
    if before.waited_s is not None and after.waited_s is not None and seconds > 0:
        facts["cpu_pressure"] = round((after.waited_s - before.waited_s) / seconds, 3)
    rate = _interrupted_per_s(before, after, seconds)
    if rate is not None:
        facts["interrupted_per_cpu_s"] = round(rate, 1)
    return facts


def host_cautions(before: HostUse, after: HostUse, seconds: float) -> Sequence[Caution]:
    """Return the doubts about what was measured between two states of the host, ``seconds`` apart."""
    return (
        *_held_back(before, after, seconds),
        *(_crowded(before, after, seconds) or _contested(before, after, seconds)),
    )


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
    return (
        Caution(
            "crowded",
            f"other programs used {used:.1f} of the {after.cpus} CPUs meanwhile",
            "close them, or measure when they are done",
            _CPU_LEG_TOO_SLOW,
        ),
    )


def _contested(before: HostUse, after: HostUse, seconds: float) -> Sequence[Caution]:
    """Return the doubt where no other program is to blame: more threads of our own than CPUs."""
    rate = _interrupted_per_s(before, after, seconds)
    if rate is None or rate <= _CONTESTED_PER_S or seconds < _LEAST_WINDOW_S:
        return ()
    return (
        Caution(
            "contested",
            f"threads of this process were interrupted {rate:.0f} times a second on each of the {after.cpus} CPUs, "
            "which had more of them to run than they could",
            "let the workload use fewer threads (cpu_threads=, OMP_NUM_THREADS), or give it more CPUs",
            _CPU_LEG_TOO_SLOW,
        ),
    )


_CPU_LEG_TOO_SLOW = spoils("ratio", outcomes=("met",)) | spoils("time", "cpu time", outcomes=("missed",))
"""CPUs that are not free slow the CPU leg most: a speedup found on them is too good, never too small."""


def _interrupted_per_s(before: HostUse, after: HostUse, seconds: float) -> float | None:
    if before.interrupted is None or after.interrupted is None or seconds <= 0:
        return None
    return (after.interrupted - before.interrupted) / seconds / after.cpus
