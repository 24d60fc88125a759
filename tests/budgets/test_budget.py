"""Budgets: which keywords there are, what they take, which device they bind, and how they are laid over each other."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.budgets.budget import KINDS, OPTIONS, Budget, Kind, budgets_from, log_margin, merge
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import BudgetError

repeatable = settings(derandomize=True, deadline=None)


def card(name: str, uuid: str | None = None) -> DeviceInfo:
    return DeviceInfo(DeviceId("cuda"), name, "gpu", "torch", uuid=uuid)


# -- the table of keywords --------------------------------------------------------------------------------------------


def test_the_keywords_are_the_ones_users_know() -> None:
    """Each with its unit, the legs that have to run, and what has to be measured."""
    assert {name: (kind.unit, set(kind.legs), set(kind.needs)) for name, kind in KINDS.items()} == {
        "min_speedup": ("x", {"cpu", "gpu"}, {"rounds"}),
        "min_device_speedup": ("x", {"cpu", "gpu"}, {"rounds", "device events"}),
        "min_speedup_over_reference": ("x", {"reference", "gpu"}, {"rounds"}),
        "min_end_to_end_speedup": ("x", {"cpu", "gpu"}, {"rounds", "transfers"}),
        "max_gpu_time": ("s", {"gpu"}, {"rounds"}),
        "max_device_time": ("s", {"gpu"}, {"rounds", "device events"}),
        "max_cpu_time": ("s", {"cpu"}, {"rounds"}),
        "max_gpu_memory": ("B", {"gpu"}, {"memory"}),
        "max_gpu_workspace": ("B", {"gpu"}, {"memory"}),
        "max_cpu_memory": ("B", {"cpu"}, {"memory"}),
        "max_energy": ("J", {"gpu"}, {"energy"}),
        "max_net_energy": ("J", {"gpu"}, {"energy", "net energy"}),
        "max_power": ("W", {"gpu"}, {"energy"}),
        "min_energy_ratio": ("x", {"cpu", "gpu"}, {"energy", "package energy"}),
        "min_throughput": ("1/s", {"gpu"}, {"rounds"}),
        "min_items_per_joule": ("1/J", {"gpu"}, {"energy"}),
        "min_compute_utilization": ("share", {"gpu"}, {"rounds", "device events", "flop count"}),
        "min_bandwidth_utilization": ("share", {"gpu"}, {"rounds", "device events"}),
        "max_crossover": ("1", {"cpu", "gpu"}, {"rounds"}),
        "max_leak": ("B", {"gpu"}, {"leak"}),
        "max_regression": ("share", set(), set()),  # these are its metric's
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_each_keyword_stands_for_one_figure(kind: Kind) -> None:
    """The key is the keyword; a ratio has no leg of its own; the prefix is the direction; options are no keywords."""
    assert KINDS[kind.keyword] is kind
    assert (kind.leg is None) == (kind.unit in ("x", "1/s", "1/J", "share", "1"))
    assert kind.leg is None or kind.legs == {kind.leg}
    assert kind.at_least is kind.keyword.startswith("min_")
    assert kind.keyword not in OPTIONS
    assert kind.title


@pytest.mark.parametrize(("value", "limit"), [(0.4, 0.4), ("40%", 0.4), ("0.4", 0.4), (1, 1.0)])
def test_a_utilization_is_a_part_of_the_peak(value: Any, limit: float) -> None:
    """As a fraction or in percent."""
    assert Budget("min_compute_utilization", value).limits == {"*": pytest.approx(limit)}


@pytest.mark.parametrize("value", [40, "140%", {"H200": 1.1}])
def test_more_than_the_peak_is_no_limit(value: Any) -> None:
    """40 is meant to be 40 %, and would never be met."""
    with pytest.raises(BudgetError, match=r"which is more than the whole peak; write 0\.4 or '40%'"):
        Budget("min_bandwidth_utilization", value)


def test_a_keyword_of_ones_own_says_its_direction() -> None:
    """A limit is a least or a greatest value."""
    with pytest.raises(BudgetError, match="begins with min_ or max_, not 'speed'"):
        Kind("speed", "speed", "gpu", "x", "time", frozenset({"gpu"}), frozenset({"rounds"}), "speed")


@pytest.mark.parametrize(
    ("keyword", "remedy"),
    [
        ("min_spedup", "did you mean 'min_speedup'?"),
        ("max_gpu_mem", "did you mean 'max_gpu_memory'?"),
        ("reasons", "did you mean 'reason'?"),
        ("xyz", "there are min_speedup, "),
    ],
)
def test_an_unknown_keyword_is_told_the_nearest_right_one(keyword: str, remedy: str) -> None:
    """Options count as near names too."""
    with pytest.raises(BudgetError) as error:
        merge([{keyword: 5}])
    assert f"{keyword!r} is no budget; {remedy}" in str(error.value)


# -- values and options -----------------------------------------------------------------------------------------------


def test_values_are_parsed_in_the_unit_of_the_keyword() -> None:
    """Numbers are base units; text has its unit; a mapping has one of these per device."""
    assert Budget("max_gpu_time", 0.002).limits == {"*": 0.002}
    assert Budget("max_gpu_memory", "1.5 GiB").limits == {"*": 1.5 * 2**30}
    assert Budget("max_energy", {"T4": "2 J", "*": 3}).limits == {"T4": 2.0, "*": 3.0}


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("min_speedup", math.nan, "min_speedup is nan"),
        ("min_speedup", True, "min_speedup is True"),
        ("min_speedup", -5, "min_speedup is -5"),
        ("min_speedup", "5 ms", "min_speedup is '5 ms'"),
        ("max_gpu_time", 0, "max_gpu_time is 0"),
        ("max_gpu_time", {}, "max_gpu_time is an empty mapping"),
        ("max_gpu_time", {"T4": "fast"}, r"max_gpu_time\['T4'\] is 'fast'"),
        ("max_gpu_time", {"T4": None}, r"max_gpu_time\['T4'\] is None"),
        ("max_gpu_time", {7: 1.0}, "max_gpu_time has the key 7; keys are device names"),
        ("max_gpu_time", {" ": 1.0}, "max_gpu_time has the key ' '"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(keyword: str, value: Any, problem: str) -> None:
    """At birth, not when it is judged."""
    with pytest.raises(BudgetError, match=problem):
        Budget(keyword, value)


def test_no_extra_memory_can_be_asked_for() -> None:
    """A workspace of zero makes sense, a time of zero does not."""
    assert Budget("max_gpu_workspace", 0).limits == {"*": 0.0}
    assert Budget("max_leak", "0 B").limits == {"*": 0.0}


@pytest.mark.parametrize(
    ("keyword", "options", "problem"),
    [
        ("max_gpu_time", {"stat": "best"}, "stat='best' of max_gpu_time is unknown"),
        ("max_gpu_time", {"stat": 95}, "stat=95 of max_gpu_time is unknown"),
        ("max_gpu_time", {"stat": "p0"}, "stat='p0' of max_gpu_time is unknown"),
        ("max_gpu_time", {"stat": "p100"}, "stat='p100' of max_gpu_time is unknown"),
        ("max_device_time", {"stat": "p95"}, "percentiles exist for max_gpu_time and max_cpu_time only"),
        ("min_speedup", {"stat": "p95"}, "percentiles exist for max_gpu_time and max_cpu_time only"),
        ("max_gpu_memory", {"stat": "mean"}, "a mean exists for times and their ratios only"),
        ("max_energy", {"stat": "mean"}, "a mean exists for times and their ratios only"),
        ("min_speedup", {"confidence": 1}, "confidence=1 of min_speedup"),
        ("min_speedup", {"confidence": 0.5}, "confidence=0.5 of min_speedup"),
        ("min_speedup", {"confidence": True}, "confidence=True of min_speedup"),
        ("min_speedup", {"confidence": "high"}, "confidence='high' of min_speedup"),
        ("min_speedup", {"confidence": math.nan}, "confidence=nan of min_speedup"),
        ("max_energy", {"confidence": 0.99}, "confidence=0.99 of max_energy.*marker of its own"),
        ("min_speedup", {"enforce": 0}, "enforce=0 of min_speedup"),
        ("min_speedup", {"reason": 5}, "reason=5 of min_speedup"),
        ("min_speedup", {"profile": 5}, "profile=5 of min_speedup"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_name(keyword: str, options: Any, problem: str) -> None:
    """With the limit it was given for."""
    with pytest.raises(BudgetError, match=problem):
        Budget(keyword, 5, **options)


@pytest.mark.parametrize(
    ("stat", "fraction"),
    [("p50", 0.5), ("p95", 0.95), ("p99.9", 0.999), ("p5", 0.05), ("median", None), ("mean", None)],
)
def test_a_percentile_is_the_decimal_it_is_written_as(stat: str, fraction: float | None) -> None:
    """p99.9 is 0.999 and not 0.9990000000000001, which would ask for one call more."""
    assert Budget("max_gpu_time", 1, stat=stat).quantile == fraction


def test_a_percentile_needs_single_calls_instead_of_rounds() -> None:
    """It comes from a pass of its own."""
    assert Budget("max_gpu_time", 1, stat="p95").needs == {"latency"}
    assert Budget("max_gpu_time", 1).needs == {"rounds"}


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "name", "limit"),
    [
        ({"T4": 1.0}, "Tesla T4", 1.0),
        ({"T4": 1.0}, "NVIDIA T400 4GB", None),
        ({"T4": 1.0}, "NVIDIA T4G", None),
        ({"T4": 1.0, "*": 2.0}, "NVIDIA T400 4GB", 2.0),
        ({"RTX 4090": 1.0}, "NVIDIA GeForce RTX 4090", 1.0),
        ({"RTX  4090": 1.0}, "NVIDIA GeForce RTX 4090", 1.0),
        ({"RTX 4090": 1.0}, "NVIDIA GeForce RTX 4090 D", 1.0),
        ({"RTX 4090": 1.0}, "NVIDIA RTX A4090", None),
        ({"4090": 1.0, "RTX 4090": 2.0, "*": 3.0}, "NVIDIA GeForce RTX 4090", 2.0),
        ({"h200": 1.0}, "NVIDIA H200", 1.0),
        ({"A100": 1.0}, "NVIDIA A100-SXM4-40GB", 1.0),
        ({"A100-SXM4-40GB": 2.0, "A100": 1.0}, "NVIDIA A100-SXM4-40GB", 2.0),
        ({"100": 1.0}, "NVIDIA A100", None),
        ({"gfx90a (MI250)": 1.0}, "AMD gfx90a (MI250)", 1.0),
        ({"gfx.*": 1.0}, "AMD gfx90a", None),
    ],
)
def test_a_key_matches_whole_words_and_the_longest_wins(keys: dict[str, float], name: str, limit: float | None) -> None:
    """Case does not matter, a key is text and no pattern, and nothing that matches is no limit."""
    assert Budget("max_gpu_time", keys).limit_for(card(name)) == limit


@pytest.mark.parametrize(
    "device", [card("NVIDIA A100-SXM4-40GB MIG 1g.5gb"), card("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-1")]
)
def test_a_slice_of_a_card_is_not_the_card(device: DeviceInfo) -> None:
    """Only a key that says MIG means a slice, not even the rest; a limit without devices holds on a slice too."""
    assert Budget("max_gpu_time", {"A100": 1.0}).limit_for(device) is None
    assert Budget("max_gpu_time", {"A100": 1.0, "MIG": 2.0}).limit_for(device) == 2.0
    assert Budget("max_gpu_time", {"MIG 1g.5gb": 3.0, "MIG": 2.0}).limit_for(device) == 3.0
    assert Budget("max_gpu_time", {"A100": 1.0, "*": 4.0}).limit_for(device) is None
    assert Budget("max_gpu_time", 4.0).limit_for(device) == 4.0


@repeatable
@given(st.text("ABCDE0123456789", min_size=1, max_size=6))
def test_the_whole_name_always_matches_itself(name: str) -> None:
    """And a name that only begins with it never does."""
    budget = Budget("max_gpu_time", {name: 1.0})
    assert budget.limit_for(card(f"NVIDIA {name}")) == 1.0
    assert budget.limit_for(card(f"NVIDIA {name}9")) is None
    assert budget.limit_for(card(f"NVIDIA X{name}")) is None


# -- merging ----------------------------------------------------------------------------------------------------------


def shown(budgets: tuple[Budget, ...]) -> list[tuple[str, str, str | None, float]]:
    return [(each.keyword, each.stat, each.profile, each.limits["*"]) for each in budgets]


def test_the_narrowest_layer_wins_for_each_keyword() -> None:
    """Other keywords of wider layers stay."""
    layers = [{"min_speedup": 2, "max_gpu_time": 1}, {"min_speedup": 3}, {"min_speedup": 5}]
    assert shown(merge(layers)) == [("min_speedup", "median", None, 5), ("max_gpu_time", "median", None, 1)]


def test_another_statistic_or_profile_is_another_budget() -> None:
    """A limit on the median does not replace one on p95."""
    merged = merge(
        [
            {"max_gpu_time": 1},
            {"max_gpu_time": 2, "stat": "p95"},
            {"max_gpu_time": 3, "profile": "second"},
            {"max_gpu_time": 4, "stat": "p95"},
        ]
    )
    assert shown(merged) == [
        ("max_gpu_time", "median", None, 1),
        ("max_gpu_time", "p95", None, 4),
        ("max_gpu_time", "median", "second", 3),
    ]


def test_options_bind_to_the_limits_of_their_own_marker() -> None:
    """And to all of them."""
    wide, near, other = merge(
        [
            {"max_cpu_time": 1},
            {"min_speedup": 5, "max_gpu_time": 1, "confidence": 0.99, "reason": "release gate", "enforce": False},
        ]
    )
    assert (wide.confidence, wide.reason, wide.enforce) == (0.95, "", True)
    for budget in (near, other):
        assert (budget.confidence, budget.reason, budget.enforce) == (0.99, "release gate", False)


def test_none_cancels_what_wider_layers_say() -> None:
    """Every statistic of the keyword; with profile=, only that profile's; an option of None is not given."""
    wide = {"max_gpu_time": 1, "min_speedup": 2}
    assert shown(merge([wide, {"max_gpu_time": 5, "stat": "p95"}, {"max_gpu_time": None}])) == [
        ("min_speedup", "median", None, 2)
    ]
    named = {"max_gpu_time": 3, "profile": "second"}
    assert shown(merge([wide, named, {"max_gpu_time": None, "profile": "second"}])) == [
        ("max_gpu_time", "median", None, 1),
        ("min_speedup", "median", None, 2),
    ]
    assert shown(merge([wide, {"max_gpu_time": None}, {"max_gpu_time": 7}]))[-1] == ("max_gpu_time", "median", None, 7)
    assert merge([{"min_speedup": 5, "stat": None, "reason": None}])[0].stat == "median"


def test_a_marker_says_what_it_sets_and_what_it_cancels() -> None:
    """By keyword, statistic and profile."""
    budgets, cancelled = budgets_from({"min_speedup": 5, "max_energy": None, "profile": "a"})
    assert set(budgets) == {("min_speedup", "median", "a", "")}
    assert cancelled == {("max_energy", "a", None)}


def test_keywords_of_a_plugin_merge_like_ours() -> None:
    """The table is an argument."""
    kind = Kind(
        "max_copies", "copies", "gpu", "1", "time", frozenset({"gpu"}), frozenset({"rounds"}), "copies", zero=True
    )
    (budget,) = merge([{"max_copies": 0}], {"max_copies": kind})
    assert budget.meaning is kind
    with pytest.raises(BudgetError, match="there are max_copies"):
        merge([{"min_speedup": 5}], {"max_copies": kind})


@repeatable
@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_a_positive_margin_meets_the_limit(observed: float, limit: float) -> None:
    """In both directions, and the directions mirror each other."""
    least = log_margin(observed, limit, at_least=True)
    assert (least > 0) == (observed / limit > 1)
    assert log_margin(observed, limit, at_least=False) == -least
