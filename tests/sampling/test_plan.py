"""A plan is checked at birth."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.sampling.plan import ENERGY_PRESETS, Plan

CHOICES = {"cache": "takes 'hot' or 'cold'", "transfers": "takes True or False"}
NAMES = [each.name for each in fields(Plan) if each.name not in CHOICES]
MAY_BE_ZERO = {"warmup_s", "cpu_warmup_s", "settle_s"}
WHOLE = {
    "min_rounds",
    "max_rounds",
    "cpu_samples",
    "gpu_samples",
    "device_samples",
    "cpu_threads",
    "trials",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "3"])
def test_a_number_that_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    """Every field, and the value is shown."""
    with pytest.raises(UsageError, match=f"{name} is {value!r}; it takes a "):
        Plan(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_refused_where_it_makes_no_sense(name: str) -> None:
    """No warm-up and no settling may be asked for, no rounds may not."""
    values: dict[str, Any] = {name: 0}
    if name in MAY_BE_ZERO:
        assert getattr(Plan(**values), name) == 0
        return
    with pytest.raises(UsageError, match=f"{name} is 0; it takes a number above 0"):
        Plan(**values)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_counted_is_a_whole_number(name: str) -> None:
    """Two and a half rounds cannot be taken."""
    values: dict[str, Any] = {name: 2.5} if name != "max_rounds" else {name: 24.5}
    if name not in WHOLE:
        assert getattr(Plan(**values), name) == 2.5
        return
    with pytest.raises(UsageError, match=f"{name} is .*5; it takes a whole number"):
        Plan(**values)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["warm", 3, None])
def test_what_is_no_number_takes_one_of_a_few_values(name: str, value: Any) -> None:
    """Which is told."""
    with pytest.raises(UsageError, match=f"{name} is {value!r}; it {CHOICES[name]}"):
        Plan(**{name: value})


def test_the_most_rounds_are_not_fewer_than_the_least() -> None:
    """Both are named."""
    with pytest.raises(UsageError, match=r"max_rounds \(2\) is below min_rounds \(3\)"):
        Plan(max_rounds=2)


def test_rounds_means_exactly_that_many() -> None:
    """One round too, on which no verdict can rest."""
    plan = Plan().with_(rounds=1, max_time_s=None)
    assert (plan.min_rounds, plan.max_rounds, plan.max_time_s) == (1, 1, 30.0)


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, "3"])
def test_an_impossible_number_of_rounds_is_refused(rounds: Any) -> None:
    """By name."""
    with pytest.raises(UsageError, match=f"rounds is {rounds!r}; it takes a whole number above 0"):
        Plan().with_(rounds=rounds)


def test_more_least_rounds_raise_the_most() -> None:
    """Unless both are given."""
    assert Plan().with_(min_rounds=48).max_rounds == 48
    assert Plan().with_(min_rounds=6).max_rounds == 24
    with pytest.raises(UsageError, match="max_rounds"):
        Plan().with_(min_rounds=6, max_rounds=3)


def test_nothing_given_changes_nothing() -> None:
    """None is not given."""
    assert Plan(sample_s=0.5).with_(rounds=None, sample_s=None) == Plan(sample_s=0.5)


def test_the_longest_a_profile_can_take_adds_up_its_limits() -> None:
    """Warm-up of two legs and rounds, if timed; per leg whose energy is measured, probe, settling twice and windows."""
    plan = Plan(warmup_cap_s=2, max_time_s=30, settle_s=2, trials=3, window_s=2, idle_s=3)
    energy = 2.5 + 2 * 2 + 1 + 3 * 2.2
    assert plan.longest_s(timed=True, energy_legs=0) == 34
    assert plan.longest_s(timed=False, energy_legs=2) == pytest.approx(2 * energy)
    assert plan.longest_s(timed=True, energy_legs=1) == pytest.approx(34 + energy)
    assert plan.longest_s(timed=False, energy_legs=1, net=True) == pytest.approx(energy + 1 + 3)


@pytest.mark.parametrize(("preset", "about_s"), [("quick", 9.6), ("standard", 21.6), ("strict", 57.0)])
def test_each_preset_says_how_long_it_takes(preset: str, about_s: float) -> None:
    """A second of quiet after the probe, settling, and the windows with their load before; net adds an idle window."""
    plan = Plan(**ENERGY_PRESETS[preset])
    assert plan.energy_s() == pytest.approx(about_s)
    assert plan.energy_s(net=True) == pytest.approx(about_s + 1 + 3)


def test_the_standard_windows_are_the_default() -> None:
    """Who says nothing gets what the documentation calls standard."""
    assert Plan(**ENERGY_PRESETS["standard"]) == Plan()


@pytest.mark.parametrize(("period_s", "window_s"), [(0.02, 2.0), (0.1, 2.0), (0.2, 4.0), (1.5, 25.0)])
def test_a_slower_counter_gets_longer_windows(period_s: float, window_s: float) -> None:
    """As many times as it is slower than 0.1 s, up to the longest window; a faster one gets no shorter ones."""
    assert Plan(window_s=2.0, max_window_s=25.0).window_for(period_s) == pytest.approx(window_s)


def test_longer_windows_are_twice_as_long() -> None:
    """As far as that is allowed, and nothing else changes."""
    assert Plan(window_s=2.0).with_longer_windows() == Plan(window_s=4.0)
    assert Plan(window_s=2.0, max_window_s=3.0).with_longer_windows().window_s == 3.0
