"""``cache=`` and ``transfers=``: from option, ini and marker to figures and verdicts."""

from __future__ import annotations

import pytest

from .conftest import Runs, text_of

COLD = """
def by_cache(device):
    return lambda: device.run(cpu=20e-3, gpu=1e-3, cold=5e-3)
"""


@pytest.mark.parametrize(
    ("where", "args", "ini"),
    [
        ("", ["--gpu-profile-cache=cold"], ""),
        ("", [], "gpu_profile_cache = cold"),
        ("@pytest.mark.gpu_profile(cache='cold')", ["--gpu-profile-cache=hot"], ""),
    ],
    ids=["option", "ini", "marker"],
)
def test_a_cold_cache_is_asked_for(runs: Runs, where: str, args: list[str], ini: str) -> None:
    """5 ms without what the cache held, 1 ms with it; the marker goes before the option."""
    runs.pytester.makeini(f"[pytest]\n{ini}\n")
    body = "    assert 4.9e-3 < gpu_profile(by_cache).gpu.time_s < 5.2e-3\n"
    runs.on_gpu(f"{COLD}{where}\ndef test_it(gpu_profile):\n{body}", *args).assert_outcomes(passed=1)


def test_the_cache_is_hot_unless_told_otherwise(runs: Runs) -> None:
    """As in a loop over a data set that was just computed."""
    source = f"{COLD}def test_it(gpu_profile):\n    assert gpu_profile(by_cache).gpu.time_s < 1.1e-3\n"
    runs.on_gpu(source).assert_outcomes(passed=1)


def test_a_cache_that_cannot_be_meant(runs: Runs) -> None:
    """One sentence at the test that says it, and what it takes."""
    source = "@pytest.mark.gpu_profile(cache='warm')\ndef test_it(gpu_profile): gpu_profile(fast)\n"
    result = runs.on_gpu(source)
    result.assert_outcomes(failed=1)
    assert "cache is 'warm'; it takes 'hot' or 'cold'" in text_of(result)


TRAVELS = """
def travels(device):
    held = device.allocate(25 * 10**6)
    def run():
        device.run(cpu=20e-3, gpu=1e-3)
        return held
    return run
"""


@pytest.mark.parametrize(("limit", "outcome"), [(5, "passed"), (12, "failed")])
def test_a_budget_may_count_the_copies(runs: Runs, limit: int, outcome: str) -> None:
    """20x on the device; 25 MB there and back take 2 ms, and leave 6.7x."""
    budget = f"@pytest.mark.gpu_budget(min_speedup=15, min_end_to_end_speedup={limit})\n"
    result = runs.on_gpu(f"{TRAVELS}{budget}def test_it(gpu_profile): gpu_profile(travels)\n")
    result.assert_outcomes(**{outcome: 1})
    if outcome == "failed":
        assert "end-to-end speedup 6.5" in text_of(result)
        assert "misses min_end_to_end_speedup 12x" in text_of(result)


def test_copies_that_cannot_be_seen_fail_their_test_with_the_remedy(runs: Runs) -> None:
    """And no other."""
    source = (
        "def test_it(gpu_profile): gpu_profile(fast, transfers=True)\ndef test_other(gpu_profile): gpu_profile(fast)\n"
    )
    result = runs.on_gpu(source)
    result.assert_outcomes(failed=1, passed=1)
    assert "its inputs on simulated:0 cannot be seen; pass arrays with call(function, arguments…)" in text_of(result)
