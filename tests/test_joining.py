"""Two measurements of one job as one profile: what is new, what is kept, and which doubts go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Measurement
from pytest_gpuprof.joining import joined, timed_legs
from pytest_gpuprof.meters.throttling import TAKEN_AGAIN
from tests.budgets.profiles import leg_of, profile_of

SLOW = Caution("compiled", "something was compiled", "call it once before")
FULL = Caution("memory full", "the device was full", "free memory")


def with_doubts(profile: Profile, gpu: tuple[Caution, ...], *others: Caution) -> Profile:
    """Return the profile with doubts about its GPU leg, and others."""
    return replace(profile, gpu=replace(profile.gpu, cautions=gpu), cautions=(*gpu, *others))


def test_new_rounds_take_the_place_of_old_ones() -> None:
    """Their doubts go with them, and others stay; calls add up."""
    old = with_doubts(profile_of([3.0, 3.1], [0.3, 0.4]), (SLOW,), FULL)
    both = joined(old, profile_of([2.0, 2.1, 2.2], [0.2, 0.2, 0.2]))
    assert [round_.samples["wall_time"] for round_ in both.gpu.rounds] == [(0.2,)] * 3
    assert len(both.cpu.rounds) == 3
    assert (both.gpu.cautions, both.cautions) == ((), (FULL,))
    assert both.gpu.calls == old.gpu.calls + 30


def test_that_rounds_were_taken_again_is_told_only_of_those_that_are_there() -> None:
    """It is no doubt about a leg, and goes all the same."""
    again = Caution(TAKEN_AGAIN, "1 round was dropped", "let it cool")
    old = replace(profile_of([3.0], [0.3]), cautions=(again, FULL))
    assert joined(old, profile_of([2.0], [0.2])).cautions == (FULL,)
    assert joined(old, profile_of(gpu=leg_of("gpu", readings={"memory": 1.0}))).cautions == (again, FULL)


def test_without_new_rounds_the_old_ones_stay_with_their_doubts() -> None:
    """Here only memory was measured later."""
    old = with_doubts(profile_of([3.0, 3.1], [0.3, 0.4]), (SLOW,))
    new = with_doubts(profile_of(gpu=leg_of("gpu", readings={"memory": 1024.0})), (FULL,))
    both = joined(old, new)
    assert both.gpu.rounds == old.gpu.rounds
    assert both.cpu == old.cpu
    assert both.gpu.readings["memory"].value == 1024.0
    assert both.gpu.cautions == both.cautions == (SLOW, FULL)


def test_what_there_was_no_time_for_changes_nothing() -> None:
    """But why there is no more: what identifies the machine stays with the figures."""
    old = with_doubts(profile_of([3.0, 3.1], [0.3, 0.4]), (SLOW,))
    new = replace(profile_of(out_of_time=True), environment=Environment(), stop_reason="lunch is ready")
    assert joined(old, new) == replace(old, out_of_time=True, stop_reason="lunch is ready")


def test_only_the_first_measurement_has_a_first_call() -> None:
    """Whatever the later one calls so; of everything else the later figure holds."""
    old, new = (
        profile_of(gpu=leg_of("gpu", [1.0], readings={"first_call": seconds, "power": watts}))
        for seconds, watts in ((9.0, 300.0), (0.1, 310.0))
    )
    readings = joined(old, new).gpu.readings
    assert (readings["first_call"].value, readings["power"].value) == (9.0, 310.0)


@pytest.mark.parametrize("output", [None, "later"])
def test_what_was_judged_and_computed_before_is_kept(output: str | None) -> None:
    """A later output counts, if there is one."""
    old = replace(profile_of([1.0], [0.1]), budgets=({"min_speedup": 5},), output="earlier")
    both = joined(old, replace(profile_of([1.0], [0.1]), output=output))
    assert both.budgets == old.budgets
    assert both.output == (output or "earlier")


def test_legs_with_rounds_are_measured_again_together() -> None:
    """And those without are not."""
    assert timed_legs(profile_of([1.0], [0.1])) == {"cpu", "gpu"}
    assert timed_legs(profile_of(gpu=leg_of("gpu", readings={"memory": 1.0}))) == frozenset()
    assert timed_legs(replace(profile_of(), cpu=Measurement.absent("cpu", "not asked for"))) == frozenset()
