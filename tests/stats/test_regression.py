"""The moderated t rule: its constants, how often it errs, what it detects, and what must not matter to it."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_gpuprof.stats.regression import ALPHA, LEAST, PRIOR_RUNS, Change, compare

repeatable = settings(derandomize=True, deadline=None)

RUNS = (1, 2, 3, 5, 10, 20)


def changed(before: Any, now: float, **options: Any) -> Change:
    return compare(list(before), now, **{"more_is_worse": True, "floor": 0.02, **options})


def spread_runs(count: int, spread: float) -> list[float]:
    """Return runs around 1 whose logarithms have exactly this standard deviation; one run has none."""
    offsets = [2 * index - (count - 1) for index in range(count)]
    scale = spread / statistics.stdev(offsets) if count > 1 else 0.0
    return [math.exp(scale * offset) for offset in offsets]


# -- the numbers of the rule ------------------------------------------------------------------------------------------


def test_the_constants_are_the_ones_that_were_simulated() -> None:
    """One in a thousand, 5 %, four runs of prior knowledge."""
    rule = (ALPHA, LEAST, PRIOR_RUNS)
    assert rule == (0.001, math.log(1.05), 4)


@pytest.mark.parametrize(
    ("runs", "detectable"), [(1, 0.203), (2, 0.144), (3, 0.120), (5, 0.0986), (10, 0.0808), (20, 0.0714)]
)
@pytest.mark.parametrize("floor", [0.02, 0.03, 0.05])
def test_what_is_detected_when_runs_differ_as_usual(runs: int, detectable: float, floor: float) -> None:
    """A single run finds 20 %, five 9.9 %, twenty 7.1 % (logarithms, at 2 %); proportionally more at another floor."""
    change = changed(spread_runs(runs, floor), 1.0, floor=floor)
    assert change.detectable == pytest.approx(detectable * floor / 0.02, rel=0.003)
    assert change.runs == runs


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.02, 0.04])
def test_what_is_detectable_is_the_border_of_worse(runs: int, spread: float) -> None:
    """A hair beyond it is worse, a hair within is not."""
    before = spread_runs(runs, spread)
    border = changed(before, 1.0).detectable
    assert changed(before, math.exp(border * 1.001)).outcome == "worse"
    assert changed(before, math.exp(border * 0.999)).outcome == "same"


def test_runs_that_agree_detect_more_but_nothing_below_the_least() -> None:
    """Six runs without any spread would find 4 %; nobody wants to hear about that."""
    agreeing, differing = [1.0] * 20, spread_runs(20, 0.02)
    assert changed(agreeing, 1.0).detectable == LEAST < changed(differing, 1.0).detectable
    assert changed(agreeing, 1.04).outcome == "same"
    assert changed(agreeing, 1.04, least=0.01).outcome == "worse"


def test_two_runs_that_happen_to_agree_do_not_make_a_third_one_worse() -> None:
    """The floor is known to be usual: without it, 8 % would be a hundred standard deviations."""
    before = [1.0, 1.0001]
    assert changed(before, 1.08).outcome == "same"
    assert changed(before, 1.08, floor=1e-4).outcome == "worse"


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize(("spread", "most"), [(0.005, 0.0009), (0.02, 0.0009), (0.03, 0.0015), (0.05, 0.007)])
def test_false_alarms_are_as_rare_as_they_were_simulated(runs: int, spread: float, most: float) -> None:
    """Runs without a change, whose noise is up to two and a half times what the floor takes for usual."""
    chance, series = random.Random(runs * 1000 + int(spread * 1000)), 20_000
    alarms = 0
    for _ in range(series):
        *before, now = (math.exp(chance.gauss(0, spread)) for _ in range(runs + 1))
        if math.log(now) - statistics.fmean(map(math.log, before)) > LEAST:  # nothing else can be one
            alarms += changed(before, now).outcome == "worse"
    assert alarms <= most * series + 3 * math.sqrt(most * series)


@pytest.mark.parametrize(
    ("runs", "slower", "least"), [(1, 1.30, 0.9), (5, 1.20, 0.99), (10, 1.15, 0.98), (20, 1.10, 0.8), (20, 1.15, 0.99)]
)
def test_slowdowns_are_found_as_often_as_they_should(runs: int, slower: float, least: float) -> None:
    """With noise of 2 % between runs; of 10 % after twenty runs, nearly nine in ten are seen."""
    chance, series = random.Random(5), 2000
    found = sum(
        changed(
            (math.exp(chance.gauss(0, 0.02)) for _ in range(runs)), slower * math.exp(chance.gauss(0, 0.02))
        ).outcome
        == "worse"
        for _ in range(series)
    )
    assert found / series >= least


def test_no_slowdown_below_the_least_is_ever_reported() -> None:
    """However many runs, and however sure."""
    assert changed([1.0] * 20, 1.0499).outcome == "same"
    assert changed([1.0] * 20, 1.0501).outcome == "worse"


# -- what it says -----------------------------------------------------------------------------------------------------


def test_a_change_tells_its_size_and_how_sure_it_is() -> None:
    """The effect is a logarithm against the geometric mean; a 95 % interval; the chance of one that large."""
    change = changed([0.99, 1.0, 1.01, 1.0, 1.0], 1.2)
    assert change.outcome == "worse"
    assert change.effect == pytest.approx(math.log(1.2), abs=1e-4)
    assert change.level == pytest.approx(1.0, abs=1e-4)
    low, high = change.interval
    assert low < change.effect < high
    assert high - change.effect == pytest.approx(change.effect - low)
    assert change.p < 0.0001


def test_an_interval_holds_what_is_true_nineteen_times_in_twenty() -> None:
    """It is that of one further run."""
    chance, series = random.Random(3), 4000
    held = 0
    for _ in range(series):
        change = changed([math.exp(chance.gauss(0, 0.02)) for _ in range(5)], math.exp(chance.gauss(0.1, 0.02)))
        held += change.interval[0] <= 0.1 <= change.interval[1]
    assert held / series == pytest.approx(0.95, abs=0.015)


# -- what must not matter ---------------------------------------------------------------------------------------------

figures = st.floats(0.5, 2.0)
series_of_runs = st.lists(figures, min_size=1, max_size=20)
floors = st.sampled_from([0.0, 0.02, 0.03, 0.05])


@repeatable
@given(series_of_runs, figures, floors)
def test_better_is_the_mirror_image_of_worse(before: list[float], now: float, floor: float) -> None:
    """Of a figure that should grow, and of the inverse figures."""
    mirrored = {"worse": "better", "better": "worse", "same": "same"}
    change = changed(before, now, floor=floor)
    opposite = changed(before, now, floor=floor, more_is_worse=False)
    assert opposite.outcome == mirrored[change.outcome]
    assert opposite.effect == pytest.approx(-change.effect)
    assert (opposite.p, opposite.detectable) == pytest.approx((change.p, change.detectable))
    assume(abs(abs(change.effect) - change.detectable) > 1e-9)
    inverse = changed([1 / value for value in before], 1 / now, floor=floor, more_is_worse=False)
    assert inverse.outcome == change.outcome
    assert inverse.effect == pytest.approx(change.effect, abs=1e-12)


@repeatable
@given(series_of_runs, figures, floors, st.floats(1e-9, 1e9))
def test_the_unit_does_not_matter(before: list[float], now: float, floor: float, unit: float) -> None:
    """Seconds or nanoseconds."""
    change = changed(before, now, floor=floor)
    assume(abs(abs(change.effect) - change.detectable) > 1e-9)
    again = changed([value * unit for value in before], now * unit, floor=floor)
    assert again.outcome == change.outcome
    assert again.effect == pytest.approx(change.effect, abs=1e-9)
    assert again.level == pytest.approx(change.level * unit)


@repeatable
@given(series_of_runs, st.randoms(use_true_random=False), figures, floors)
def test_the_order_of_earlier_runs_does_not_matter(before: list[float], chance: Any, now: float, floor: float) -> None:
    """They are equals."""
    change = changed(before, now, floor=floor)
    assume(abs(abs(change.effect) - change.detectable) > 1e-9)
    shuffled = before[:]
    chance.shuffle(shuffled)
    assert changed(shuffled, now, floor=floor).outcome == change.outcome


@repeatable
@given(series_of_runs, figures, figures, floors)
def test_what_is_slower_than_something_worse_is_worse(
    before: list[float], one: float, other: float, floor: float
) -> None:
    """And what is faster than something better is better: the outcome rises with the figure."""
    order = ["better", "same", "worse"]
    outcomes = [order.index(changed(before, now, floor=floor).outcome) for now in sorted((one, other))]
    assert outcomes == sorted(outcomes)


@repeatable
@given(st.lists(figures, min_size=1, max_size=10), figures, st.integers(1, 10), floors)
def test_earlier_runs_that_were_as_slow_never_make_a_run_worse(
    before: list[float], now: float, count: int, floor: float
) -> None:
    """Having seen it before is no reason to be surprised."""
    if changed(before, now, floor=floor).outcome == "same":
        assert changed([*before, *[now] * count], now, floor=floor).outcome == "same"


# -- figures that repeat exactly, and zero ----------------------------------------------------------------------------


def test_exact_figures_need_no_second_run() -> None:
    """Any difference beyond the least is one."""
    assert changed([1000.0], 1051.0, floor=0).outcome == "worse"
    assert changed([1000.0], 1049.0, floor=0).outcome == "same"
    assert changed([1000.0], 940.0, floor=0).outcome == "better"
    one_byte = changed([10_000.0], 10_001.0, floor=0, least=0)
    assert (one_byte.outcome, one_byte.p) == ("worse", 0.0)
    assert changed([10_000.0] * 3, 10_000.0, floor=0, least=0).outcome == "same"


def test_what_was_seen_before_of_an_exact_figure_is_no_change() -> None:
    """One that differed between runs was not that exact: only beyond the largest it is worse."""
    before = [1000.0, 2000.0, 1500.0]
    assert {changed(before, now, floor=0).outcome for now in (1000.0, 1200.0, 2000.0, 2090.0)} == {"same"}
    worse = changed(before, 2200.0, floor=0)
    assert (worse.outcome, worse.level, worse.effect) == ("worse", 2000.0, pytest.approx(math.log(1.1)))
    assert changed(before, 900.0, floor=0).level == 1000.0


def test_the_rounding_of_a_stored_figure_is_no_change() -> None:
    """Six digits are kept."""
    assert changed([0.123457], 0.1234567, floor=0, least=0).outcome == "same"


def test_from_nothing_to_something_is_infinitely_worse() -> None:
    """And the other way round better; nothing is as good as nothing."""
    leak = changed([0.0, 0.0], 512.0, floor=0)
    assert (leak.outcome, leak.effect, leak.level) == ("worse", math.inf, 0.0)
    mended = changed([512.0], 0.0, floor=0)
    assert (mended.outcome, mended.effect, mended.level) == ("better", -math.inf, 512.0)
    assert changed([0.0], 0.0, floor=0).outcome == "same"
    assert changed([0.0, 512.0], 0.0, floor=0).outcome == "same"


def test_a_coarse_figure_may_be_zero() -> None:
    """Resident memory grows by pages: less than one is taken for one, and runs differ by as much."""
    options: dict[str, Any] = {"floor": 0.05, "resolution": 2.0**21}
    assert changed([0.0, 4096.0], 2.0**21, **options).outcome == "same"
    assert changed([0.0] * 5, 2.0**24, **options).outcome == "same"
    assert changed([2.0**30] * 5, 1.5 * 2.0**30, **options).outcome == "worse"
    assert changed([0.0], 0.0, **options).effect == 0.0
    coarse, fine = (changed([2.0**23] * 5, 2.0**23, floor=0.05, resolution=step) for step in (2.0**21, 1.0))
    assert coarse.detectable > 3 * fine.detectable


@pytest.mark.parametrize(
    ("before", "now", "options", "message"),
    [
        ([], 1.0, {}, "there is no earlier run"),
        ([1.0], math.nan, {}, "negative or not finite"),
        ([math.inf], 1.0, {}, "negative or not finite"),
        ([1.0], -1.0, {}, "negative or not finite"),
        ([0.0], 1.0, {}, "a figure is 0"),
        ([1.0], 0.0, {}, "a figure is 0"),
        ([1.0], 1.0, {"floor": -0.1}, "floor is -0.1"),
        ([1.0], 1.0, {"least": math.inf}, "least is inf"),
        ([1.0], 1.0, {"resolution": math.nan}, "resolution is nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    before: list[float], now: float, options: dict[str, float], message: str
) -> None:
    """With what to give instead."""
    with pytest.raises(ValueError, match=message):
        changed(before, now, **options)
