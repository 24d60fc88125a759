"""``gpu_profile.sweep(…)`` in whole runs: budgets on sizes and on the crossover, records, and what cannot be meant."""

from __future__ import annotations

import pytest

from .conftest import GPU, NO_GPU, Runs, text_of

PRODUCT = """
def product(device, n):
    return lambda: device.run(cpu=1e-9 * n**3, gpu=1e-4 + 1e-11 * n**3)
"""
"""The GPU wins from n = 46.6."""


def test_of(body: str, *marks: str) -> str:
    """Return an inner test file."""
    decorated = "".join(f"@pytest.mark.gpu_budget({mark})\n" for mark in marks)
    return f"{PRODUCT}\n{decorated}def test_it(gpu_profile):\n    {body}\n"


test_of.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it

SWEEP = "found = gpu_profile.sweep(product, n=[16, 32, 64, 128])"


def test_a_met_crossover_passes_and_is_told(runs: Runs) -> None:
    """In one line below the table, beside a row for each size."""
    result = runs.on_gpu(test_of(SWEEP, "max_crossover=64"))
    result.assert_outcomes(passed=1)
    shown = text_of(result)
    assert "test_it.py::test_it product over n: the GPU wins from n = 46" in shown
    assert "CPU time grows as n^3" in shown
    assert "product[n=16]" in shown
    assert "budgets: 1 met, 0 missed" in shown


def test_a_missed_crossover_fails_with_its_sentence(runs: Runs) -> None:
    """After it was measured a second time."""
    result = runs.on_gpu(test_of(SWEEP, "max_crossover=32, reason='our batches are small'"))
    result.assert_outcomes(failed=1)
    shown = text_of(result)
    assert "misses max_crossover 32 [4 sizes]: our batches are small; measured again: 46" in shown


def test_a_limit_can_be_required_in_the_body(runs: Runs) -> None:
    """It fails there and then."""
    runs.on_gpu(test_of(f"{SWEEP}; found.require(max_crossover=64)")).assert_outcomes(passed=1)
    result = runs.on_gpu(test_of(f"{SWEEP}; found.require(max_crossover=32); print('further')"))
    result.assert_outcomes(failed=1)
    assert "further" not in result.stdout.str()


def test_budgets_of_the_test_bind_to_each_size(runs: Runs) -> None:
    """A speedup of 5 is not there at small sizes; bound to one size it is met, as it is where that one is required."""
    runs.on_gpu(test_of(SWEEP, "min_speedup=5")).assert_outcomes(failed=1)
    runs.on_gpu(test_of(SWEEP, "min_speedup=5, profile='product[n=128]'")).assert_outcomes(passed=1)
    runs.on_gpu(test_of(SWEEP, "min_speedup=5, profile='product'")).assert_outcomes(failed=1)
    runs.on_gpu(test_of(f"{SWEEP}; found[128].require(min_speedup=5)")).assert_outcomes(passed=1)


def test_a_profile_that_there_is_not_is_told(runs: Runs) -> None:
    """With the names that there are."""
    result = runs.on_gpu(test_of(SWEEP, "min_speedup=5, profile='product[n=99]'"))
    result.assert_outcomes(failed=1)
    assert "binds to profile='product[n=99]', and the test has product" in text_of(result)


def test_the_record_of_the_largest_size_has_the_sweep(runs: Runs) -> None:
    """All others are ordinary ones; the crossover is a figure, which can be kept and compared."""
    records = runs.records(test_of(SWEEP, "max_crossover=64"), conftest=GPU, devices=None)
    assert [record["name"] for record in records] == [f"product[n={n}]" for n in (16, 32, 64, 128)]
    assert ["sweep" in record for record in records] == [False, False, False, True]
    assert 44 < records[-1]["figures"]["crossover"]["value"] < 49
    assert [point["size"] for point in records[-1]["sweep"]["points"]] == [16, 32, 64, 128]


def test_a_crossover_can_regress(runs: Runs) -> None:
    """It is compared with earlier runs like any figure: a GPU whose launches take twice as long wins later."""
    source = test_of(SWEEP, "max_regression='20%', metric='crossover'")
    for _ in range(3):
        runs.on_gpu(source, "--gpu-profile-compare=latest").assert_outcomes(passed=1)
    result = runs.on_gpu(source.replace("1e-4 +", "8e-4 +"), "--gpu-profile-compare=latest")
    result.assert_outcomes(failed=1)
    assert "max_regression" in text_of(result)


def test_a_limit_on_the_crossover_bound_to_one_size_fails(runs: Runs) -> None:
    """It would never be judged; the largest size and the sweep's own name will do."""
    result = runs.on_gpu(test_of(SWEEP, "max_crossover=64, profile='product[n=64]'"))
    result.assert_outcomes(failed=1)
    assert "max_crossover limits a sweep, and profile='product[n=64]' is none; there is product" in text_of(result)
    runs.on_gpu(test_of(SWEEP, "max_crossover=64, profile='product'")).assert_outcomes(passed=1)
    runs.on_gpu(test_of(SWEEP, "max_crossover=64, profile='product[n=128]'")).assert_outcomes(passed=1)


def test_a_wider_limit_on_crossovers_binds_to_sweeps_only(runs: Runs) -> None:
    """The ini may say it for all tests; those that measure one size are none of its."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets = *: max_crossover=64\n")
    runs.on_gpu(test_of("gpu_profile(product, params={'n': 99})")).assert_outcomes(passed=1)
    result = runs.on_gpu(test_of(SWEEP))
    assert "budgets: 1 met" in text_of(result)


def test_outputs_of_other_sizes_are_not_that_of_the_smallest(runs: Runs) -> None:
    """Without profiling only that one was run; asking another skips with the reason."""
    asks = "found = gpu_profile.sweep(product, n=[16, 32]); assert found[{}].output == 3"
    result = runs(test_of(asks.format(32)), on=False)
    result.assert_outcomes(skipped=1)
    runs(test_of(asks.format(16).replace("== 3", "is None")), on=False).assert_outcomes(passed=1)


def test_without_profiling_it_runs_once(runs: Runs) -> None:
    """At the smallest size, and its budgets are counted as not judged."""
    result = runs(test_of(f"{SWEEP}; found.require(max_crossover=32)", "max_crossover=64"), on=False)
    result.assert_outcomes(passed=1)
    assert "2 budgets were not judged" in text_of(result)


def test_without_a_gpu_the_cpu_leg_is_swept(runs: Runs) -> None:
    """And the limit cannot be judged, which skips."""
    result = runs(test_of(SWEEP, "max_crossover=64"), conftest=NO_GPU, devices=None)
    result.assert_outcomes(skipped=1)
    assert "1 budget of 1 test cannot be judged" in text_of(result)


def test_it_crosses_xdist(runs: Runs) -> None:
    """The ratio is not judged there, because workers load the CPU."""
    pytest.importorskip("xdist")
    result = runs.on_gpu(test_of(SWEEP, "max_crossover=64"), "-n1", subprocess=True)
    assert "the GPU wins from n = 4" in text_of(result)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("gpu_profile.sweep(product, n=[16])", "n= has 1 size, and a crossover takes two at least"),
        ("gpu_profile.sweep(product)", "a sweep needs sizes"),
        ("gpu_profile.sweep(product, k=[1, 2])", "the builder 'product' takes no k="),
        ("gpu_profile.sweep(product, n=[1, 2], rond=3)", "a sweep has no keyword 'rond'; did you mean 'rounds'?"),
        (f"{SWEEP}; found.require(min_speedup=5)", "min_speedup limits one size, not a sweep"),
        (f"{SWEEP}; found.require(max_crossover=0)", "max_crossover is 0, which nothing can meet or miss"),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_what_cannot_be_meant_fails_in_one_sentence(runs: Runs, body: str, sentence: str, on: bool) -> None:
    """Whether it measures or not."""
    result = runs(test_of(body), on=on)
    result.assert_outcomes(failed=1)
    assert sentence in text_of(result)


def test_two_sweeps_of_one_name_fail(runs: Runs) -> None:
    """Budgets and records could not tell them apart; with a name of its own each is fine."""
    result = runs.on_gpu(test_of(f"{SWEEP}; gpu_profile.sweep(product, n=[1, 2])"))
    result.assert_outcomes(failed=1)
    assert "two sweeps called 'product'; give each its own with name=" in text_of(result)
    runs.on_gpu(test_of(f"{SWEEP}; gpu_profile.sweep(product, n=[64, 128], name='other')")).assert_outcomes(passed=1)


def test_a_limit_on_a_crossover_without_a_sweep_fails(runs: Runs) -> None:
    """A gate does not pass by not running."""
    result = runs.on_gpu(test_of("gpu_profile(product, params={'n': 9})", "max_crossover=64"))
    result.assert_outcomes(failed=1)
    assert "max_crossover limits a sweep, and the test has none; measure it with gpu_profile.sweep" in text_of(result)
