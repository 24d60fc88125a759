"""Judging: every keyword and every outcome, which doubts spoil which verdicts, and when rounds are enough."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.budgets.budget import KINDS, Budget, Kind
from pytest_gpuprof.budgets.verdict import confirm, judge
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Measurement, Outcome, Reading, Round, spoils
from pytest_gpuprof.core.scaling import Crossover, Scaling
from pytest_gpuprof.stats.decision import LOOKS
from tests.budgets.profiles import CARD, leg_of, profile_of

repeatable = settings(derandomize=True, deadline=None)

FIGURES: Mapping[str, float] = {
    "min_speedup": 20.0,
    "min_device_speedup": 40.0,
    "min_speedup_over_reference": 3.0,
    "min_end_to_end_speedup": 10.0,
    "max_gpu_time": 0.001,
    "max_device_time": 0.0005,
    "max_cpu_time": 0.02,
    "max_gpu_memory": 1000.0,
    "max_gpu_workspace": 400.0,
    "max_cpu_memory": 5000.0,
    "max_energy": 2.0,
    "max_net_energy": 1.5,
    "max_power": 300.0,
    "min_energy_ratio": 2.0,
    "min_throughput": 100_000.0,
    "min_items_per_joule": 50.0,
    "min_compute_utilization": 0.4,
    "min_bandwidth_utilization": 0.2,
    "max_leak": 512.0,
    "max_crossover": 100.0,
}
"""What each keyword limits, on the profile below."""


def measured(**parts: Any) -> Profile:
    """Everything that can be measured, in three rounds without noise."""
    return profile_of(
        leg_of("cpu", [0.02] * 3, readings={"memory": 5000, "package_energy": Reading(6.0, interval=(5.9, 6.1))}),
        leg_of(
            "gpu",
            [0.001] * 3,
            [0.0005] * 3,
            transfers=[0.0005] * 3,
            readings={
                "memory": 1000,
                "workspace": 400,
                "leak": 512,
                "energy": Reading(2.0, interval=(1.9, 2.1)),
                "net_energy": Reading(1.5, interval=(1.4, 1.6)),
                "power": Reading(300.0, interval=(290, 310)),
                "package_energy": Reading(1.0, interval=(0.98, 1.02)),
            },
        ),
        [0.003] * 3,
        items=100,
        flops=1e9,
        bytes=1e8,
        peaks={"flops": Reading(5e12, quality="derived"), "bytes": Reading(1e12, quality="derived")},
        scaling=Scaling("n", (), Crossover(100.0, 95.0, 105.0, 10.0, 1000.0), {}),
        **parts,
    )


def test_every_keyword_is_judged_here() -> None:
    """A new keyword gets a figure above."""
    assert {*FIGURES, "max_regression"} == KINDS.keys()


@pytest.mark.parametrize("keyword", FIGURES)
@pytest.mark.parametrize(("headroom", "outcome"), [(1.3, "met"), (1 / 1.3, "missed")])
def test_a_figure_well_inside_its_limit_meets_it_and_one_well_outside_misses(
    keyword: str, headroom: float, outcome: Outcome
) -> None:
    """In the direction that the keyword says; the verdict carries the figure, its interval and the limit."""
    figure = FIGURES[keyword]
    limit = figure / headroom if KINDS[keyword].at_least else figure * headroom
    verdict = judge(measured(), Budget(keyword, limit))
    assert (verdict.outcome, verdict.budget, verdict.limit, verdict.profile) == (outcome, keyword, limit, "work")
    assert verdict.observed == pytest.approx(figure)
    assert verdict.interval is not None
    assert verdict.interval[0] <= figure * 1.0000001
    assert verdict.interval[1] >= figure * 0.9999999
    assert KINDS[keyword].title in verdict.sentence
    assert {"met": "meets", "missed": "misses"}[outcome] in verdict.sentence
    assert f"{keyword} " in verdict.sentence


@pytest.mark.parametrize("limit", ["0 B", "1 KiB"])
def test_no_leak_meets_any_limit(limit: str) -> None:
    """Nothing gained is a figure, and a limit of nothing makes sense."""
    verdict = judge(profile_of(None, leg_of("gpu", readings={"leak": 0})), Budget("max_leak", limit))
    assert (verdict.outcome, verdict.observed) == ("met", 0)


def test_a_growth_too_small_to_tell_is_no_miss_of_nothing() -> None:
    """Its interval begins at zero: with a limit of zero the verdict is inconclusive, with a larger one it is met."""
    profile = profile_of(None, leg_of("gpu", readings={"leak": Reading(600.0, interval=(0.0, 700.0))}))
    assert judge(profile, Budget("max_leak", 0)).outcome == "inconclusive"
    assert judge(profile, Budget("max_leak", "1 KiB")).outcome == "met"


@pytest.mark.parametrize("keyword", [name for name in FIGURES if KINDS[name].family != "memory"])
def test_a_figure_at_its_limit_is_inconclusive(keyword: str) -> None:
    """Noise could have made the difference; bytes have none."""
    verdict = judge(measured(), Budget(keyword, FIGURES[keyword]))
    assert verdict.outcome == "inconclusive"
    assert "is too close to call against" in verdict.sentence


@pytest.mark.parametrize("keyword", sorted(FIGURES.keys() - {"max_crossover"}))  # whose reason is that of its sweep
def test_a_figure_that_is_missing_is_unavailable_with_its_reason(keyword: str) -> None:
    """And the cause decides later whether that skips the test or fails it."""
    lost = Reading.unavailable("the driver is gone", cause="no reading")
    nothing = [Measurement(leg, CARD, missing=lost) for leg in ("cpu", "gpu", "reference")]
    verdict = judge(profile_of(*nothing, items=100, flops=5, bytes=5), Budget(keyword, FIGURES[keyword]))
    assert (verdict.outcome, verdict.cause, verdict.observed) == ("unavailable", "no reading", None)
    assert verdict.sentence.endswith("is unavailable, because the driver is gone")


def test_a_missing_device_is_told_from_a_missing_reading() -> None:
    """No GPU at all is cause for skipping, whatever the limits per device are."""
    gone = Measurement.absent("gpu", "torch finds no GPU here", "no device")
    verdict = judge(profile_of([0.1] * 3, gone), Budget("min_speedup", {"T4": 5}))
    assert (verdict.outcome, verdict.cause) == ("unavailable", "no device")


def test_undeclared_items_are_a_missing_reading() -> None:
    """The remedy is in the reason."""
    verdict = judge(dataclasses.replace(measured(), items=None), Budget("min_throughput", 5))
    assert verdict.outcome == "unavailable"
    assert "does not declare items=" in verdict.sentence


# -- what does not apply ----------------------------------------------------------------------------------------------


def test_a_device_that_no_key_matches_has_no_limit() -> None:
    """The verdict says so, so that it can be counted."""
    verdict = judge(measured(), Budget("max_gpu_time", {"T4": "1 ms", "A100": "1 ms"}))
    assert (verdict.outcome, verdict.limit) == ("not enforced", None)
    assert verdict.sentence == "max_gpu_time is not enforced: none of its keys ('T4', 'A100') matches 'NVIDIA H200'"


def test_the_limit_is_chosen_by_the_accelerator_or_for_the_cpu_leg_by_the_cpu() -> None:
    """A ratio is about the accelerator."""
    assert judge(measured(), Budget("min_speedup", {"H200": 5, "EPYC": 100})).limit == 5
    assert judge(measured(), Budget("max_cpu_time", {"H200": 5, "EPYC": 100})).limit == 100


def test_a_stand_in_that_nobody_named_is_not_judged_but_the_cpu_is() -> None:
    """What stands in for a GPU says nothing about one."""
    profile = measured(not_judged="opencl:0 is a stand-in")
    assert judge(profile, Budget("min_speedup", 5)).outcome == "not enforced"
    assert "opencl:0 is a stand-in" in judge(profile, Budget("max_gpu_time", 5)).sentence
    assert judge(profile, Budget("max_cpu_time", 5)).outcome == "met"


def test_a_budget_that_is_not_enforced_is_judged_all_the_same() -> None:
    """Only its consequence is missing."""
    verdict = judge(measured(), Budget("max_gpu_time", "1 ns", enforce=False))
    assert (verdict.outcome, verdict.enforce) == ("missed", False)


def test_the_reason_of_a_budget_is_told_only_when_it_is_missed() -> None:
    """Nobody needs it while all is well."""
    why = "the camera gives 30 pictures a second"
    assert judge(measured(), Budget("max_gpu_time", "1 us", reason=why)).sentence.endswith(f": {why}")
    assert why not in judge(measured(), Budget("max_gpu_time", "1 s", reason=why)).sentence


# -- out of time ------------------------------------------------------------------------------------------------------


def test_out_of_time_every_budget_is_inconclusive() -> None:
    """Nothing was measured, and that is no fault of the machine's: a gate does not pass, and does not skip."""
    nothing = profile_of(out_of_time=True, stop_reason="lunch is ready")
    for keyword in FIGURES:
        verdict = judge(dataclasses.replace(nothing, items=5, flops=5, bytes=5), Budget(keyword, FIGURES[keyword]))
        assert verdict.outcome == "inconclusive"
        assert verdict.sentence == f"{keyword} is inconclusive: out of time, as lunch is ready"


def test_out_of_time_a_missing_device_is_still_missing() -> None:
    """More time would not have helped."""
    gone = Measurement.absent("gpu", "no GPU", "no device")
    assert judge(profile_of(None, gone, out_of_time=True), Budget("max_gpu_time", 5)).outcome == "unavailable"


# -- by rounds, by reading, by percentile -----------------------------------------------------------------------------


def test_one_round_decides_nothing() -> None:
    """There is no spread to judge by."""
    verdict = judge(profile_of(None, [0.001]), Budget("max_gpu_time", 1.0))
    assert verdict.outcome == "inconclusive"
    assert "unbounded" in verdict.sentence
    assert "too few rounds" in verdict.sentence


def test_the_mean_of_a_rounds_samples_can_be_judged_instead_of_the_median() -> None:
    """One slow call in three moves the mean."""
    rounds = tuple(Round(index, 0, 1, {"wall_time": (1.0, 1.0, 4.0)}) for index in range(3))
    profile = profile_of(None, Measurement("gpu", CARD, rounds))
    assert judge(profile, Budget("max_gpu_time", 1.5)).outcome == "met"
    verdict = judge(profile, Budget("max_gpu_time", 1.5, stat="mean"))
    assert verdict.outcome == "missed"
    assert verdict.observed == pytest.approx(2.0)
    assert "GPU time mean 2 s" in verdict.sentence


def test_a_verdict_shows_the_rounds_it_was_decided_on() -> None:
    """Rounds after the decision do not change it: looking longer would be another chance for luck."""
    decided = profile_of(None, [1.0, 1.0, 1.0] + [9.0] * 3)
    verdict = judge(decided, Budget("max_gpu_time", 2.0))
    assert verdict.outcome == "met"
    assert verdict.observed == pytest.approx(1.0)
    assert "[3 rounds]" in verdict.sentence


def test_more_confidence_needs_more_room() -> None:
    """What 95 % call met is too close for 99.9 %."""
    profile = profile_of(None, [1.0, 1.01, 0.99])
    assert judge(profile, Budget("max_gpu_time", 1.15)).outcome == "met"
    assert judge(profile, Budget("max_gpu_time", 1.15, confidence=0.999)).outcome == "inconclusive"


@repeatable
@given(st.integers(0, 10**6))
def test_a_looser_limit_never_turns_met_into_missed(seed: int) -> None:
    """Verdicts are ordered like their limits."""
    rng = random.Random(seed)
    profile = profile_of(None, [math.exp(rng.gauss(0, 0.05)) for _ in range(rng.choice(LOOKS))])
    order = {"missed": 0, "inconclusive": 1, "met": 2}
    outcomes = [
        order[judge(profile, Budget("max_gpu_time", limit)).outcome] for limit in (0.5, 0.9, 1.0, 1.1, 1.5, 3.0)
    ]
    assert outcomes[0] == 0
    assert outcomes[-1] == 2


def test_exact_bytes_have_no_tolerance() -> None:
    """One byte too many is too many, and the limit itself is met."""
    assert judge(measured(), Budget("max_gpu_memory", 1000)).outcome == "met"
    verdict = judge(measured(), Budget("max_gpu_memory", 999))
    assert verdict.outcome == "missed"
    assert verdict.sentence == "GPU memory 1000 B misses max_gpu_memory 999 B [exact]"


def test_a_workspace_of_nothing_meets_a_limit_of_nothing() -> None:
    """Zero is a figure and a limit."""
    free = profile_of(None, leg_of("gpu", readings={"workspace": 0.0}))
    assert judge(free, Budget("max_gpu_workspace", 0)).outcome == "met"
    assert judge(measured(), Budget("max_gpu_workspace", 0)).outcome == "missed"


def test_bytes_that_did_not_repeat_are_judged_by_their_range() -> None:
    """Between the two passes nobody can tell."""
    gpu = leg_of("gpu", readings={"memory": Reading(1100, interval=(1000, 1100))})
    outcomes = [judge(profile_of(None, gpu), Budget("max_gpu_memory", limit)).outcome for limit in (999, 1050, 1100)]
    assert outcomes == ["missed", "inconclusive", "met"]


@pytest.mark.parametrize(
    ("limit", "outcome"), [(1.89, "missed"), (1.95, "inconclusive"), (2.05, "inconclusive"), (2.1, "met")]
)
def test_energy_is_judged_by_its_interval(limit: float, outcome: str) -> None:
    """Here 1.9 to 2.1 J: a limit inside it is too close to call."""
    verdict = judge(measured(), Budget("max_energy", limit))
    assert (verdict.outcome, verdict.interval) == (outcome, (1.9, 2.1))
    assert "[by its interval]" in verdict.sentence


def latencies(count: int, slow: int) -> Profile:
    """Single calls of 1 ms, some of 5 ms; the rounds are all of 1 ms."""
    taken = [0.005] * slow + [0.001] * (count - slow)
    return profile_of(None, leg_of("gpu", [0.001] * 3, latency=taken))


def test_a_percentile_is_judged_on_single_calls() -> None:
    """The rounds average over blocks of calls and cannot see a slow one."""
    profile = latencies(1000, 100)
    assert judge(profile, Budget("max_gpu_time", "2 ms")).outcome == "met"
    assert judge(profile, Budget("max_gpu_time", "2 ms", stat="p50")).outcome == "met"
    verdict = judge(profile, Budget("max_gpu_time", "2 ms", stat="p95"))
    assert (verdict.outcome, verdict.observed) == ("missed", 0.005)
    assert verdict.sentence == "GPU time p95 5 ms misses max_gpu_time 2 ms [1000 calls]"


@pytest.mark.parametrize(("stat", "needed"), [("p50", 20), ("p90", 100), ("p95", 200), ("p99", 1000)])
def test_a_percentile_needs_ten_calls_beyond_it(stat: str, needed: int) -> None:
    """10/(1−Q) calls; with fewer the verdict says how many it needs, and how to have them."""
    budget = Budget("max_gpu_time", "2 ms", stat=stat)
    assert judge(latencies(needed, 0), budget).outcome == "met"
    short = judge(latencies(needed - 1, 0), budget)
    assert short.outcome == "inconclusive"
    assert f"{needed - 1} calls, of the {needed} that {stat} needs: raise --gpu-profile-max-time" in short.sentence


def test_a_percentile_near_its_limit_is_inconclusive() -> None:
    """A little over one in twenty is slow: p95 may lie on either side."""
    assert judge(latencies(200, 10), Budget("max_gpu_time", "2 ms", stat="p95")).outcome == "inconclusive"


def test_a_percentile_without_single_calls_is_unavailable() -> None:
    """Rounds do not stand in for them."""
    verdict = judge(profile_of(None, [0.001] * 3), Budget("max_gpu_time", 1, stat="p95"))
    assert (verdict.outcome, verdict.cause) == ("unavailable", "not asked for")


def test_a_metric_of_a_plugin_may_be_zero() -> None:
    """A count of what did not happen has no logarithm, and is judged by its range over the rounds."""
    kind = Kind(
        "max_copies", "copies", "gpu", "1", "time", frozenset({"gpu"}), frozenset({"rounds"}), "copies", zero=True
    )

    def outcome(copies: tuple[float, ...], limit: float) -> str:
        rounds = tuple(Round(index, 0, 1, {"copies": (count,)}) for index, count in enumerate(copies))
        return judge(profile_of(None, Measurement("gpu", CARD, rounds)), Budget("max_copies", limit, kind=kind)).outcome

    assert outcome((0, 0, 0), 0) == "met"
    assert outcome((0, 0, 0), 1) == "met"
    assert outcome((2, 2, 2), 0) == "missed"
    assert outcome((0, 2, 0), 1) == "inconclusive"


# -- doubts -----------------------------------------------------------------------------------------------------------


def doubt(*families: Any, outcomes: tuple[str, ...] = ("met", "missed"), legs: Any = None) -> Caution:
    return Caution("doubt", "something happened", "do something", spoils(*families, outcomes=outcomes), legs)


@pytest.mark.parametrize("keyword", FIGURES)
@pytest.mark.parametrize("spoilt", ["met", "missed"])
@pytest.mark.parametrize("outcome", ["met", "missed"])
def test_a_doubt_spoils_a_verdict_only_in_its_direction_and_family(keyword: str, spoilt: str, outcome: Outcome) -> None:
    """Throttling spoils a missed time, and a met one stands; another family is not touched."""
    kind = KINDS[keyword]
    better = 2.0 if (outcome == "met") != kind.at_least else 0.5
    budget = Budget(keyword, FIGURES[keyword] * better)
    concerned = {
        "utilization": {"utilization", "device time", "time"},
        "device time": {"device time", "time"},
        "device ratio": {"device ratio", "ratio"},
    }.get(kind.family, {kind.family})
    others = {"time", "device time", "ratio", "device ratio", "memory", "energy", "utilization"} - concerned
    assert judge(measured(), budget).outcome == outcome
    assert judge(measured(cautions=(doubt(*others),)), budget).outcome == outcome
    verdict = judge(measured(cautions=(doubt(kind.family, outcomes=(spoilt,)),)), budget)
    assert verdict.outcome == ("inconclusive" if spoilt == outcome else outcome)
    said = "but that is inconclusive: something happened; do something" in verdict.sentence
    assert said is (spoilt == outcome)


@pytest.mark.parametrize(
    ("keyword", "wider", "narrower"),
    [("max_device_time", "time", "device time"), ("min_device_speedup", "ratio", "device ratio")],
)
def test_a_doubt_about_times_holds_for_device_events_and_not_the_other_way_round(
    keyword: str, wider: Any, narrower: Any
) -> None:
    """A throttled card is slow by any clock; that events see too much says nothing about the host's clock."""
    at_wall = {"max_device_time": "max_gpu_time", "min_device_speedup": "min_speedup"}[keyword]
    for family, word, outcome in ((wider, keyword, "inconclusive"), (narrower, at_wall, "missed")):
        budget = Budget(word, FIGURES[word] * (2 if KINDS[word].at_least else 0.5))
        assert judge(measured(cautions=(doubt(family),)), budget).outcome == outcome


def test_what_measuring_itself_can_have_moved_widens_the_interval() -> None:
    """Noise averages out, and that does not: 3 % from the limit is not decided where 4 % are stated."""
    rounds = tuple(Round(index, 0, 10, {"wall_time": (1.03e-3,)}, {"wall_time": 0.04}) for index in range(24))
    exact = tuple(dataclasses.replace(each, overhead={}) for each in rounds)
    budget = Budget("max_gpu_time", "1 ms")
    for taken, outcome in ((rounds, "inconclusive"), (exact, "missed")):
        measurement = Measurement("gpu", CARD, taken)
        assert judge(profile_of(None, measurement), budget).outcome == outcome
    both = Measurement("cpu", None, rounds), Measurement("gpu", CARD, rounds)
    assert profile_of(*both).overhead_of_ratio("speedup") == pytest.approx(2 * math.log(1.04))
    assert profile_of(*both).overhead_of_ratio("energy_ratio") == 0.0


@pytest.mark.parametrize("keyword", FIGURES)
@pytest.mark.parametrize("leg", ["cpu", "gpu", "reference"])
def test_a_doubt_spoils_only_what_rests_on_its_leg(keyword: str, leg: Any) -> None:
    """A busy host says nothing about the GPU's time; a ratio rests on both legs."""
    kind = KINDS[keyword]
    budget = Budget(keyword, FIGURES[keyword] * (0.5 if kind.at_least else 2))
    verdict = judge(measured(cautions=(doubt(kind.family, legs=frozenset({leg})),)), budget)
    assert verdict.outcome == ("inconclusive" if leg in kind.legs else "met")


def test_a_doubt_that_spoils_nothing_is_only_printed() -> None:
    """Most doubts inform."""
    assert (
        judge(measured(cautions=(Caution("unsteady", "it varied", "wait"),)), Budget("min_speedup", 5)).outcome == "met"
    )


# -- measured again ---------------------------------------------------------------------------------------------------


def test_missed_twice_is_missed_and_shows_both_figures() -> None:
    """The second figure is the evidence that it was no accident."""
    budget = Budget("max_gpu_time", "100 us")
    first, second = (judge(profile_of(None, [time] * 3), budget) for time in (0.001, 0.0011))
    verdict = confirm(first, second, budget)
    assert verdict.outcome == "missed"
    assert verdict.observed == first.observed
    assert verdict.sentence.endswith("; measured again: 1.1 ms")


@pytest.mark.parametrize("again", [[0.00001] * 3, [0.0001] * 3, []])
def test_missed_only_once_is_inconclusive(again: list[float]) -> None:
    """Met, too close to call, or nothing at all the second time: noise made the difference."""
    budget = Budget("max_gpu_time", "100 us")
    first = judge(profile_of(None, [0.001] * 3), budget)
    verdict = confirm(first, judge(profile_of(None, again), budget), budget)
    assert (first.outcome, verdict.outcome) == ("missed", "inconclusive")
    assert "but measured again it was" in verdict.sentence


def test_judging_rests_on_the_profile_alone() -> None:
    """The same profile gives the same verdict, however often."""
    noisy = profile_of([1.0, 1.3, 0.8, 1.1, 0.9, 1.2], [0.1, 0.13, 0.12, 0.09, 0.1, 0.11])
    budget = Budget("min_speedup", 9)
    assert len({judge(noisy, budget) for _ in range(5)}) == 1
