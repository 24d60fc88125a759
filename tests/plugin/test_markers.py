"""Markers and the ini's budgets: what is wrong fails that test at setup, and what is right is merged."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import HEAD, Runs, machine, text_of

BUDGET_MISTAKES = {
    "min_spedup=5": "'min_spedup' is no budget; did you mean 'min_speedup'?",
    "frobnicate=5": "'frobnicate' is no budget; there are min_speedup",
    "5": "the gpu_budget marker takes keywords only, and got 5",
    "min_speedup=float('nan')": "min_speedup is nan, which is not a finite number",
    "min_speedup=float('inf')": "min_speedup is inf, which is not a finite number",
    "min_speedup=-1": "min_speedup is -1, which is negative",
    "min_speedup=0": "min_speedup is 0, which nothing can meet or miss",
    "min_speedup=True": "min_speedup is True, which is not a quantity",
    "min_speedup=[5]": "min_speedup is [5], which is not a quantity",
    "max_gpu_time='5'": "max_gpu_time is '5', which has no unit",
    "max_gpu_time='5 J'": "max_gpu_time is '5 J', which has the unit 'J', which does not fit",
    "max_gpu_memory='much'": "max_gpu_memory is 'much', which is not a number with a unit",
    "min_speedup={}": "min_speedup is an empty mapping",
    "min_speedup={'T4': -1}": "min_speedup['T4'] is -1, which is negative",
    "min_speedup={4: 1}": "min_speedup has the key 4",
    "min_speedup=5, stat='average'": "stat='average' of min_speedup is unknown",
    "min_speedup=5, stat='p95'": "percentiles exist for max_gpu_time and max_cpu_time only",
    "min_speedup=5, confidence=2": "confidence=2 of min_speedup",
    "min_speedup=5, enforce='no'": "enforce='no' of min_speedup",
    "min_speedup=5, reason=3": "reason=3 of min_speedup",
}
PROFILE_MISTAKES = {
    "rouns=5": "the gpu_profile marker has no keyword 'rouns'; did you mean 'rounds'?",
    "'matmul'": "the gpu_profile marker takes keywords only, and got 'matmul'",
}
MISTAKES = [f"gpu_budget({each})" for each in BUDGET_MISTAKES] + [f"gpu_profile({each})" for each in PROFILE_MISTAKES]
SENTENCES = [*BUDGET_MISTAKES.values(), *PROFILE_MISTAKES.values()]

WRONG_AND_RIGHT = """
import pathlib

@pytest.fixture
def touched():
    pathlib.Path("touched").touch()

@pytest.mark.{marker}
def test_wrong(touched, gpu_profile):
    gpu_profile(fast)

def test_right(gpu_profile):
    gpu_profile(fast)
"""


@pytest.mark.parametrize(("marker", "sentence"), list(zip(MISTAKES, SENTENCES, strict=True)), ids=MISTAKES)
def test_a_mistake_in_a_marker_fails_its_test_at_setup(runs: Runs, marker: str, sentence: str) -> None:
    """What cannot be meant fails that test before its fixtures are set up, with one sentence; the others run."""
    result = runs(WRONG_AND_RIGHT.format(marker=marker))
    result.assert_outcomes(passed=1, errors=1)
    assert "ERROR at setup of test_wrong" in text_of(result)
    assert sentence in text_of(result)
    assert not (runs.path / "touched").exists()


@pytest.mark.parametrize("marker", MISTAKES[:3])
def test_a_mistake_in_a_marker_fails_its_test_in_a_plain_run(runs: Runs, marker: str) -> None:
    """A run that measures nothing tells it too, so that it is not found in the gate only."""
    result = runs(WRONG_AND_RIGHT.format(marker=marker), on=False)
    result.assert_outcomes(passed=1, errors=1)
    assert SENTENCES[MISTAKES.index(marker)] in text_of(result)


@pytest.mark.parametrize("on", [True, False])
def test_the_markers_are_known(runs: Runs, on: bool) -> None:
    """With --strict-markers they are no error, whether or not anything is measured."""
    result = runs(
        """
@pytest.mark.gpu_profile(rounds=3)
@pytest.mark.gpu_budget(min_speedup=5)
def test_a(gpu_profile):
    gpu_profile(fast)
""",
        "--strict-markers",
        on=on,
    )
    result.assert_outcomes(passed=1)


def test_the_markers_are_listed(runs: Runs) -> None:
    """``pytest --markers`` tells both with their keywords."""
    shown = text_of(runs("", "--markers", on=False))
    assert "@pytest.mark.gpu_profile(*, name, devices, backend, cpu, reference, check" in shown
    assert "@pytest.mark.gpu_budget(*, min_speedup" in shown


LIMITS = """
pytestmark = pytest.mark.gpu_budget({module})

@pytest.mark.gpu_budget({cls})
class TestOne:
    @pytest.mark.gpu_budget({function})
    def test_it(self, gpu_profile):
        gpu_profile(fast)
"""


def limits(
    runs: Runs, *, ini: str = "", module: str = "", cls: str = "", function: str = ""
) -> list[tuple[str, float | None]]:
    """Return the budgets and limits that bind a test with these markers."""
    if ini:
        runs.pytester.makeini(f"[pytest]\ngpu_profile_budgets =\n  test_it.py: {ini}\n")
    (record,) = runs.records(LIMITS.format(module=module, cls=cls, function=function))
    return [(verdict["budget"], verdict["limit"]) for verdict in record["verdicts"]]


@pytest.mark.parametrize(
    ("markers", "found"),
    [
        ({"ini": "min_speedup=2"}, [("min_speedup", 2)]),
        ({"ini": "min_speedup=2", "module": "min_speedup=3"}, [("min_speedup", 3)]),
        ({"ini": "min_speedup=2", "module": "min_speedup=3", "cls": "min_speedup=4"}, [("min_speedup", 4)]),
        (
            {"ini": "min_speedup=2", "module": "min_speedup=3", "cls": "min_speedup=4", "function": "min_speedup=5"},
            [("min_speedup", 5)],
        ),
        ({"module": "min_speedup=3", "function": "max_gpu_time=9"}, [("min_speedup", 3), ("max_gpu_time", 9)]),
        ({"module": "min_speedup=3", "function": "min_speedup=None"}, []),
        ({"ini": "min_speedup=2", "cls": "min_speedup=None"}, []),
        ({"cls": "min_speedup=None", "function": "min_speedup=5"}, [("min_speedup", 5)]),
        (
            {"module": "min_speedup=3", "function": "min_speedup=5, stat='mean'"},
            [("min_speedup", 3), ("min_speedup", 5)],
        ),
    ],
)
def test_budgets_merge_by_keyword_and_stat(runs: Runs, markers: dict[str, str], found: list[Any]) -> None:
    """The function's go over the class's, over the module's, over the ini's; ``None`` cancels."""
    assert limits(runs, **markers) == found


def test_profile_markers_merge(runs: Runs) -> None:
    """The function's options go over the module's, and a call's own over both."""
    records = runs.records(
        """
pytestmark = pytest.mark.gpu_profile(rounds=7, items=10)

@pytest.mark.gpu_profile(rounds=5)
def test_marked(gpu_profile):
    gpu_profile(fast)

def test_said(gpu_profile):
    gpu_profile(fast, rounds=3)

def test_module(gpu_profile):
    gpu_profile(fast)
"""
    )
    assert [len(record["legs"]["gpu"]["rounds"]) for record in records] == [5, 3, 7]
    assert [record["work"]["items"] for record in records] == [10, 10, 10]


def test_reason_and_stat_bind_to_their_own_marker(runs: Runs) -> None:
    """A reason is printed with the limits of its marker only."""
    result = runs(
        """
pytestmark = pytest.mark.gpu_budget(min_speedup=50, reason="users wait for it")

@pytest.mark.gpu_budget(max_gpu_time="10 us", reason="one frame")
def test_it(gpu_profile):
    gpu_profile(fast)
"""
    )
    told = result.stdout.str().splitlines()
    assert any("min_speedup 50x" in line and "users wait for it" in line and "one frame" not in line for line in told)
    assert any("max_gpu_time 10 µs" in line and "one frame" in line and "wait" not in line for line in told)


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*", 4),
        ("test_it.py", 4),
        ("*it.py", 4),
        ("test_it.py::test_size", 3),
        ("test_it.py::test_s*", 3),
        ("test_it.py::test_size[1]", 1),
        ("test_it.py::test_size[[]", 1),
        ("test_it.py::test_size[n=1]", 1),
        ("test_size[*", 3),
        ("test_it.py::TestA::test_b", 1),
        ("TestA::*", 1),
        ("test_size[1-3]", 0),
        ("other.py", 0),
    ],
)
def test_a_pattern_of_the_ini_means_tests(runs: Runs, pattern: str, meant: int) -> None:
    """A pattern is matched against the node id and its parts; ``*`` is anything, and ``[`` is itself."""
    runs.pytester.makeini(f"[pytest]\ngpu_profile_budgets =\n  {pattern}: min_speedup=5\n")
    result = runs(
        """
@pytest.mark.parametrize("n", ["1", "[", "n=1"])
def test_size(gpu_profile, n):
    gpu_profile(fast)

class TestA:
    def test_b(self, gpu_profile):
        gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=4)
    assert f"budgets: {meant} met, 0 missed, 0 inconclusive, 0 not enforced" in text_of(result)


def test_a_folder_with_an_at_sign_is_matched(runs: Runs) -> None:
    """Only xdist's group at the end of a node id is cut off."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets =\n  v1@old/*: min_speedup=5\n")
    folder = runs.path / "v1@old"
    folder.mkdir()
    (folder / "test_it.py").write_text(HEAD + "def test_a(gpu_profile):\n    gpu_profile(fast)\n", encoding="utf-8")
    result = runs("", "v1@old")
    assert "budgets: 1 met" in text_of(result)


def test_a_wrong_budget_in_the_ini_fails_the_tests_it_means(runs: Runs) -> None:
    """A misspelt keyword in the ini fails the tests that it binds at setup, and no other."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets =\n  *::test_a: min_spedup=5\n")
    result = runs(
        """
def test_a(gpu_profile):
    gpu_profile(fast)

def test_b(gpu_profile):
    gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    assert "did you mean 'min_speedup'?" in text_of(result)


@pytest.mark.parametrize(
    ("card", "uuid", "limit", "found"),
    [
        ("NVIDIA T4", None, "{'T4': 5}", 5),
        ("NVIDIA T400", None, "{'T4': 5}", None),
        ("NVIDIA T400", None, "{'T4': 5, '*': 2}", 2),
        ("NVIDIA GeForce RTX 4090", None, "{'RTX 4090': 5}", 5),
        ("NVIDIA GeForce RTX 4090", None, "{'RTX': 4, 'RTX 4090': 5, '*': 2}", 5),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, "{'RTX 4090': 5, 'RTX 4090 Laptop GPU': 3}", 3),
        ("NVIDIA GeForce RTX 40", None, "{'RTX 4090': 5}", None),
        ("NVIDIA H200 MIG 1g.18gb", "MIG-1", "{'H200': 5}", None),
        ("NVIDIA H200 MIG 1g.18gb", "MIG-1", "{'H200': 5, 'MIG 1g.18gb': 3}", 3),
        ("NVIDIA H200", None, "{'H200': 5, 'MIG 1g.18gb': 3}", 5),
        ("NVIDIA H200", None, "{'*': 2}", 2),
    ],
)
def test_a_limit_by_device_name(runs: Runs, card: str, uuid: str | None, limit: str, found: float | None) -> None:
    """A key matches whole words of the device's name, the longest wins, and a MIG slice is none of its card."""
    (record,) = runs.records(
        f"""
@pytest.mark.gpu_budget(min_speedup={limit})
def test_it(gpu_profile):
    gpu_profile(fast)
""",
        conftest=machine(f"name={card!r}", uuid=uuid),
        devices=None,
    )
    (verdict,) = record["verdicts"]
    assert verdict["limit"] == found
    assert verdict["outcome"] == ("not enforced" if found is None else "met")


@pytest.mark.parametrize("strict", [[], ["--gpu-profile-strict"]])
def test_a_device_that_no_key_matches_is_counted(runs: Runs, strict: list[str]) -> None:
    """Without a match the budget is not enforced: the test passes, and the summary says so."""
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup={'H200': 500})
def test_it(gpu_profile):
    gpu_profile(fast).require(max_gpu_time=1)
""",
        *strict,
    )
    result.assert_outcomes(passed=1)
    assert "min_speedup is not enforced: none of its keys ('H200') matches 'NVIDIA T4'" in text_of(result)
    assert "budgets: 1 met, 0 missed, 0 inconclusive, 1 not enforced" in text_of(result)


FORMS = {
    "async def test_it(gpu_profile_device): return lambda: None": "an async test cannot be measured",
    "async def test_it(gpu_profile_device): yield lambda: None": "an async test cannot be measured",
    "def test_it(gpu_profile_device, thing): return lambda: None": "the fixture 'thing' requests gpu_profile_device",
    "def test_it(thing): return lambda: None": "the fixture 'thing' requests gpu_profile_device",
    "@pytest.mark.usefixtures('gpu_profile_device')\ndef test_it(): pass": "does not request gpu_profile_device itself",
    "import unittest\nclass TestIt(unittest.TestCase):\n    @pytest.mark.gpu_budget(min_speedup=5)\n"
    "    def test_it(self): pass": "a method of unittest.TestCase cannot be measured",
    "import unittest\n@pytest.mark.usefixtures('gpu_profile')\nclass TestIt(unittest.TestCase):\n"
    "    def test_it(self): pass": "a method of unittest.TestCase cannot be measured",
}


@pytest.mark.parametrize(("code", "sentence"), list(FORMS.items()))
def test_a_test_that_cannot_be_measured_says_so(runs: Runs, code: str, sentence: str) -> None:
    """A test of a form that cannot be measured fails at setup with one sentence; the others run."""
    source = f"""
@pytest.fixture
def thing(gpu_profile_device):
    return gpu_profile_device.allocate(3)

{code}

def test_other(gpu_profile):
    gpu_profile(fast)
"""
    result = runs(source)
    result.assert_outcomes(passed=1, errors=1)
    assert sentence in text_of(result)
    result.stdout.no_fnmatch_line("*AttributeError*")


@pytest.mark.parametrize("code", [code for code in FORMS if "unittest" not in code])
def test_a_test_that_cannot_be_measured_says_so_in_a_plain_run(runs: Runs, code: str) -> None:
    """A run that measures nothing tells it too."""
    source = f"""
@pytest.fixture
def thing(gpu_profile_device):
    return gpu_profile_device.allocate(3)

{code}
"""
    result = runs(source, on=False)
    result.assert_outcomes(errors=1)
    assert FORMS[code] in text_of(result)


@pytest.mark.parametrize("on", [True, False])
def test_a_test_that_yields_cannot_be_measured(runs: Runs, on: bool) -> None:
    """A body that yields is refused, by pytest or by us, and never measured."""
    result = runs("def test_it(gpu_profile_device):\n    yield lambda: None", on=on)
    assert result.parseoutcomes().get("passed") is None
    assert result.ret != pytest.ExitCode.OK
