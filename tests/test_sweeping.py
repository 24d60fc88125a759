"""Sweeps through the library: what they find on a simulated machine, in how many rounds, and what is judged again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof import (
    Budget,
    BudgetError,
    BudgetMissed,
    Profiler,
    Unavailable,
    UsageError,
    hookimpl,
    profile,
    sweep,
)
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.results import Caution, spoils
from pytest_gpuprof.core.scaling import Crossover, Growth
from pytest_gpuprof.sweeping import judged, remeasured, scaled

SIZES = [16, 32, 64, 128]
MACHINE: dict[str, Any] = {"backend": "simulated", "devices": "simulated:0"}


def product(device: Any, n: int) -> Callable[[], None]:
    """The GPU wins from n = (1e-4 / 0.99e-9) ** (1 / 3) = 46.6."""
    return lambda: device.run(cpu=1e-9 * n**3, gpu=1e-4 + 1e-11 * n**3)


def slow(device: Any, n: int) -> Callable[[], None]:
    return lambda: device.run(cpu=1e-6 * n, gpu=2e-6 * n)


class TwoCards:
    """Brings a machine with two accelerators."""

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [SimulatedBackend([Card(), Card()])]


def test_the_crossover_of_known_legs_is_found() -> None:
    """With an interval that holds the truth, and the exponents of both legs."""
    found = sweep(product, n=SIZES, **MACHINE)
    assert found.sizes == tuple(SIZES)
    assert found.crossover == pytest.approx(46.6, rel=0.02)
    low, high = found.crossover_interval
    assert 32 < low < 46.6 < high < 64
    assert found.growth("cpu").exponent == pytest.approx(3, abs=0.05)
    assert found.growth("gpu").fixed_s == pytest.approx(1e-4, rel=0.05)


def test_each_size_is_a_profile_with_its_parameter() -> None:
    """And what was declared as a function is computed for each."""
    found = sweep(product, n=SIZES, flops=lambda n: 2 * n**3, **MACHINE)
    assert [each.name for each in found.profiles.values()] == [f"product[n={size}]" for size in SIZES]
    assert [each.params for each in found.profiles.values()] == [{"n": size} for size in SIZES]
    assert found[64].flops == 2 * 64**3
    with pytest.raises(KeyError, match="n=65 was not measured; there are 16, 32, 64, 128"):
        found[65]


def test_far_from_the_crossover_three_rounds_are_enough() -> None:
    """Nobody needs to know there how much faster it is."""
    found = sweep(product, n=SIZES, **MACHINE)
    assert [len(each.gpu.rounds) for each in found.profiles.values()] == [3, 3, 3, 3]


@pytest.mark.parametrize(("cards", "few"), [((), True), ((Card(),), False)])
def test_a_stand_in_that_nobody_named_shows_a_crossover_as_well_as_another(cards: tuple[Card, ...], few: bool) -> None:
    """Nobody judges there which leg is faster; without any, no number of rounds tells."""

    class Noisy:
        @hookimpl
        def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
            return [SimulatedBackend(cards, seed=1, cpu_noise=0.3)]

    even = lambda device, n: lambda: device.run(cpu=1e-4 * n, gpu=1e-4 * n)  # noqa: E731
    found = sweep(even, n=[16, 32, 64], backend="simulated", profiler=Profiler(plugins=[Noisy()]))
    rounds = [len(each.cpu.rounds) for each in found.profiles.values()]
    assert rounds == [3] * 3 if few else min(rounds) > 12
    few_are_enough = "3 rounds are enough where no verdict can rest on them"
    assert {each.stop_reason == few_are_enough for each in found.profiles.values()} == {few}


def test_a_limit_on_the_crossover_is_judged_on_the_sweep() -> None:
    """The verdict belongs to the profile of the largest size; no size has one of its own."""
    found = sweep(product, n=SIZES, budgets=[Budget("max_crossover", 64)], **MACHINE)
    assert [verdict.outcome for verdict in found.verdicts] == ["met"]
    assert found[128].verdicts == found.verdicts
    assert "crossover n = 46" in str(found)
    assert [verdict.outcome for verdict in found.require(max_crossover=50).verdicts] == ["met", "met"]


def test_a_missed_limit_is_raised_when_required() -> None:
    """After the sizes around it were measured a second time."""
    with pytest.raises(BudgetMissed, match=r"crossover n = 46.* misses max_crossover 32 .*; measured again: 46"):
        sweep(product, n=SIZES, **MACHINE).require(max_crossover=32)


def test_a_gpu_that_never_wins_has_no_crossover() -> None:
    """Reading it says so; a limit on it is missed."""
    found = sweep(slow, n=SIZES, budgets=[Budget("max_crossover", 128)], **MACHINE)
    with pytest.raises(Unavailable, match="the GPU does not win at n = 128, the largest size that was measured"):
        found.crossover  # reading it is the test
    assert [verdict.outcome for verdict in found.verdicts] == ["missed"]


def test_only_the_sizes_around_the_crossover_are_measured_again() -> None:
    """A missed limit does not cost the whole sweep once more."""
    found = sweep(product, n=SIZES, **MACHINE)
    asked: list[float] = []

    def again(sizes: Any) -> dict[float, Any]:
        asked.extend(sizes)
        return {size: found[size] for size in asked}

    verdict = judged(found.profiles, [Budget("max_crossover", 32)], Profiler(), again).verdicts[-1]
    assert verdict.outcome == "missed"
    assert asked == [32, 64]


def test_missed_and_then_not_is_too_noisy() -> None:
    """The second measurement finds it elsewhere."""
    found, other = sweep(product, n=SIZES, **MACHINE), sweep(slow, n=SIZES, **MACHINE)
    losing = {**found.profiles, 64: other[64]}
    losing[128] = replace(losing[128], scaling=scaled("n", losing))
    verdict = judged(losing, [Budget("max_crossover", 64)], Profiler(), lambda sizes: {64: found[64]}).verdicts[-1]
    assert verdict.outcome == "inconclusive"
    assert "too noisy" in verdict.sentence


def test_a_doubt_at_a_small_size_is_a_doubt_about_the_crossover() -> None:
    """A doubt about something else is not."""
    profiles = dict(sweep(product, n=SIZES, **MACHINE).profiles)
    doubt, other = (Caution("x", "fact", "remedy", spoils(family)) for family in ("ratio", "memory"))
    profiles[32] = replace(profiles[32], cautions=(doubt, other))
    assert scaled("n", profiles).cautions == (doubt,)


def test_too_few_sizes_tell_a_crossover_and_no_growth() -> None:
    """Three numbers cannot be fitted to two times."""
    found = sweep(product, n=[32, 64], **MACHINE)
    assert isinstance(found.scaling.crossover, Crossover)
    with pytest.raises(Unavailable, match="growth of the cpu leg is unavailable, because a growth takes 4 sizes"):
        found.growth("cpu")


def test_the_growths_are_of_both_legs() -> None:
    """Where there are enough sizes."""
    found = sweep(product, n=SIZES, **MACHINE)
    assert Counter(type(each) for each in found.scaling.growth.values()) == {Growth: 2}


def test_what_limits_one_size_is_refused() -> None:
    """With where to say it."""
    with pytest.raises(BudgetError, match=r"min_speedup limits one size, not a sweep; give it to profile\(\)"):
        sweep(product, n=SIZES, budgets=[Budget("min_speedup", 2)], **MACHINE)
    with pytest.raises(BudgetError, match=r"sweep\[2048\].require\(min_speedup=…\)"):
        sweep(product, n=SIZES, **MACHINE).require(min_speedup=2)


def test_one_size_can_be_required_more_of() -> None:
    """Its profile is like any other, also a limit on a sweep's crossover is none of its."""
    verdicts = profile(lambda device: product(device, 128), **MACHINE).require(min_speedup=5).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["met"]


def test_a_sweep_has_one_accelerator() -> None:
    """Like a profile."""
    two = Profiler(plugins=[TwoCards()])
    with pytest.raises(UsageError, match="names 2 accelerators"):
        sweep(product, n=SIZES, backend="simulated", devices="simulated:0,simulated:1", profiler=two)


def test_judging_one_size_keeps_the_sweep() -> None:
    """The largest size carries it; measuring more on that size does not lose it."""
    found = sweep(product, n=SIZES, **MACHINE)
    more = found[128].require(min_speedup=5, max_gpu_memory="1 GiB")
    assert more.scaling == found.scaling
    assert [verdict.outcome for verdict in more.verdicts] == ["met", "met"]


def test_a_limit_on_a_sweep_is_refused_for_one_size() -> None:
    """It could never be judged there."""
    with pytest.raises(BudgetError, match="max_crossover limits a sweep, not one profile of it"):
        sweep(product, n=SIZES, **MACHINE)[128].require(max_crossover=64)
    with pytest.raises(BudgetError, match="max_crossover limits a sweep"):
        profile(lambda device: product(device, 128), budgets=Budget("max_crossover", 64), **MACHINE)


def test_one_budget_needs_no_list() -> None:
    """As for a profile."""
    found = sweep(product, n=SIZES, budgets=Budget("max_crossover", 64), **MACHINE)
    assert [verdict.outcome for verdict in found.verdicts] == ["met"]


def test_a_doubt_about_the_second_look_counts() -> None:
    """The largest size, measured again while the clock was low, does not confirm anything."""
    found, other = sweep(product, n=SIZES, **MACHINE), sweep(slow, n=SIZES, **MACHINE)
    losing = {**found.profiles, 128: other[128]}
    losing[128] = replace(losing[128], scaling=scaled("n", losing))
    doubt = Caution("throttled", "the clock fell", "let it cool", spoils("ratio"))
    again = {128: replace(other[128], cautions=(doubt,), scaling=None)}
    verdict = judged(losing, [Budget("max_crossover", 64)], Profiler(), lambda sizes: again).verdicts[-1]
    assert verdict.outcome == "inconclusive"


def test_the_second_look_takes_what_it_needs_and_no_longer_than_is_left() -> None:
    """No energy, and no more seconds than the session has."""
    run = Profiler()
    (job,) = run.jobs(lambda device: product(device, 64), metrics=("time", "energy"), **MACHINE)
    taken: list[Any] = []

    def measure(job: Any, **options: Any) -> Any:
        taken.append((job.metrics, job.plan.max_time_s, options["again"]))

    run.measure = measure  # type: ignore[method-assign]
    remeasured(run, {64: job}, left_s=lambda: 2.0)([64])
    remeasured(run, {64: job}, left_s=lambda: -5.0)([64])
    assert [most_s for _, most_s, _ in taken] == [2.0, 0.1]
    assert {metrics for metrics, _, _ in taken} == {frozenset()}
    assert all("again" in told for _, _, told in taken)
