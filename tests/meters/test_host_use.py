"""Doubts from what else the CPUs were doing: counted by Linux, read before and after."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gpuprof.meters.host_use import HostUse, cpu_quota, host_cautions, host_state, host_use

STAT = """\
cpu  9 9 9 9 9 9 9 9 9 9
cpu0 100 20 30 5000 40 5 6 7 90 0
cpu1 200 0 0 5000 0 0 0 0 0 0
cpu10 9000 0 0 0 0 0 0 0 0 0
intr 12345
"""


Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file in which Linux counts; none is there yet."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def use(
    busy_s: float | None = 0.0,
    own_s: float = 0.0,
    held_back_s: float | None = None,
    cpus: int = 4,
    waited_s: float | None = None,
    interrupted: int | None = None,
) -> HostUse:
    """Return a use of the host in which nothing happened but what is said."""
    return HostUse(busy_s, own_s, held_back_s, cpus, waited_s, interrupted)


V2 = "usage_usec 5000000\nnr_throttled 3\nthrottled_usec 2500000\n"
V1 = "nr_periods 100\nnr_throttled 3\nthrottled_time 2500000000\n"


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/\n", "cpu.stat", V2),  # in a container, version 2
        ("0::/user.slice/run-7.scope\n", "user.slice/run-7.scope/cpu.stat", V2),
        ("0::/user.slice/run-7.scope\n", "user.slice/cpu.stat", V2),  # the quota is on what is above it
        ("0::/../../other\n", "cpu.stat", V2),
        ("5:memory:/x\n4:cpu,cpuacct:/docker/ab\n", "cpu,cpuacct/docker/ab/cpu.stat", V1),
        ("4:cpu,cpuacct:/docker/ab\n", "cpu/cpu.stat", V1),  # the host's path, of which the container sees the end
        ("1:cpu:/\n0::/\n", "cpu/cpu.stat", V1),  # both versions at once
    ],
)
def test_the_quota_of_a_container_is_counted_by_its_control_group(
    write: Write, tmp_path: Path, groups: str, file: str, text: str
) -> None:
    """In either version, also on a group above, in microseconds or in nanoseconds."""
    write("proc/self/cgroup", groups)
    assert host_use([0], tmp_path).held_back_s is None
    write(f"sys/fs/cgroup/{file}", text)
    assert host_use([0], tmp_path).held_back_s == 2.5


def test_quotas_of_nested_groups_add_up(write: Write, tmp_path: Path) -> None:
    """So that the difference between two looks shows each of them; a group that counts nothing is not zero."""
    write("proc/self/cgroup", "0::/a/b\n")
    for folder in ("", "a/", "a/b/"):
        write(f"sys/fs/cgroup/{folder}cpu.stat", "usage_usec 5000000\n")
    assert host_use([0], tmp_path).held_back_s is None
    write("sys/fs/cgroup/a/cpu.stat", V2)
    write("sys/fs/cgroup/a/b/cpu.stat", V2)
    assert host_use([0], tmp_path).held_back_s == 5.0


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_least_quota_of_the_groups_holds(
    write: Write, tmp_path: Path, groups: str, files: dict[str, str], cpus: float | None
) -> None:
    """In either version of control groups, on the process's own or on one above."""
    write("proc/self/cgroup", groups)
    for name, text in files.items():
        write(f"sys/fs/cgroup/{name}", f"{text}\n")
    assert cpu_quota(tmp_path) == cpus


def test_time_of_the_cpus_that_may_be_used_is_counted(write: Write, tmp_path: Path) -> None:
    """All but idling and waiting; guests are in the first columns already; cpu10 is not cpu1."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert host_use([0, 1], tmp_path).busy_s is None
    write("proc/stat", STAT)
    assert host_use([0], tmp_path).busy_s == pytest.approx(168 * tick_s)
    both = host_use([0, 1], tmp_path)
    assert both.busy_s == pytest.approx(368 * tick_s)
    assert both.cpus == 2
    assert host_use([7], tmp_path).busy_s is None


def test_waiting_for_a_cpu_is_counted_where_linux_does(write: Write, tmp_path: Path) -> None:
    """The pressure file may be missing, and on old kernels empty."""
    assert host_use([0], tmp_path).waited_s is None
    write("proc/pressure/cpu", "")
    assert host_use([0], tmp_path).waited_s is None
    pressure = "some avg10=0.53 avg60=0.23 avg300=0.20 total=4532257\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
    write("proc/pressure/cpu", pressure)
    assert host_use([0], tmp_path).waited_s == pytest.approx(4.532257)


def test_interruptions_are_counted_by_this_system() -> None:
    """The real counter, which never falls."""
    first, second = host_use().interrupted, host_use().interrupted
    assert first is not None
    assert second is not None
    assert 0 <= first <= second


def test_what_the_host_went_through_is_kept() -> None:
    """As shares and rates; what is not counted is left out."""
    before, after = use(waited_s=1.0, interrupted=100), use(waited_s=3.5, interrupted=500)
    assert host_state(before, after, 10.0) == {"cpu_pressure": 0.25, "interrupted_per_cpu_s": 10.0}
    assert host_state(use(), after, 10.0) == {}
    assert host_state(before, after, 0.0) == {}


def test_a_container_that_was_held_back_is_a_doubt_about_its_times() -> None:
    """A ratio in both directions: the slow CPU leg makes a speedup too good."""
    (caution,) = host_cautions(use(held_back_s=1.0), use(held_back_s=3.0), 10.0)
    assert caution.code == "cpu quota"
    assert "held it back for 2 s of 10 s" in caution.message
    assert caution.spoils == {("ratio", "met"), ("ratio", "missed"), ("time", "missed"), ("cpu time", "missed")}


@pytest.mark.parametrize(("before", "after"), [(None, 3.0), (1.0, None), (None, None), (1.0, 1.0), (1.0, 1.09)])
def test_no_quota_or_none_used_up_is_no_doubt(before: float | None, after: float | None) -> None:
    """What is not counted is not guessed; one per cent moves nothing."""
    assert host_cautions(use(held_back_s=before), use(held_back_s=after), 10.0) == ()


def test_other_programs_on_the_cpus_are_a_doubt_about_what_they_make_look_better() -> None:
    """A crowded CPU leg makes a speedup too good, and any time too long."""
    (caution,) = host_cautions(use(5.0, 1.0), use(45.0, 21.0), 10.0)
    assert caution.code == "crowded"
    assert "other programs used 2.0 of the 4 CPUs meanwhile" in caution.message
    assert caution.spoils == {("ratio", "met"), ("time", "missed"), ("cpu time", "missed")}


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        (use(0.0, 0.0), use(40.0, 40.0), 10.0),  # all of it was ours
        (use(0.0, 0.0), use(10.0, 0.5), 10.0),  # just below a quarter of four CPUs
        (use(None), use(None), 10.0),
        (use(None), use(40.0), 10.0),
        (use(0.0), use(1.0), 0.2),  # too short for a clock of 10 ms ticks
    ],
)
def test_a_host_that_is_ours_or_tells_nothing_is_no_doubt(before: HostUse, after: HostUse, seconds: float) -> None:
    """What the system does by itself stays far below a quarter."""
    assert host_cautions(before, after, seconds) == ()


def test_more_threads_of_our_own_than_cpus_are_a_doubt() -> None:
    """Nobody else is to blame, and still no thread had its CPU to itself."""
    (caution,) = host_cautions(use(0.0, 0.0, interrupted=0), use(40.0, 40.0, interrupted=6800), 10.0)
    assert caution.code == "contested"
    assert "interrupted 170 times a second on each of the 4 CPUs" in caution.message
    assert "cpu_threads=" in caution.remedy
    assert caution.spoils == {("ratio", "met"), ("time", "missed"), ("cpu time", "missed")}


@pytest.mark.parametrize(
    ("interrupted", "seconds"), [(4000, 10.0), (40, 0.1), (None, 10.0)], ids=["rarely", "too short", "not counted"]
)
def test_a_thread_that_is_seldom_interrupted_is_no_doubt(interrupted: int | None, seconds: float) -> None:
    """The system interrupts every thread now and then."""
    assert host_cautions(use(interrupted=0), use(interrupted=interrupted), seconds) == ()


def test_one_cause_is_told_once() -> None:
    """Other programs that take the CPUs interrupt our threads as well."""
    (caution,) = host_cautions(use(0.0, interrupted=0), use(40.0, interrupted=9000), 10.0)
    assert caution.code == "crowded"
