"""``PASSED (5.1x)`` at ``-v``: which outcomes get the speedup, how it reads, and that nothing else changes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.plugin.status import speedups
from tests.budgets.profiles import profile_of

from .conftest import HEAD, Runs

GPU = DeviceInfo(DeviceId("cuda", 0), "NVIDIA T4", "gpu", "torch")
POCL = DeviceInfo(DeviceId("opencl", 0), "pthread", "stand-in", "opencl", why_stand_in="OpenCL on the CPU")


def faster(times: float, device: DeviceInfo = GPU) -> Profile:
    profile = profile_of([times] * 3, [1.0] * 3)
    return replace(profile, gpu=replace(profile.gpu, device=device))


@pytest.mark.parametrize(
    ("profiles", "text"),
    [
        ([], ""),
        ([faster(5.123)], "5.12x"),
        ([faster(0.2)], "0.2x"),
        ([faster(4.96)], "4.96x"),
        ([faster(128.4)], "128x"),
        ([faster(12.0), faster(5.1), faster(7.0)], "5.1x to 12x"),
        ([faster(5.1), faster(5.1001)], "5.1x"),
        ([faster(2.0, POCL)], "2x, OpenCL on the CPU"),
        ([faster(2.0, POCL), faster(3.0, POCL)], "2x to 3x, OpenCL on the CPU"),
        ([faster(2.0, POCL), faster(30.0)], "2x to 30x, partly OpenCL on the CPU"),
    ],
)
def test_speedups_of_a_test(profiles: list[Profile], text: str) -> None:
    """With the digits of the table, so that none is rounded onto its limit; of several, the least and the greatest."""
    assert speedups(profiles) == text


def test_a_profile_without_a_speedup_says_nothing() -> None:
    """Nor does it take part in the range of the others."""
    alone = replace(faster(5.0), cpu=profile_of([1.0], [1.0]).reference)
    assert speedups([alone]) == ""
    assert speedups([alone, faster(3.0)]) == "3x"


TESTS = """
def test_met(gpu_profile):
    gpu_profile(fast).require(min_speedup=5)

@pytest.mark.gpu_budget(min_speedup=5)
def test_missed(gpu_profile):
    gpu_profile(slow)

def test_several(gpu_profile):
    gpu_profile(fast)
    gpu_profile(slow)

def test_plain():
    pass

@pytest.mark.gpu_budget(max_gpu_memory="2 MiB")
def test_memory_only(gpu_profile):
    gpu_profile(hungry)

def test_skips_itself(gpu_profile):
    gpu_profile(fast)
    pytest.skip("enough")

@pytest.mark.xfail(strict=False)
def test_expected(gpu_profile):
    gpu_profile(fast)
    assert False

@pytest.mark.xfail(strict=False)
def test_unexpected(gpu_profile):
    gpu_profile(fast)
"""

WORDS = {
    "test_met": r"PASSED \(20x, simulated\)",
    "test_missed": r"FAILED \(0\.\d+x, simulated\)",
    "test_several": r"PASSED \(0\.\d+x to 20x, simulated\)",
    "test_plain": "PASSED",
    "test_memory_only": "PASSED",
    "test_skips_itself": r"SKIPPED \(enough\)",
    "test_expected": "XFAIL",
    "test_unexpected": "XPASS",
}


@pytest.mark.parametrize("args", [["-v"], ["-vv"], ["-v", "-s"], ["-v", "-o", "console_output_style=count"]])
def test_the_speedup_stands_beside_the_outcome(runs: Runs, args: list[str]) -> None:
    """Of tests that measured one and passed or failed; what else an outcome is called stays as it is."""
    result = runs(TESTS, *args)
    shown = result.stdout.str()
    for test, word in WORDS.items():
        assert re.search(rf"^test_it.py::{test} {word} *(\[.*\])?$", shown, re.MULTILINE), test
    result.assert_outcomes(passed=4, failed=1, skipped=1, xfailed=1, xpassed=1)


def test_the_short_summary_stays_as_it_is(runs: Runs) -> None:
    """Programs read it."""
    result = runs(TESTS, "-v", "-rA")
    result.stdout.fnmatch_lines(["PASSED test_it.py::test_met", "FAILED test_it.py::test_missed - *"])
    assert "ED (" not in result.stdout.str().partition("short test summary")[2]


@pytest.mark.parametrize("args", [[], ["-q"], ["-o", "verbosity_test_cases=0", "-v"]])
def test_dots_are_dots(runs: Runs, args: list[str]) -> None:
    """Where pytest writes no words, nothing is added."""
    result = runs(TESTS, *args)
    assert "PASSED" not in result.stdout.str()
    result.assert_outcomes(passed=4, failed=1, skipped=1, xfailed=1, xpassed=1)


def test_off_means_off(runs: Runs) -> None:
    """A run that measures nothing shows none."""
    runs(TESTS, "-v", on=False).stdout.no_fnmatch_line("*PASSED (*")


def test_a_rerun_is_one(runs: Runs) -> None:
    """Its last attempt has the speedup of that attempt."""
    pytest.importorskip("pytest_rerunfailures")
    result = runs(
        """
attempts = []

def test_a(gpu_profile):
    gpu_profile(fast if attempts else slow)
    attempts.append(1)
    assert len(attempts) > 1
""",
        "-v", "--reruns=1", subprocess=True,
    )  # fmt: skip
    result.stdout.fnmatch_lines(["test_it.py::test_a RERUN *", "test_it.py::test_a PASSED (20x, simulated) *"])


def test_subtests_are_not_the_test(runs: Runs) -> None:
    """Their reports are copies of the test's."""
    if not hasattr(pytest, "Subtests"):
        pytest.skip("subtests came with pytest 9.0")
    result = runs(
        """
def test_a(gpu_profile, subtests):
    with subtests.test("part"):
        gpu_profile(fast)
    with subtests.test("other"):
        assert False
""",
        "-v",
    )
    shown = result.stdout.str()
    assert shown.count("(20x, simulated)") == 1
    assert re.search(r"^test_it.py::test_a FAILED \(20x, simulated\)", shown, re.MULTILINE)


def test_under_xdist_the_controller_tells(runs: Runs) -> None:
    """The record crosses with the report."""
    pytest.importorskip("xdist")
    shown = runs(TESTS, "-v", "-n1", subprocess=True).stdout.str()
    assert re.search(r"^\[gw0\] \[ *\d+%\] PASSED \(20x, simulated\) test_it.py::test_met", shown, re.MULTILINE)
    assert re.search(r"^\[gw0\] \[ *\d+%\] PASSED test_it.py::test_plain", shown, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals on Windows")
def test_the_right_column_stays_aligned(pytester: pytest.Pytester) -> None:
    """On a real terminal, whatever is added to the words."""
    from tests.screens import pytest_on

    file: Path = pytester.path / "test_it.py"
    file.write_text(HEAD + TESTS, encoding="utf-8")
    with pytest_on(pytester.path, "-v", columns=90) as screen:
        rows = [row for row in screen.until_end() if row.startswith("test_it.py::") and row.endswith("%]")]
    assert len(rows) == len(WORDS)
    assert {len(row) for row in rows} == {89}
