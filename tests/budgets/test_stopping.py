"""When rounds are enough, and what is told meanwhile."""

from __future__ import annotations

import pytest

from pytest_gpuprof.budgets import evidence
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.stopping import BudgetRule
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.results import Round
from pytest_gpuprof.stats.decision import LOOKS
from tests.budgets.profiles import profile_of


def rounds(*times: float) -> tuple[Round, ...]:
    return tuple(Round(index, 0, 1, {"wall_time": (time,)}) for index, time in enumerate(times))


def test_rounds_are_enough_when_every_budget_is_decided() -> None:
    """One that is open keeps them coming."""
    legs = {"cpu": rounds(*[1.0] * 3), "gpu": rounds(*[0.1] * 3)}
    clear, close = (Budget("min_speedup", 5), 5.0), (Budget("max_gpu_time", 0.1), 0.1)
    assert BudgetRule([clear], None).enough(legs) == "every budget was decided after 3 rounds"
    assert BudgetRule([clear, close], None).enough(legs) is None


def test_only_the_looks_are_looked_at() -> None:
    """Looking after every round would give luck more chances."""
    rule = BudgetRule([(Budget("max_gpu_time", 1), 1.0)], None)
    decided = [count for count in range(1, 25) if rule.enough({"gpu": rounds(*[0.1] * count)})]
    assert decided == list(LOOKS)


def test_budgets_that_do_not_rest_on_rounds_do_not_ask_for_any() -> None:
    """Nor do those whose figure will never come."""
    memory = BudgetRule([(Budget("max_gpu_memory", 1), 1.0), (Budget("max_gpu_time", 1, stat="p95"), 1.0)], None)
    assert memory.enough({"gpu": rounds(*[1.0] * 6)}) == "known to 3.5% after 6 rounds"
    missing = BudgetRule([(Budget("max_device_time", 1), 1.0)], None)
    assert missing.enough({"gpu": rounds(1.0, 1.0, 1.0)}) == "every budget was decided after 3 rounds"


def test_throughput_is_decided_from_the_rounds() -> None:
    """Items per second of each round."""
    legs = {"gpu": rounds(0.1, 0.1, 0.1)}
    assert BudgetRule([(Budget("min_throughput", 50), 50.0)], items=10).enough(legs)
    assert BudgetRule([(Budget("min_throughput", 100), 100.0)], items=10).enough(legs) is None


def test_without_a_budget_rounds_are_enough_when_the_speedup_is_known() -> None:
    """To 5 %; of a single leg, its time."""
    rule = BudgetRule([], None)
    steady, shaky = [0.1] * 6, [0.1, 0.2, 0.1, 0.15, 0.1, 0.3]
    assert rule.enough({"cpu": rounds(*[1.0] * 6), "gpu": rounds(*steady)}) == "known to 3.5% after 6 rounds"
    assert rule.enough({"cpu": rounds(*[1.0] * 6), "gpu": rounds(*shaky)}) is None
    assert rule.enough({"cpu": rounds(*steady)}) == "known to 3.5% after 6 rounds"
    assert rule.enough({"cpu": rounds(*steady[:3])}) is None


def test_rounds_that_no_verdict_can_rest_on_are_the_least() -> None:
    """However much they vary; a budget that can be judged has them go on, and who watches is told the figure."""
    shaky = {"cpu": rounds(0.1, 0.3, 0.2)}
    rule = BudgetRule([], None, in_vain=True)
    assert rule.enough({"cpu": rounds(0.1, 0.3)}) is None
    assert rule.enough(shaky) == "3 rounds are enough where no verdict can rest on them"
    assert rule.estimate is not None
    assert rule.estimate.title == "CPU time"
    assert BudgetRule([(Budget("max_cpu_time", 0.2), 0.2)], None, in_vain=True).enough(shaky) is None


def test_the_running_estimate_is_what_the_verdict_would_say() -> None:
    """Of the budget that is still open, with its statistic; of a stand-in, with its word."""
    profile = profile_of([1.0, 1.3, 0.8, 1.1], [0.1, 0.13, 0.12, 0.09])
    legs = {"cpu": profile.cpu.rounds, "gpu": profile.gpu.rounds}
    close, far = Budget("min_speedup", 9.5), Budget("max_gpu_time", 99)
    rule = BudgetRule([(far, 99.0), (close, 9.5)], None, stand_in="simulated")
    assert rule.estimate is None
    assert rule.enough(legs) is None
    found, verdict = rule.estimate, judge(profile, close)
    assert found is not None
    assert (found.title, found.unit, found.word) == ("speedup", "x", "simulated")
    assert (found.value, found.interval) == (verdict.observed, verdict.interval)


def test_the_running_estimate_without_a_budget_is_the_speedup() -> None:
    """Or the time of the only leg; that of a CPU is no stand-in's."""
    cpu, gpu = rounds(*[1.0] * 4), rounds(0.1, 0.13, 0.12, 0.09)
    for legs, title, word in (
        ({"cpu": cpu, "gpu": gpu}, "speedup", "OpenCL on the CPU"),
        ({"gpu": gpu}, "GPU time", "OpenCL on the CPU"),
        ({"cpu": cpu}, "CPU time", ""),
    ):
        rule = BudgetRule([], None, stand_in="OpenCL on the CPU")
        rule.enough(legs)
        found = rule.estimate
        assert found is not None
        assert (found.title, found.word) == (title, word)
        assert found.interval is not None
        assert found.interval[0] < found.value < found.interval[1]


def test_the_running_estimate_is_not_computed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the look's own: nobody pays for it twice."""
    looks: list[int] = []
    decide = evidence.decide
    monkeypatch.setattr(evidence, "decide", lambda *args, **more: looks.append(1) or decide(*args, **more))
    rule = BudgetRule([(Budget("max_gpu_time", 0.1), 0.1)], None)
    assert rule.enough({"gpu": rounds(0.1, 0.13, 0.09)}) is None
    assert (len(looks), str(rule.estimate).partition(" (")[0]) == (1, "GPU time 105 ms")
