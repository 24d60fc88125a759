"""``--gpu-profile-compare`` and ``max_regression`` from end to end: what is caught, what is not, and what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gpuprof.plugin.comparing import vanished
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.entries import Entry

from .conftest import GPU, Runs, machine, text_of

FACTOR = """
import os

def scaled(device):
    kept = device.allocate(int(2**20 * float(os.environ.get("GROWN", "1"))))
    factor = float(os.environ.get("SLOWER", "1"))
    def work():
        device.run(cpu=20e-3, gpu=1e-3 * factor)
        return kept.nbytes
    return work
"""
"""A workload whose GPU leg takes so many times as long, and takes so many times the memory."""

TEST = f"""
{FACTOR}
def test_it(gpu_profile):
    gpu_profile(scaled)
"""

LATEST = "--gpu-profile-compare=latest"


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes the workload slower by a factor."""
    return lambda factor: monkeypatch.setenv("SLOWER", str(factor))


def runs_before(runs: Runs, count: int, source: str = TEST, conftest: str = GPU) -> None:
    """Run a test so often, and let the store keep it."""
    for seed in range(count):
        runs.on_gpu(source, conftest=seeded(conftest, seed)).assert_outcomes(passed=1)


def seeded(conftest: str, seed: int) -> str:
    """Return a machine whose noise begins elsewhere, as that of another run does."""
    return conftest.replace("seed=3", f"seed={100 + seed}")


# -- what is caught ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "factor"), [(5, 1.2), (20, 1.1)])
def test_a_slowdown_is_caught(runs: Runs, slower: Callable[[float], None], before: int, factor: float) -> None:
    """Five runs show a slowdown of 20 %, twenty one of 10 %; it fails the test after it was measured again."""
    runs_before(runs, before)
    slower(factor)
    result = runs.on_gpu(TEST, LATEST)
    result.assert_outcomes(failed=1)
    shown = text_of(result)
    assert f"of {before} runs (the newest runs), which misses max_regression 5%" in shown
    assert "measured again" in shown
    assert "compared with the newest runs: 1 regressed" in shown


def test_equal_runs_are_not_reported(runs: Runs) -> None:
    """Run after run of the same work, each compared with those before it, none differs."""
    runs_before(runs, 1)
    for seed in range(1, 12):
        result = runs.on_gpu(TEST, LATEST, conftest=seeded(GPU, seed))
        result.assert_outcomes(passed=1)
        assert "compared with the newest runs: 1 same" in text_of(result)


def test_a_regression_does_not_become_what_is_compared_with(runs: Runs, slower: Callable[[float], None]) -> None:
    """The run that failed is kept, and is no baseline for the next, which fails like it."""
    runs_before(runs, 5)
    slower(1.25)
    for _ in range(3):
        result = runs.on_gpu(TEST, LATEST)
        result.assert_outcomes(failed=1)
        assert "of 5 runs" in text_of(result)


def test_an_improvement_passes_and_is_told(runs: Runs, slower: Callable[[float], None]) -> None:
    """Better is no failure; that it should be accepted is said."""
    runs_before(runs, 5)
    slower(0.7)
    result = runs.on_gpu(TEST, LATEST)
    result.assert_outcomes(passed=1)
    assert "compared with the newest runs: 1 improved" in text_of(result)


def test_what_is_not_so_again_is_noise(runs: Runs) -> None:
    """A slowdown that is gone when it is measured again does not fail the test: inconclusive, and called noisy."""
    source = f"""
{FACTOR}
builds = []

def hiccup(device):
    builds.append(device)
    first = len(builds) <= int(os.environ.get("HICCUP", "0"))
    return lambda: device.run(cpu=20e-3, gpu=1.5e-3 if first else 1e-3)

def test_it(gpu_profile):
    gpu_profile(hiccup)
"""
    runs_before(runs, 5, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HICCUP", "2")  # both legs of the first measurement
        result = runs.on_gpu(source, LATEST)
    result.assert_outcomes(passed=1)
    shown = text_of(result)
    assert "too noisy" in shown
    assert "compared with the newest runs: 1 noisy" in shown


def test_memory_is_compared_when_it_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--gpu-profile-compare-figures`` compares what it names, and measures it."""
    figures = "--gpu-profile-compare-figures=gpu_time,gpu_memory"
    for _ in range(2):
        runs.on_gpu(TEST, LATEST, figures).assert_outcomes(passed=1)
    monkeypatch.setenv("GROWN", "1.1")
    result = runs.on_gpu(TEST, LATEST, figures)
    result.assert_outcomes(failed=1)
    shown = text_of(result)
    assert "GPU memory 1.1 MiB is 10% above the 1 MiB of 2 runs" in shown
    assert "compared with the newest runs: 1 regressed, 1 same" in shown


def test_the_limit_can_be_set(runs: Runs, slower: Callable[[float], None]) -> None:
    """``--gpu-profile-max-regression`` says how much worse is too much; a marker's own limit goes before it."""
    runs_before(runs, 5)
    slower(1.2)
    marked = TEST.replace("def test_it", "@pytest.mark.gpu_budget(max_regression='5%')\ndef test_it")
    runs.on_gpu(marked, LATEST, "--gpu-profile-max-regression=30%").assert_outcomes(failed=1)
    runs.on_gpu(TEST, LATEST, "--gpu-profile-max-regression=30%").assert_outcomes(passed=1)


@pytest.mark.parametrize("limit", ["fast", "-5%", "5 ms"])
def test_a_limit_that_cannot_be_meant_is_told_at_once(runs: Runs, limit: str) -> None:
    """The run ends before anything is measured."""
    result = runs.on_gpu(TEST, LATEST, f"--gpu-profile-max-regression={limit}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*max?regression*"])


def test_a_figure_that_does_not_exist_is_told_at_once(runs: Runs) -> None:
    """With the nearest that does."""
    result = runs.on_gpu(TEST, LATEST, "--gpu-profile-compare-figures=gpu_tme")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*gpu_tme*gpu_time*"])


# -- what there is nothing to compare with ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "outcome"),
    [
        ([], "passed"),
        (["--gpu-profile-missing-baseline=warn"], "passed"),
        (["--gpu-profile-missing-baseline=fail"], "failed"),
        (["--gpu-profile-strict"], "failed"),
        (["--gpu-profile-strict", "--gpu-profile-missing-baseline=warn"], "passed"),
    ],
)
@pytest.mark.parametrize("reference", ["latest", "latest:main", "baseline"])
def test_a_missing_baseline_warns_or_fails(runs: Runs, reference: str, args: list[str], outcome: str) -> None:
    """The first run of a workload is new; whoever wants a gate lets that fail."""
    source = TEST.replace("def test_it", "@pytest.mark.gpu_budget(min_speedup=2)\ndef test_it")
    result = runs.on_gpu(source, f"--gpu-profile-compare={reference}", *args)
    result.assert_outcomes(**{outcome: 1})
    shown = text_of(result)
    assert ": 1 new" in shown
    assert "is not enforced (new)" in shown
    assert ("accept what it is now with pytest-gpuprof accept" in shown) == (reference == "baseline")


def test_another_card_is_incomparable_and_never_fails(runs: Runs) -> None:
    """Not even under strict; what is different is said."""
    source = TEST.replace("def test_it", "@pytest.mark.gpu_budget(min_speedup=2)\ndef test_it")
    runs_before(runs, 2, source)
    result = runs.on_gpu(
        source, LATEST, "--gpu-profile-strict", conftest=machine("name='NVIDIA H200'")
    )  # fmt: skip
    result.assert_outcomes(passed=1)
    shown = text_of(result)
    assert "(incomparable): it is in the newest runs under other conditions only: device was NVIDIA T4" in shown
    assert "pytest-gpuprof accept" not in shown  # which is about the file
    assert "compared with the newest runs: 1 incomparable" in shown


def test_who_asks_for_a_comparison_gets_a_run_that_measures(runs: Runs) -> None:
    """On the command line, as --gpu-profile-strict does: it would pass by not running; in ini it switches nothing."""
    shown = text_of(runs.on_gpu(TEST, LATEST, on=False))
    assert "compared with the newest runs, of which there is none yet: 1 new" in shown
    (runs.path / "pytest.ini").write_text("[pytest]\ngpu_profile_compare = latest\n", encoding="ascii")
    assert "compared with" not in text_of(runs.on_gpu(TEST, on=False))


def test_a_budget_without_the_option_is_judged_by_the_baselines(runs: Runs, slower: Callable[[float], None]) -> None:
    """``max_regression`` in a marker compares with the file, whatever the store holds."""
    source = TEST.replace("def test_it", "@pytest.mark.gpu_budget(max_regression='5%')\ndef test_it")
    result = runs.on_gpu(source)
    result.assert_outcomes(passed=1)
    assert "(new): there is no gpuprof-baselines.json" in text_of(result)
    accept(runs)
    runs.on_gpu(source).assert_outcomes(passed=1)
    slower(1.3)
    result = runs.on_gpu(source)
    result.assert_outcomes(failed=1)
    assert "of 1 run (gpuprof-baselines.json), which misses max_regression 5%" in text_of(result)


def accept(runs: Runs, test: str = "test_it.py::test_it", name: str = "scaled") -> None:
    """Accept the workload of this folder as a millisecond, under the conditions of this machine."""
    exported = runs.on_gpu(TEST, "--gpu-profile-export=json:now.json")
    exported.assert_outcomes(passed=1)
    conditions = runs.exported("now.json")["records"][0]["conditions"]
    Baselines(runs.path / "gpuprof-baselines.json").accept([Entry(test, name, "gpu_time", conditions, (1e-3,))])


# -- references -------------------------------------------------------------------------------------------------------


def test_a_file_is_compared_with(runs: Runs, slower: Callable[[float], None]) -> None:
    """An export of another run is a reference of one run."""
    runs.on_gpu(TEST, "--gpu-profile-export=json:base.json").assert_outcomes(passed=1)
    result = runs.on_gpu(TEST, "--gpu-profile-compare=base.json")
    result.assert_outcomes(passed=1)
    assert "compared with base.json: 1 same" in text_of(result)
    slower(1.3)
    runs.on_gpu(TEST, "--gpu-profile-compare=base.json").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("gone.json", "*there is no file gone.json to compare with*"),
        ("0123456789ab", "*there is no run 0123456789ab*"),
        ("broken.json", "*broken.json is not JSON*"),
    ],
)
def test_a_reference_that_means_nothing_is_told_at_once(runs: Runs, reference: str, told: str) -> None:
    """The run ends before anything is measured."""
    (runs.path / "broken.json").write_text("{", encoding="utf-8")
    result = runs.on_gpu(TEST, f"--gpu-profile-compare={reference}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


def test_a_damaged_file_of_baselines_is_told_at_once(runs: Runs) -> None:
    """With its line and what to do, also without the option: a budget may rest on it."""
    (runs.path / "gpuprof-baselines.json").write_text("{\n<<<<<<< HEAD\n", encoding="utf-8")
    result = runs.on_gpu(TEST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*merge conflict in line 2*"])


# -- what is gone -----------------------------------------------------------------------------------------------------


def test_a_renamed_test_is_told_with_its_new_name(runs: Runs) -> None:
    """It is new under its new name and gone under the old one, and neither is passed over."""
    runs_before(runs, 2, TEST.replace("test_it", "test_product_large"))
    result = runs.on_gpu(TEST.replace("test_it", "test_product_big"), LATEST)
    result.assert_outcomes(passed=1)
    shown = text_of(result)
    assert "compared with the newest runs: 1 new" in shown
    assert "gone: test_it.py::test_product_large scaled" in shown
    assert "test_it.py::test_product_big" in shown.partition("gone:")[2]


def test_what_was_left_out_is_not_gone(runs: Runs) -> None:
    """``-k`` and single tests on the command line leave tests out; those are still there."""
    source = TEST + "\ndef test_other(gpu_profile):\n    gpu_profile(scaled)\n"
    runs.on_gpu(source).assert_outcomes(passed=2)
    for args in (["-k", "other"], ["test_it.py::test_other"], ["--deselect", "test_it.py::test_it"]):
        result = runs.on_gpu(source, LATEST, *args)
        assert result.parseoutcomes()["passed"] == 1
        assert "gone: " not in text_of(result), args
        runs.on_gpu(source).assert_outcomes(passed=2)


def test_workers_tell_what_they_found(runs: Runs) -> None:
    """Under xdist too, a vanished test is told, and a comparison is made."""
    pytest.importorskip("xdist")
    source = TEST + "\ndef test_other(gpu_profile):\n    gpu_profile(scaled)\n"
    runs.on_gpu(source, "-n2", subprocess=True).assert_outcomes(passed=2)
    result = runs.on_gpu(source.replace("test_other", "test_another"), LATEST, "-n2", subprocess=True)
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    assert "compared with the newest runs: 1 new, 1 same" in shown
    assert "gone: test_it.py::test_other scaled" in shown


@pytest.mark.parametrize(
    ("tests", "measured", "whole", "expected"),
    [
        ({"a.py::x"}, {"a.py::x": {"w"}}, True, []),
        ({"a.py::x"}, {"a.py::x": {"v"}}, True, [("a.py::x", "w")]),
        ({"a.py::x"}, {}, True, []),  # skipped, or not chosen: still there
        (set(), {}, True, [("a.py::x", "w")]),
        (set(), {}, False, []),
    ],
)
def test_what_has_vanished(
    tests: set[str], measured: dict[str, set[str]], whole: bool, expected: list[tuple[str, str]]
) -> None:
    """A test that is not there any more, or a profile of a test that measured others."""
    assert vanished([("a.py::x", "w")], tests, measured, lambda path: whole) == expected


def test_what_was_compared_is_in_the_record(runs: Runs) -> None:
    """The values it was compared with are kept, so that the record can be judged again."""
    runs_before(runs, 2)
    runs.on_gpu(TEST, LATEST, "--gpu-profile-export=json:out.json").assert_outcomes(passed=1)
    (record,) = json.loads(Path(runs.path / "out.json").read_text(encoding="utf-8"))["records"]
    assert len(record["baselines"]["gpu_time"]["values"]) == 2
    assert [each["change"] for each in record["verdicts"]] == ["same"]


def test_what_is_gone_is_in_the_document_and_on_the_page_of_ci(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The terminal is not where a team looks for what left the gate."""
    runs_before(runs, 2, TEST.replace("test_it", "test_product_large"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    source = TEST.replace("test_it", "test_product_big")
    runs.on_gpu(source, LATEST, "--gpu-profile-export=json:out.json").assert_outcomes(passed=1)
    compared = runs.exported("out.json")["comparison"]
    assert (compared["reference"], compared["changes"]) == ("the newest runs", {"new": 1})
    (gone,) = compared["gone"]
    assert gone.startswith("gone: test_it.py::test_product_large scaled is in the newest runs")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "compared with the newest runs: 1 new" in summary
    assert "gone: test" in summary
