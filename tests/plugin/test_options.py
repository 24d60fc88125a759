"""Options: on the command line, in ini and in TOML; what is wrong in one is told before any test runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_gpuprof.plugin.hooks import OPTIONS
from pytest_gpuprof.plugin.settings import Export, Settings, budget_rules

from .conftest import Runs, text_of

NATIVE_TOML = pytest.version_tuple >= (9, 0)
"""Whether this pytest reads ``pytest.toml``, where values have types."""


@dataclass(frozen=True)
class Case:
    """One option: what a person writes, and what the settings then say."""

    value: Any
    other: Any
    told: Callable[[Settings], Any]
    expected: Any
    type: str = "text"

    def flag(self, name: str, value: Any) -> list[str]:
        return [f"--gpu-profile-{name}"] if self.type == "bool" else [f"--gpu-profile-{name}={value}"]

    def ini(self, value: Any) -> str:
        return str(value).lower() if self.type == "bool" else str(value)

    def toml(self, value: Any) -> str:
        """Return the value as TOML of its own type."""
        return json.dumps([value] if self.type == "list" else value)


CASES = {
    "only": Case(True, False, lambda s: s.only, True, "bool"),
    "plan": Case(True, False, lambda s: s.plan_only, True, "bool"),
    "devices": Case("cuda:0,cuda:1", "opencl:0", lambda s: s.devices, ("cuda:0", "cuda:1")),
    "backend": Case("torch", "cupy", lambda s: s.backend, "torch"),
    "metrics": Case("time, energy", "memory", lambda s: s.metrics, ("time", "energy")),
    "energy": Case("quick", "strict", lambda s: (s.plan.window_s, s.plan.trials, s.plan.settle_s), (2.0, 3, 2.0)),
    "rounds": Case(7, 9, lambda s: (s.plan.min_rounds, s.plan.max_rounds), (7, 7)),
    "min-rounds": Case(5, 9, lambda s: s.plan.min_rounds, 5),
    "max-time": Case(1.5, 9.0, lambda s: s.plan.max_time_s, 1.5),
    "session-time": Case(90.0, 9.0, lambda s: s.session_time_s, 90.0),
    "warmup": Case(0.5, 9.0, lambda s: s.plan.warmup_cap_s, 0.5),
    "cache": Case("cold", "hot", lambda s: s.plan.cache, "cold"),
    "inconclusive": Case("fail", "skip", lambda s: s.inconclusive, "fail"),
    "unavailable": Case("warn", "fail", lambda s: s.unavailable, "warn"),
    "strict": Case(True, False, lambda s: (s.strict, s.inconclusive, s.unavailable), (True, "fail", "fail"), "bool"),
    "export": Case("json:a.json", "json:b.json", lambda s: s.exports, (Export("json", "a.json"),), "list"),
    "html": Case("a.html", "b.html", lambda s: s.exports, (Export("html", "a.html"),)),
    "peaks": Case(
        "H200: bandwidth=4.8 TB/s", "T4: fp32=8 TFLOP/s", lambda s: s.peaks, {"H200": {"bandwidth": "4.8 TB/s"}}, "list"
    ),
    "columns": Case("cpu,verdict", "gpu", lambda s: s.columns, ("cpu", "verdict")),
    "sort": Case("speedup", "time", lambda s: s.sort, "speedup"),
    "group-by": Case("file", "device", lambda s: s.group_by, "file"),
    "xdist": Case("assign", "off", lambda s: s.xdist, "assign"),
    "store": Case("a.sqlite3", "none", lambda s: s.store, "a.sqlite3"),
    "baselines": Case("a.json", "b.json", lambda s: s.baselines, "a.json"),
    "compare": Case("latest:main", "baseline", lambda s: s.compare, "latest:main"),
    "compare-figures": Case("gpu_time,energy", "speedup", lambda s: s.compare_figures, ("gpu_time", "energy")),
    "max-regression": Case("10%", "20%", lambda s: s.max_regression, "10%"),
    "missing-baseline": Case("fail", "warn", lambda s: s.missing_baseline, "fail"),
    "changed-since": Case("main", "HEAD~3", lambda s: s.changed_since, "main"),
    "from": Case("a.json", "b.json", lambda s: s.evidence, "a.json"),
    "progress": Case("off", "auto", lambda s: s.progress, False),
    "github": Case("off", "auto", lambda s: s.github, False),
}


@pytest.fixture(autouse=True)
def _surroundings(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What some options need to be heard: GitHub Actions, and a git repository with a branch ``main``."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    if "changed-since" in request.node.name:
        git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
        for words in (("init", "--quiet", "--initial-branch=main"), ("commit", "--quiet", "--allow-empty", "-m", "x")):
            subprocess.run([*git, *words], cwd=pytester.path, check=True)


def settings(pytester: pytest.Pytester, *args: str) -> Settings:
    # Some options ask git, or read a file, when they switch measuring on.
    return Settings.of(pytester.parseconfigure(*args, "--no-gpu-profile"))


def test_every_option_is_tested_here() -> None:
    """No option is left out of this file."""
    assert set(CASES) == {name for name, *_ in OPTIONS}


@pytest.mark.parametrize("name", CASES)
def test_an_option_is_heard_on_the_command_line(pytester: pytest.Pytester, name: str) -> None:
    """An option on the command line reaches the settings."""
    case = CASES[name]
    assert case.told(settings(pytester, *case.flag(name, case.value))) == case.expected


@pytest.mark.parametrize("name", CASES)
def test_an_option_is_heard_in_the_ini(pytester: pytest.Pytester, name: str) -> None:
    """Its ini twin, with underscores, reaches the settings when the command line is silent."""
    case = CASES[name]
    pytester.makeini(f"[pytest]\ngpu_profile_{name.replace('-', '_')} = {case.ini(case.value)}\n")
    assert case.told(settings(pytester)) == case.expected


@pytest.mark.skipif(not NATIVE_TOML, reason="pytest.toml came with pytest 9.0")
@pytest.mark.parametrize("name", CASES)
def test_an_option_is_heard_in_toml(pytester: pytest.Pytester, name: str) -> None:
    """In TOML the twin takes the value's own type."""
    case = CASES[name]
    pytester.path.joinpath("pytest.toml").write_text(
        f"[pytest]\ngpu_profile_{name.replace('-', '_')} = {case.toml(case.value)}\n", encoding="utf-8"
    )
    assert case.told(settings(pytester)) == case.expected


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_goes_before_the_ini(pytester: pytest.Pytester, name: str) -> None:
    """What is said on the command line takes the place of what the ini says."""
    case = CASES[name]
    pytester.makeini(f"[pytest]\ngpu_profile_{name.replace('-', '_')} = {case.ini(case.other)}\n")
    assert case.told(settings(pytester, *case.flag(name, case.value))) == case.expected


def test_nothing_is_on_by_default(pytester: pytest.Pytester) -> None:
    """Without options nothing is measured, and nothing is strict, limited or exported."""
    found = settings(pytester)
    assert (found.only, found.plan_only, found.strict, found.workers) == (False, False, False, 0)
    assert (found.devices, found.exports, found.budgets) == ((), (), ())
    assert (found.inconclusive, found.unavailable, found.xdist) == ("warn", None, "lock")
    assert (found.compare, found.changed_since, found.evidence, found.missing_baseline) == (None, None, None, "warn")
    assert (found.store, found.baselines) == (None, "gpuprof-baselines.json")


@pytest.mark.parametrize(
    ("args", "windows"),
    [
        ([], (5.0, 3, 5.0)),
        (["--gpu-profile-strict"], (5.0, 3, 5.0)),
        (["--gpu-profile-strict", "--gpu-profile-energy=strict"], (10.0, 5, 5.0)),
    ],
)
def test_a_gate_measures_energy_no_longer_than_it_is_told(
    pytester: pytest.Pytester, args: list[str], windows: tuple[float, int, float]
) -> None:
    """The standard windows are the default, and strictness about verdicts is another question."""
    plan = settings(pytester, *args).plan
    assert (plan.window_s, plan.trials, plan.settle_s) == windows


def test_an_export_can_be_given_several_times(pytester: pytest.Pytester) -> None:
    """Exports add up, on the command line and as lines of the ini."""
    both = (Export("json", "a.json"), Export("json", "b.json"))
    pytester.makeini("[pytest]\ngpu_profile_export =\n  json:a.json\n  json:b.json\n")
    assert settings(pytester).exports == both
    again = settings(pytester, "--gpu-profile-export=json:a.json", "--gpu-profile-export=json:b.json")
    assert again.exports == both


WRONG = {
    "inconclusive": ("maybe", "'maybe'"),
    "unavailable": ("maybe", "'maybe'"),
    "sort": ("colour", "'colour'"),
    "group-by": ("colour", "'colour'"),
    "xdist": ("maybe", "'maybe'"),
    "metrics": ("time,colour", "there is no metric 'colour'; there are time, memory, energy, net-energy"),
    "energy": ("exact", "'exact'"),
    "columns": ("cpu,colour", "--gpu-profile-columns has 'colour'; it takes cpu, gpu"),
    "rounds": ("0", "--gpu-profile-rounds is 0; it takes a whole number above 0"),
    "min-rounds": ("-3", "--gpu-profile-min-rounds is -3; it takes a whole number above 0"),
    "max-time": ("0", "--gpu-profile-max-time is 0.0; it takes seconds above 0"),
    "session-time": ("nan", "--gpu-profile-session-time is nan; it takes seconds above 0"),
    "warmup": ("inf", "--gpu-profile-warmup is inf; it takes seconds above 0"),
    "peaks": ("H200: speed=3", "the peaks of 'H200' have 'speed'; there are bandwidth, fp64"),
    "export": ("gpu.json", "--gpu-profile-export=gpu.json names no file; write FORMAT:PATH"),
}


def one_sentence(result: pytest.RunResult, sentence: str) -> None:
    """Assert that a run ended at once with a usage error that says this, and shows no traceback."""
    told = result.stderr.str() + result.stdout.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert sentence in told
    assert "Traceback" not in told
    assert "INTERNALERROR" not in told


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_on_the_command_line_is_a_usage_error(runs: Runs, name: str) -> None:
    """A value that cannot be meant ends the run before any test, with one sentence."""
    value, sentence = WRONG[name]
    one_sentence(runs("def test_a(): pass", f"--gpu-profile-{name}={value}"), sentence)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_in_the_ini_is_a_usage_error(runs: Runs, name: str) -> None:
    """The same for the ini."""
    value, sentence = WRONG[name]
    runs.pytester.makeini(f"[pytest]\ngpu_profile_{name.replace('-', '_')} = {value}\n")
    one_sentence(runs("def test_a(): pass"), sentence)


@pytest.mark.parametrize("name", ["rounds", "min-rounds", "max-time", "session-time", "warmup"])
def test_a_word_in_place_of_a_number_is_a_usage_error(runs: Runs, name: str) -> None:
    """A number that is none is refused by its name."""
    one_sentence(runs("def test_a(): pass", f"--gpu-profile-{name}=many"), f"--gpu-profile-{name}")


def test_an_unknown_export_format_lists_those_there_are(runs: Runs) -> None:
    """A format that nobody brings is a usage error."""
    one_sentence(runs("def test_a(): pass", "--gpu-profile-export=xml:a.xml"), "--gpu-profile-export has 'xml'")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("test_it.py", "write PATTERN: keyword=value"),
        ("min_speedup=2", "write PATTERN: keyword=value"),
        ("test_it.py: min_speedup=2, 5", "'5'"),
    ],
)
def test_a_line_of_budgets_of_another_form_is_a_usage_error(runs: Runs, line: str, sentence: str) -> None:
    """Budgets of the ini that cannot be read end the run before any test."""
    runs.pytester.makeini(f"[pytest]\ngpu_profile_budgets =\n  {line}\n")
    one_sentence(runs("def test_a(): pass"), sentence)


@pytest.mark.parametrize(
    "flag", ["--gpu-profile", "--no-gpu-profile", *(f"--gpu-profile-{n}" for n, c in CASES.items() if c.type == "bool")]
)
def test_a_flag_swallows_no_path(pytester: pytest.Pytester, flag: str) -> None:
    """A path behind a flag is still a path."""
    config = pytester.parseconfigure(flag, "sub/test_x.py")
    assert config.args == ["sub/test_x.py"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.type != "bool"])
def test_an_option_with_a_value_requires_it(pytester: pytest.Pytester, name: str) -> None:
    """No option takes a value or not, as it likes: what follows would be swallowed on one day and not on another."""
    with pytest.raises(pytest.UsageError, match="expected one argument"):
        pytester.parseconfig(f"--gpu-profile-{name}")


OFF_SENTENCE = "not judged, because profiling is off: run with --gpu-profile"
BUDGETED = """
@pytest.mark.gpu_budget(min_speedup=5)
def test_budgeted(gpu_profile):
    gpu_profile(fast)

def test_other():
    pass
"""


@pytest.mark.parametrize(
    ("ini", "args", "measures"),
    [
        ("", [], False),
        ("", ["--gpu-profile"], True),
        ("gpu_profile = true", [], True),
        ("gpu_profile = false", ["--gpu-profile"], True),
        ("gpu_profile = true", ["--no-gpu-profile"], False),
        ("gpu_profile_only = true", ["--no-gpu-profile"], False),
        ("", ["--gpu-profile", "--no-gpu-profile"], False),
        ("", ["--no-gpu-profile", "--gpu-profile"], True),
        ("", ["--gpu-profile-only"], True),
    ],
)
def test_who_switches_profiling_on_and_off(runs: Runs, ini: str, args: list[str], measures: bool) -> None:
    """The last word on the command line counts, then the ini."""
    runs.pytester.makeini(f"[pytest]\n{ini}\n")
    shown = text_of(runs(BUDGETED, *args, on=False))
    assert ("budgets: 1 met" in shown) is measures
    assert (OFF_SENTENCE in shown) is not measures


def test_strict_on_the_command_line_measures(runs: Runs) -> None:
    """Who asks for a gate gets one, also without saying --gpu-profile."""
    shown = text_of(runs.on_gpu(BUDGETED, "--gpu-profile-strict", on=False))
    assert "budgets: 1 met" in shown


def test_strict_in_the_ini_leaves_a_plain_run_alone(runs: Runs) -> None:
    """In the ini it says how to gate, and a plain run stays a functional test."""
    runs.pytester.makeini("[pytest]\ngpu_profile_strict = true\n")
    result = runs(BUDGETED, on=False)
    result.assert_outcomes(passed=2)
    assert OFF_SENTENCE in text_of(result)


def test_only_leaves_out_what_has_nothing_to_do_with_us(runs: Runs) -> None:
    """Tests that use a fixture of ours or have a budget are kept, the others are deselected."""
    result = runs(
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_forgot_to_measure():
    pass

def test_measures(gpu_profile):
    gpu_profile(fast)

def test_body(gpu_profile_device):
    return lambda: gpu_profile_device.run(1e-3)

@pytest.mark.parametrize("n", range(3))
def test_other(n):
    pass
""",
        "--gpu-profile-only",
        on=False,
    )
    result.assert_outcomes(passed=2, failed=1, deselected=3)


def test_an_ini_that_is_wrong_fails_the_tests_of_a_plain_run_that_use_it(runs: Runs) -> None:
    """A run without --gpu-profile tells in one sentence what is wrong, and the other tests run."""
    runs.pytester.makeini("[pytest]\ngpu_profile_rounds = 0\n")
    result = runs(
        """
def test_a(gpu_profile):
    gpu_profile(fast)

def test_b(gpu_profile):
    gpu_profile(fast)

def test_c():
    pass
""",
        on=False,
    )
    result.assert_outcomes(passed=1, errors=2)
    assert text_of(result).count("--gpu-profile-rounds is 0; it takes a whole number above 0") >= 2
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("a.py: min_speedup=2", ("a.py", {"min_speedup": 2})),
        ("a.py::test_x: min_speedup=2.5", ("a.py::test_x", {"min_speedup": 2.5})),
        ("a.py::test_x[n=3-[]: min_speedup=2", ("a.py::test_x[n=3-[]", {"min_speedup": 2})),
        ("*: max_gpu_memory=2 GiB, enforce=false", ("*", {"max_gpu_memory": "2 GiB", "enforce": False})),
        ("*: min_speedup=none", ("*", {"min_speedup": None})),
        (
            "*: max_gpu_time=2ms, reason='a: frame, at 60=Hz'",
            ("*", {"max_gpu_time": "2ms", "reason": "a: frame, at 60=Hz"}),
        ),
    ],
)
def test_a_line_of_budgets_is_a_pattern_and_keywords(line: str, rule: tuple[str, dict[str, Any]]) -> None:
    """The pattern may hold colons and equal signs, as node ids do; a value with a comma is quoted."""
    assert budget_rules([line]) == [rule]
