"""Doubts from the state of board and host: only what happened meanwhile, and only about the legs it concerns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.conditions import HostUse, board_cautions, host_cautions, host_use

UNKNOWN = Reading.unavailable("it is not told")


def state(
    reasons: frozenset[str] = frozenset(),
    others: Reading = UNKNOWN,
    clock: Reading = UNKNOWN,
    **throttled_s: float,
) -> Conditions:
    """Return a state of a board; keywords are the seconds it was throttled so far, by reason."""
    seconds = {reason.replace("_", " "): each for reason, each in throttled_s.items()}
    return Conditions(clock, Reading(1.98e9), UNKNOWN, others, seconds, reasons)


def test_a_quiet_board_gives_no_doubt() -> None:
    """Also when it tells nothing at all."""
    assert board_cautions(state(), state(), 10) == ()
    assert board_cautions(state(thermal=5.0), state(thermal=5.0), 10) == ()


def test_throttling_meanwhile_is_a_doubt_about_what_was_missed() -> None:
    """It only slows: what was met stands. Energy goes either way. The CPU leg does not run on the board."""
    (caution,) = board_cautions(state(thermal=5.0), state(thermal=8.0, clock=Reading(1.2e9)), 10)
    assert caution.code == "throttled"
    assert caution.message == "the GPU was throttled: thermal for 30% of the time (clock 1200 of 1980 MHz)"
    assert caution.spoils == {("time", "missed"), ("ratio", "missed"), ("energy", "met"), ("energy", "missed")}
    assert sorted(caution.legs or ()) == ["gpu", "reference"]
    assert caution.remedy


@pytest.mark.parametrize("reason", ["thermal", "hardware", "power_brake", "board_limit", "reliability"])
def test_every_hard_reason_counts(reason: str) -> None:
    """A well-kept machine shows none of them."""
    counted: dict[str, Any] = {reason: 1.0}
    assert board_cautions(state(**{**counted, reason: 0.0}), state(**counted), 10)


def test_a_power_cap_is_how_heavy_kernels_run() -> None:
    """It is no doubt."""
    calm = state(frozenset({"power"}), power=0.0)
    assert board_cautions(calm, state(frozenset({"power"}), power=9.0), 10) == ()


def test_less_than_a_hundredth_of_the_time_moves_no_figure() -> None:
    """The counters may tick over."""
    assert board_cautions(state(thermal=0.0), state(thermal=0.09), 10) == ()
    assert board_cautions(state(thermal=0.0), state(thermal=0.11), 10) != ()


@pytest.mark.parametrize(
    ("before", "after"), [(frozenset({"thermal"}), frozenset()), (frozenset(), frozenset({"thermal"}))]
)
def test_without_counters_the_reasons_in_force_are_the_evidence(before: frozenset[str], after: frozenset[str]) -> None:
    """At the beginning or at the end."""
    (caution,) = board_cautions(state(before), state(after), 10)
    assert "thermal" in caution.message


def test_a_counter_that_appears_meanwhile_has_no_difference() -> None:
    """Its beginning is not known."""
    assert board_cautions(state(), state(thermal=100.0), 10) == ()


@pytest.mark.parametrize(
    ("before", "after", "said"), [(0, 1, "1 other process used"), (3, 2, "3 other processes used")]
)
def test_another_process_on_the_board_is_a_doubt(before: int, after: int, said: str) -> None:
    """The larger number of the two moments; it slows too, and takes energy."""
    (caution,) = board_cautions(state(others=Reading(before)), state(others=Reading(after)), 10)
    assert caution.code == "shared"
    assert said in caution.message
    assert caution.spoils == {("time", "missed"), ("ratio", "missed"), ("energy", "met"), ("energy", "missed")}
    assert sorted(caution.legs or ()) == ["gpu", "reference"]


def test_throttled_and_shared_are_two_doubts() -> None:
    """Each with its remedy."""
    found = board_cautions(state(thermal=0.0), state(thermal=9.0, others=Reading(1)), 10)
    assert [each.code for each in found] == ["throttled", "shared"]


# -- the host -------------------------------------------------------------------------------------------------------

STAT = """\
cpu  9 9 9 9 9 9 9 9 9 9
cpu0 100 20 30 5000 40 5 6 7 90 0
cpu1 200 0 0 5000 0 0 0 0 0 0
cpu10 9000 0 0 0 0 0 0 0 0 0
intr 12345
"""


@pytest.fixture
def counters(tmp_path: Path) -> dict[str, Path]:
    """Files in which Linux counts; nothing is counted yet."""
    return {"stat": tmp_path / "stat", "quota": tmp_path / "cpu.stat"}


def use(busy_s: float | None = 0.0, own_s: float = 0.0, held_back_s: float | None = None, cpus: int = 4) -> HostUse:
    return HostUse(busy_s, own_s, held_back_s, cpus)


def test_the_quota_of_a_container_is_counted_by_its_control_group(counters: dict[str, Path]) -> None:
    """In microseconds; where nothing counts, that is not zero."""
    assert host_use([0], **counters).held_back_s is None
    counters["quota"].write_text("usage_usec 5000000\nnr_throttled 3\nthrottled_usec 2500000\n")
    assert host_use([0], **counters).held_back_s == 2.5
    counters["quota"].write_text("usage_usec 5000000\n")
    assert host_use([0], **counters).held_back_s is None


def test_time_of_the_cpus_that_may_be_used_is_counted(counters: dict[str, Path]) -> None:
    """All but idling and waiting; guests are in the first columns already; cpu10 is not cpu1."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert host_use([0, 1], **counters).busy_s is None
    counters["stat"].write_text(STAT)
    assert host_use([0], **counters).busy_s == pytest.approx(168 * tick_s)
    both = host_use([0, 1], **counters)
    assert both.busy_s == pytest.approx(368 * tick_s)
    assert both.cpus == 2
    assert host_use([7], **counters).busy_s is None


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
