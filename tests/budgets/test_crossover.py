"""Judging from which size on the GPU has to win: by the interval, and not beyond what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget, merge
from pytest_gpuprof.budgets.verdict import confirm, judge
from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Outcome, Reading, spoils
from pytest_gpuprof.core.scaling import Crossover, Scaling
from tests.budgets.profiles import leg_of, profile_of

BETWEEN = Crossover(310.0, 256.0, 390.0, 64, 4096)
NOWHERE = Crossover(None, 4096.0, math.inf, 64, 4096)
MAYBE_NOWHERE = Crossover(None, 3000.0, math.inf, 64, 4096)
EVERYWHERE = Crossover(64.0, 0.0, 64.0, 64, 4096)


def swept(crossover: Crossover | Reading, *cautions: Caution) -> Profile:
    profile = profile_of(leg_of("cpu", [0.02] * 3), leg_of("gpu", [0.001] * 3))
    return replace(profile, scaling=Scaling("n", (), crossover, {}, cautions))


@pytest.mark.parametrize(
    ("crossover", "limit", "outcome"),
    [
        (BETWEEN, 390, "met"),
        (BETWEEN, 1000, "met"),
        (BETWEEN, 300, "inconclusive"),
        (BETWEEN, 256, "inconclusive"),
        (BETWEEN, 255, "missed"),
        (EVERYWHERE, 64, "met"),
        (EVERYWHERE, 32, "inconclusive"),
        (NOWHERE, 4096, "missed"),
        (NOWHERE, 100, "missed"),
        (NOWHERE, 5000, "inconclusive"),
        (MAYBE_NOWHERE, 4096, "inconclusive"),
        (MAYBE_NOWHERE, 2000, "missed"),
    ],
)
def test_the_interval_decides(crossover: Crossover, limit: float, outcome: Outcome) -> None:
    """And a limit beyond the sizes that were measured is not judged by what was."""
    assert judge(swept(crossover), Budget("max_crossover", limit)).outcome == outcome


@pytest.mark.parametrize(("crossover", "limit"), [(EVERYWHERE, 32), (NOWHERE, 5000)])
def test_a_limit_beyond_the_sizes_says_what_to_measure(crossover: Crossover, limit: float) -> None:
    """The remedy is a size."""
    assert f"measure at n = {limit} too" in judge(swept(crossover), Budget("max_crossover", limit)).sentence


def test_the_sentence_says_what_was_seen_and_why_this_limit() -> None:
    """With the interval, as of every figure."""
    verdict = judge(swept(BETWEEN), Budget("max_crossover", 100, reason="batches are of 128"))
    assert verdict.sentence == ("crossover n = 310 (256 to 390) misses max_crossover 100 [0 sizes]: batches are of 128")
    assert (verdict.observed, verdict.interval, verdict.limit) == (310.0, (256.0, 390.0), 100.0)


def test_a_doubt_at_any_size_spoils_it() -> None:
    """It rests on all of them."""
    doubt = Caution("throttled", "the clock fell", "let it cool", spoils("ratio"))
    verdict = judge(swept(BETWEEN, doubt), Budget("max_crossover", 1000))
    assert verdict.outcome == "inconclusive"
    assert "the clock fell; let it cool" in verdict.sentence


def test_without_a_gpu_it_is_unavailable() -> None:
    """As every budget on the GPU."""
    absent = profile_of(leg_of("cpu", [0.02] * 3), leg_of("gpu", [0.001] * 3))
    reading = Reading.unavailable("there is no GPU", "no device")
    gpu = replace(absent.gpu, device=None, missing=reading, rounds=(), readings={})
    profile = replace(absent, gpu=gpu, scaling=Scaling("n", (), reading, {}))
    verdict = judge(profile, Budget("max_crossover", 1000))
    assert (verdict.outcome, verdict.cause) == ("unavailable", "no device")
    assert verdict.sentence == "max_crossover cannot be judged: there is no GPU"


def test_what_is_no_sweep_has_no_crossover() -> None:
    """And the reason says how to get one."""
    verdict = judge(replace(swept(BETWEEN), scaling=None), Budget("max_crossover", 1000))
    assert verdict.outcome == "unavailable"
    assert "gpu_profile.sweep" in verdict.sentence


@pytest.mark.parametrize(
    ("second", "outcome", "words"),
    [
        (BETWEEN, "missed", "measured again: 310"),
        (NOWHERE, "missed", "measured again: above the largest size"),
        (EVERYWHERE, "inconclusive", "measured again it was 64, which does not miss it"),
    ],
)
def test_missed_twice_is_missed(second: Crossover, outcome: Outcome, words: str) -> None:
    """Anything else was noise."""
    budget = Budget("max_crossover", 100)
    verdict = confirm(judge(swept(BETWEEN), budget), judge(swept(second), budget), budget)
    assert verdict.outcome == outcome
    assert words in verdict.sentence


@pytest.mark.parametrize("option", [{"confidence": 0.99}, {"stat": "mean"}])
def test_what_a_crossover_does_not_know_is_refused(option: dict[str, Any]) -> None:
    """It is where medians cross, with a 95 % interval."""
    with pytest.raises(BudgetError, match="a crossover is where medians cross"):
        merge([{"max_crossover": 64, **option}])
