"""The budget on a regression: what it compares, what becomes of it, and what its sentence says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import KINDS, Budget, Kind, merge
from pytest_gpuprof.budgets.kinds import kinds_by_figure
from pytest_gpuprof.budgets.regression import change_of, share_worse
from pytest_gpuprof.budgets.stopping import BudgetRule
from pytest_gpuprof.budgets.verdict import confirm, judge
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Reading, Round, Verdict, spoils
from tests.budgets.profiles import leg_of, profile_of

FILE = "gpuprof-baselines.json"


def regression(limit: Any = "5%", metric: str = "gpu_time", **options: Any) -> Budget:
    return Budget("max_regression", limit, metric=metric, **options)


def measured(gpu: float = 0.00123, before: Sequence[float] = (0.00102,) * 5, **parts: Any) -> Profile:
    parts = {"baselines": {"gpu_time": Baseline(tuple(before), FILE)}, **parts}
    return profile_of([0.02] * 3, [gpu] * 3, **parts)


def with_readings(before: dict[str, Sequence[float]], **readings: Any) -> Profile:
    known = {name: Baseline(tuple(values), FILE) for name, values in before.items()}
    return profile_of([0.02] * 3, leg_of("gpu", [0.001] * 3, readings=readings), baselines=known)


# -- the keyword and its option ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "kind"), kinds_by_figure().items())
def test_it_needs_what_its_metric_needs(metric: str, kind: Kind) -> None:
    """The same legs, passes and declared work as a limit on that figure."""
    meaning = regression(metric=metric).meaning
    assert (meaning.legs, meaning.needs, meaning.work) == (kind.legs, kind.needs, kind.work)
    assert (meaning.unit, meaning.family) == ("share", "regression")
    assert regression(metric=metric).compared is kind


def test_it_is_about_gpu_time_unless_it_says_otherwise() -> None:
    """What most tests are about; other budgets have no metric."""
    assert Budget("max_regression", 0.05).metric == "gpu_time"
    assert Budget("min_speedup", 5).metric == ""


def test_the_metric_binds_to_the_regression_of_its_marker_only() -> None:
    """Beside it other limits stay what they are, and several metrics stay beside each other."""
    held = merge(
        [
            {"max_regression": "5%", "min_speedup": 5},
            {"max_regression": "1%", "metric": "gpu_memory", "max_gpu_time": 1},
            {"max_regression": "8%"},
        ]
    )
    assert [(each.keyword, each.metric, each.limit) for each in held] == [
        ("max_regression", "gpu_time", "8%"),
        ("min_speedup", "", 5),
        ("max_regression", "gpu_memory", "1%"),
        ("max_gpu_time", "", 1),
    ]


def test_none_takes_back_all_regressions_or_that_of_one_metric() -> None:
    """As with profile=."""
    layers = [{"max_regression": "5%"}, {"max_regression": "5%", "metric": "energy"}]
    assert merge([*layers, {"max_regression": None}]) == ()
    (left,) = merge([*layers, {"max_regression": None, "metric": "energy"}])
    assert left.metric == "gpu_time"


def test_the_figure_of_somebodys_own_budget_can_be_compared() -> None:
    """A hook's keyword has a figure like ours."""
    kind = Kind("max_copies", "copies", "gpu", "1", "time", frozenset({"gpu"}), frozenset({"rounds"}), "copies")
    kinds = {**KINDS, "max_copies": kind}
    (budget,) = merge([{"max_regression": "5%", "metric": "copies"}], kinds)
    assert budget.compared is kind
    assert Budget.from_written(budget.as_written, kinds) == budget


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"max_regression": "5%", "metric": "gpu_tme"}, "'gpu_tme' of max_regression is no figure; did you mean 'gpu_"),
        ({"max_regression": "5%", "metric": "max_energy"}, "did you mean 'energy'"),
        ({"max_regression": "5%", "metric": "zzz"}, "is no figure; there are speedup, device_speedup"),
        ({"max_regression": "5%", "metric": "regression"}, "is no figure"),
        ({"max_regression": "5%", "metric": 5}, "metric=5 of max_regression is no figure"),
        ({"min_speedup": 5, "metric": "energy"}, "metric='energy' belongs to max_regression; add max_regression='5%'"),
        ({"max_regression": 5}, "max_regression is 5, which is not below 100%; write 0.05 or '5%'"),
        ({"max_regression": {"T4": "100%"}}, r"max_regression\['T4'\] is '100%', which is not below 100%"),
        ({"max_regression": -0.1}, "which is negative"),
        ({"max_regression": "5 ms"}, "has the unit 'ms', which does not fit"),
        ({"max_regression": True}, "is not a quantity"),
        ({"max_regression": "5%", "stat": "p95"}, "stat='p95' of max_regression: runs are compared by their medians"),
        ({"max_regression": "5%", "stat": "mean"}, "give max_regression in a marker of its own"),
        ({"max_regression": "5%", "confidence": 0.9}, "confidence=0.9 of max_regression: .* p < 0.001"),
    ],
)
def test_what_cannot_be_meant_is_refused(keywords: dict[str, Any], message: str) -> None:
    """With the nearest right one."""
    with pytest.raises(BudgetError, match=message):
        merge([keywords])


def test_a_metric_of_another_budget_is_refused() -> None:
    """It would do nothing."""
    with pytest.raises(BudgetError, match="metric='energy' of min_speedup: only max_regression takes a metric"):
        Budget("min_speedup", 5, metric="energy")


@pytest.mark.parametrize("limit", [0, "0%", 0.05, "5%", {"H200": "5%", "*": 0.1}])
def test_the_limit_is_a_share_and_may_be_nothing(limit: Any) -> None:
    """Nothing at all is a sensible limit for exact bytes; a limit per device works as everywhere."""
    assert all(0 <= value < 1 for value in regression(limit).limits.values())


# -- the verdict ------------------------------------------------------------------------------------------------------


def verdict_of(taken: Profile, budget: Budget | None = None) -> Verdict:
    return judge(taken, budget or regression())


def test_a_regression_misses_with_what_it_was_and_is() -> None:
    """The figures, the change with its interval, where the earlier ones are from, and how sure it is."""
    verdict = verdict_of(measured(), regression(reason="release gate"))
    assert (verdict.outcome, verdict.change, verdict.metric) == ("missed", "regressed", "gpu_time")
    assert verdict.sentence == (
        "GPU time 1.23 ms is 21% (16% to 25%) above the 1.02 ms of 5 runs (gpuprof-baselines.json), which misses "
        "max_regression 5% [p < 0.0001]: release gate"
    )
    assert verdict.limit == 0.05
    assert verdict.observed == pytest.approx(1.23 / 1.02 - 1)
    assert verdict.effect == pytest.approx(math.log(1.23 / 1.02))
    assert verdict.interval is not None
    assert verdict.interval[0] < verdict.observed < verdict.interval[1]


def test_no_regression_meets_and_says_what_would_have_shown() -> None:
    """A person sees how much the gate is worth."""
    verdict = verdict_of(measured(0.00103, [0.00102]))
    assert (verdict.outcome, verdict.change) == ("met", "same")
    assert verdict.sentence == (
        "GPU time 1.03 ms is 0.98% (-6.7% to 9.2%) above the 1.02 ms of 1 run (gpuprof-baselines.json), which meets "
        "max_regression 5%; a slowdown from 22% on would have shown"
    )


def test_what_runs_differ_by_anyway_is_no_regression() -> None:
    """Beyond the limit, and not surely so."""
    verdict = verdict_of(measured(0.00114, [0.00102]))
    assert (verdict.outcome, verdict.change) == ("met", "same")
    assert "is 12% (" in verdict.sentence
    assert "within the noise of runs [p = 0.009], which does not miss max_regression 5%; a slowdown" in verdict.sentence


def test_an_improvement_is_met_and_can_be_accepted() -> None:
    """It never fails; the baseline is out of date."""
    verdict = verdict_of(measured(0.0009))
    assert (verdict.outcome, verdict.change) == ("met", "improved")
    assert verdict.observed == pytest.approx(0.9 / 1.02 - 1)
    assert verdict.sentence.startswith("GPU time 900 µs is 12% (8.6% to 15%) below the 1.02 ms of 5 runs (")
    assert verdict.sentence.endswith("; it improved by 12%: accept it with pytest-gpuprof accept")


def test_a_figure_that_should_be_large_regresses_when_it_falls() -> None:
    """And the share is of what it was."""
    known = {"speedup": Baseline((25.0,) * 5, "5 runs on main")}
    verdict = verdict_of(measured(0.001, baselines=known), regression(metric="speedup"))
    assert verdict.change == "regressed"
    assert verdict.observed == pytest.approx(0.2)
    assert verdict.sentence.startswith("speedup 20x is 20% (16% to 24%) below the 25x of 5 runs on main, which misses")
    better = verdict_of(measured(0.0005, baselines=known), regression(metric="speedup"))
    assert (better.change, better.observed) == ("improved", pytest.approx(-0.6))


@pytest.mark.parametrize(("limit", "outcome"), [("10%", "missed"), ("30%", "met"), ({"T4": 0.3, "*": 0.1}, "missed")])
def test_the_limit_counts_and_may_differ_by_device(limit: Any, outcome: str) -> None:
    """21 % more than before."""
    assert verdict_of(measured(), regression(limit)).outcome == outcome
    assert verdict_of(measured(), regression({"T4": 0.1})).outcome == "not enforced"


@pytest.mark.parametrize("metric", kinds_by_figure())
@pytest.mark.parametrize(("factor", "change"), [(1.0, "same"), (1.9, "regressed"), (1 / 1.9, "improved")])
def test_every_figure_can_be_compared(metric: str, factor: float, change: str) -> None:
    """In its own direction."""
    kind = kinds_by_figure()[metric]
    now = 2.0**31 if kind.unit == "B" else 0.5
    found = change_of(kind, [now] * 5, now / factor if kind.at_least else now * factor)
    assert found is not None
    assert {"worse": "regressed", "better": "improved", "same": "same"}[found.outcome] == change
    assert share_worse(kind, found.effect) == pytest.approx((1 - 1 / factor) if kind.at_least else factor - 1)


@pytest.mark.parametrize(
    ("metric", "floor"),
    [
        ("gpu_time", 0.02), ("device_time", 0.02), ("throughput", 0.02), ("speedup_over_reference", 0.02),
        ("bandwidth_utilization", 0.02), ("cpu_time", 0.03), ("speedup", 0.03), ("device_speedup", 0.03),
        ("energy", 0.05), ("power", 0.05), ("energy_ratio", 0.05), ("items_per_joule", 0.05),
    ],
)  # fmt: skip
def test_how_much_runs_usually_differ_depends_on_the_figure(metric: str, floor: float) -> None:
    """A GPU least, where the CPU takes part more, energy most."""
    found = change_of(kinds_by_figure()[metric], [1.0], 1.0)
    assert found is not None
    assert found.detectable == pytest.approx(0.2029 * floor / 0.02, rel=0.001)


def test_bytes_of_the_gpus_allocator_are_exact() -> None:
    """One run is enough, a byte can be too much, and nothing can become something."""
    before = {"gpu_memory": [2.0**20], "leak": [0.0, 0.0], "gpu_workspace": [0.0]}
    taken = with_readings(before, memory=2.0**20 + 1, leak=512.0, workspace=0.0)
    memory = judge(taken, regression(0, "gpu_memory"))
    assert (memory.outcome, memory.change) == ("missed", "regressed")
    assert memory.sentence.endswith("which misses max_regression 0% [exact]")
    assert judge(taken, regression("5%", "gpu_memory")).change == "same"
    leak = judge(taken, regression("5%", "leak"))
    assert leak.sentence == (
        "GPU memory gained per call 512 B was 0 B in 2 runs (gpuprof-baselines.json), which misses max_regression 5% "
        "[exact]"
    )
    assert (leak.change, leak.effect, leak.observed, leak.interval) == ("regressed", None, None, None)
    workspace = judge(taken, regression("5%", "gpu_workspace"))
    assert workspace.sentence == (
        "GPU workspace 0 B is the same as in 1 run (gpuprof-baselines.json), which meets max_regression 5%"
    )
    mended = judge(with_readings({"leak": [512.0]}, leak=0.0), regression("5%", "leak"))
    assert (mended.change, mended.observed) == ("improved", -1.0)


def test_a_figure_without_a_share_is_incomparable() -> None:
    """Net energy may be 0 or less."""
    for before, now in ((0.0, 1.0), (1.0, 0.0), (1.0, -0.1)):
        verdict = judge(with_readings({"net_energy": [before]}, net_energy=now), regression("5%", "net_energy"))
        assert (verdict.outcome, verdict.change) == ("not enforced", "incomparable")
        assert "no share of a figure of 0 or less can be told; limit the figure itself with max_net_energy" in (
            verdict.sentence
        )


# -- nothing to compare with ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("absence", "said"),
    [
        ("new", "(new): because"),
        ("incomparable", "(incomparable): because"),
        ("unreadable", "(unreadable): because"),
    ],
)
def test_without_a_baseline_it_is_not_enforced_and_says_why(absence: Any, said: str) -> None:
    """Never failed, whatever the figure; what to do about it is known to whoever looked."""
    verdict = verdict_of(measured(baselines={"gpu_time": Baseline(absence=absence, reason="because")}))
    assert (verdict.outcome, verdict.change, verdict.observed) == ("not enforced", absence, None)
    assert verdict.sentence == f"max_regression of GPU time is not enforced {said}"


def test_where_nobody_looked_it_is_new() -> None:
    """A baseline of another figure is none."""
    for known in ({}, {"speedup": Baseline((1.0,), FILE)}):
        verdict = verdict_of(measured(baselines=known))
        assert verdict.change == "new"
        assert verdict.sentence.endswith("accept what it is now with pytest-gpuprof accept")


def test_what_was_not_measured_is_not_compared() -> None:
    """Unavailable, not judged and out of time are told as for any budget."""
    absent = measured(gpu=0.001)
    cases = [
        (judge(absent, regression(metric="energy")), "unavailable"),
        (judge(measured(not_judged="a stand-in"), regression()), "not enforced"),
        (judge(profile_of(out_of_time=True), regression()), "unavailable"),
    ]
    for verdict, outcome in cases:
        assert verdict.change == ""
        assert verdict.outcome in (outcome, "inconclusive")


# -- doubts, and measuring again --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "family", "spoilt"),
    [("gpu_time", "time", True), ("gpu_time", "ratio", False), ("gpu_time", "regression", False),
     ("device_time", "time", True), ("speedup", "ratio", True), ("speedup", "time", False)],
)  # fmt: skip
def test_a_doubt_about_the_figure_spoils_its_comparison(metric: str, family: Any, spoilt: bool) -> None:
    """As it would spoil a limit on that figure."""
    now = profile_of(
        [0.02] * 3,
        leg_of("gpu", [0.001] * 3, [0.001] * 3),
        cautions=(Caution("x", "something happened", "do something", spoils(family)),),
        baselines={metric: Baseline((100.0,) if metric == "speedup" else (0.0001,), FILE)},
    )
    verdict = judge(now, regression(metric=metric))
    assert (verdict.outcome, verdict.change) == (("inconclusive", "noisy") if spoilt else ("missed", "regressed"))


def test_seen_twice_it_is_a_regression() -> None:
    """The second figure is told."""
    verdict = confirm(verdict_of(measured()), verdict_of(measured(0.00125)), regression())
    assert (verdict.outcome, verdict.change) == ("missed", "regressed")
    assert verdict.sentence.endswith("; measured again: 23% worse")


@pytest.mark.parametrize(
    ("again", "said"),
    [(0.00103, "it was 0.98% worse"), (0.001, "it was 2% better"), (None, "there was nothing to compare")],
)
def test_seen_once_it_is_noise(again: float | None, said: str) -> None:
    """Whatever the second measurement showed instead."""
    second = verdict_of(profile_of() if again is None else measured(again))
    verdict = confirm(verdict_of(measured()), second, regression())
    assert (verdict.outcome, verdict.change) == ("inconclusive", "noisy")
    assert verdict.sentence.endswith(f", but measured again {said}, which does not miss it: too noisy")


# -- when rounds are enough -------------------------------------------------------------------------------------------


def rounds(*times: float) -> tuple[Round, ...]:
    return tuple(Round(index, 0, 1, {"wall_time": (time,)}) for index, time in enumerate(times))


def test_rounds_are_enough_when_the_figure_is_known_as_well_as_without_a_budget() -> None:
    """Not before, and not never: a figure that has not changed would take all rounds to be decided."""
    rule = BudgetRule([(regression(), 0.05)], None)
    assert rule.enough({"gpu": rounds(*[0.1] * 3)}) is None
    assert rule.enough({"gpu": rounds(*[0.1] * 6)}) == "every budget was decided after 6 rounds"
    assert rule.enough({"gpu": rounds(0.1, 0.2, 0.1, 0.15, 0.1, 0.3)}) is None


def test_a_regression_of_what_rests_on_no_rounds_asks_for_none() -> None:
    """Memory has its own pass."""
    rule = BudgetRule([(regression(metric="gpu_memory"), 0.05), (Budget("max_gpu_time", 1), 1.0)], None)
    assert rule.enough({"gpu": rounds(*[0.1] * 3)}) == "every budget was decided after 3 rounds"


def test_an_energy_is_compared_by_its_reading() -> None:
    """Its interval is the sensor's own error, which is the same in each run."""
    now = with_readings({"energy": [2.0] * 5}, energy=Reading(2.6, interval=(2.3, 2.9)))
    assert judge(now, regression(metric="energy")).change == "regressed"
