"""What an outsider brings through the hooks works like what the package brings: the abacus, in runs of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import Profiler, call, hookimpl, profile
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.extensions import Extensions

from . import thirdparty

SUM = """
    import pytest
    from abacus import Column
    from pytest_gpuprof import call

    def total(abacus, beads=8):
        column = Column(range(beads))
        return lambda: abacus.add(column, column)
"""


@pytest.fixture
def outsider(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose conftest brings the abacus."""
    (pytester.path / "abacus.py").write_text(Path(thirdparty.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    hooks = [name for name in vars(thirdparty) if name.startswith("pytest_gpuprof_")]
    pytester.makeconftest(f"from abacus import {', '.join(hooks)}")
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester


def run(project: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    project.makepyfile(SUM + body)
    return project.runpytest_subprocess("--gpu-profile", "--gpu-profile-rounds=3", *options)


def run_here(project: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    """Like ``run``, where a process of its own would show nothing more."""
    project.makepyfile(SUM + body)
    return project.runpytest_inprocess("--gpu-profile-rounds=3", *options)


def the_record(project: pytest.Pytester) -> dict[str, Any]:
    (record,) = json.loads((project.path / "out.json").read_text(encoding="utf-8"))["records"]
    assert isinstance(record, dict)
    return record


def test_all_parts_of_an_extension(outsider: pytest.Pytester) -> None:
    """A backend, a meter, a fact, a budget and a format from a conftest: all in one run, all in the record."""
    result = run(
        outsider,
        """
    @pytest.mark.gpu_budget(max_effort="12 mJ", min_speedup=5)
    def test_total(gpu_profile):
        gpu_profile(total)
    """,
        "--gpu-profile-devices=abacus:0",
        "--gpu-profile-export=json:out.json",
        "--gpu-profile-export=tally:out.txt",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*abacus:0 (an abacus)*", "budgets: 2 met, 0 missed, 0 inconclusive, 0 not enforced"])
    record = the_record(outsider)
    assert record["backend"] == "abacus"
    assert record["legs"]["gpu"]["device"]["name"] == "Suanpan 13"
    assert record["legs"]["cpu"]["device"]["name"] == "Ten fingers"
    assert record["environment"]["identity"]["abacus_rods"] == 13
    for leg in ("cpu", "gpu"):
        for taken in record["legs"][leg]["rounds"]:
            assert taken["samples"]["effort"] == pytest.approx([8e-3] * len(taken["samples"]["effort"]))
    assert {verdict["budget"]: verdict["outcome"] for verdict in record["verdicts"]} == {
        "max_effort": "met",
        "min_speedup": "met",
    }
    assert (outsider.path / "out.txt").read_text(encoding="utf-8") == "total: met, met\n"


def test_figures_and_budgets_of_ones_own(outsider: pytest.Pytester) -> None:
    """A metric is read by ``figure()`` and judged by marker, ini and ``require()``, in its unit, under its title."""
    outsider.makeini("[pytest]\npythonpath = .\ngpu_profile_budgets =\n    *test_ini: max_effort=1 mJ\n")
    result = run(
        outsider,
        """
    import operator

    @pytest.mark.gpu_budget(max_effort="5 mJ")
    def test_marker(gpu_profile):
        gpu_profile(total)

    def test_ini(gpu_profile):
        gpu_profile(total)

    def test_body(gpu_profile):
        result = gpu_profile(total, params={"beads": 20})
        assert result.gpu.figure("effort") == pytest.approx(20e-3)
        assert result.cpu.figure("effort") == pytest.approx(20e-3)
        assert result.require(max_effort="30 mJ").verdicts[-1].outcome == "met"
        result.require(max_effort="10 mJ")

    @pytest.mark.gpu_budget(max_efort="1 J")
    def test_misspelt(gpu_profile):
        gpu_profile(total)

    def test_plain_function(gpu_profile):
        result = gpu_profile(call(operator.add, Column([1, 2]), Column([3, 4])))
        assert result.gpu.device.backend == "abacus"
        assert result.output.numbers.tolist() == [4, 6]
        assert result.gpu.figure("effort") == pytest.approx(2e-3)
    """,
        "--gpu-profile-devices=abacus",
    )
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    assert outcomes["failed"] + outcomes.get("errors", 0) == 4
    result.stdout.fnmatch_lines_random(
        [
            "effort 8 mJ (*) misses max_effort 5 mJ *; measured again: 8 mJ",
            "effort 8 mJ (*) misses max_effort 1 mJ *; measured again: 8 mJ",
            "effort 20 mJ (*) misses max_effort 10 mJ *; measured again: 20 mJ",
            "*'max_efort' is no budget; did you mean 'max_effort'?*",
        ]
    )


def test_a_stand_in_that_nobody_named_is_not_judged(outsider: pytest.Pytester) -> None:
    """An outsider's stand-in is treated like the package's."""
    result = run_here(
        outsider,
        """
    @pytest.mark.gpu_budget(max_effort="1 mJ")
    def test_total(gpu_profile):
        gpu_profile(total)
    """,
        "--gpu-profile",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*abacus:0 is a stand-in (an abacus); name it in --gpu-profile-devices to have it judged*",
            "budgets: 0 met, 0 missed, 0 inconclusive, 1 not enforced",
        ]
    )


def test_without_profiling_the_workload_runs_once(outsider: pytest.Pytester) -> None:
    """Plain pytest runs an outsider's workload on its device, unmeasured."""
    result = run_here(
        outsider,
        """
    def test_total(gpu_profile):
        result = gpu_profile(total)
        assert result.output.numbers.tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
        assert result.output.home.moves == 8
    """,
    )
    result.assert_outcomes(passed=1)


def test_an_unknown_format_is_refused_with_those_that_exist(outsider: pytest.Pytester) -> None:
    """The formats of an extension are among them."""
    result = run_here(outsider, "", "--gpu-profile", "--gpu-profile-export=taly:out.txt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gpu-profile-export has 'taly'; it takes *tally*"])


# --- Outside pytest ---------------------------------------------------------------------------------------------------


def total(abacus: thirdparty.Abacus) -> Any:
    column = thirdparty.Column(range(8))
    return lambda: abacus.add(column, column)


def test_an_extension_outside_pytest() -> None:
    """``Profiler(plugins=...)`` takes the same object: figures, budget and facts."""
    run = Profiler(plugins=[thirdparty], devices=["abacus:0"])
    measured = profile(total, profiler=run, rounds=3, devices="abacus:0")
    assert measured.gpu.figure("effort") == pytest.approx(8e-3)
    assert measured.environment.identity["abacus_rods"] == 13
    assert measured.require(max_effort="12 mJ").verdicts[-1].outcome == "met"
    assert measured.speedup == pytest.approx((8 * 20e-6 + 5e-6) / (8 * 1e-6), rel=0.05)


def test_call_finds_the_outsiders_backend_by_its_arrays() -> None:
    """A column as an argument means the abacus."""
    run = Profiler(plugins=[thirdparty])
    (job,) = run.jobs(call(len, thirdparty.Column([1.0])))
    assert job.backend == "abacus"


def test_an_outsiders_backend_takes_the_place_of_a_built_in_one() -> None:
    """One with the name of a built-in adapter replaces it."""

    class Machine(thirdparty.AbacusBackend):
        name = "simulated"

        def devices(self) -> tuple[DeviceInfo, ...]:
            return (DeviceInfo(DeviceId("simulated"), "Mine", "stand-in", self.name, why_stand_in="mine"),)

    class Plugin:
        @hookimpl
        def pytest_gpuprof_backends(self) -> list[Machine]:
            return [Machine()]

    registry = Extensions.standalone([Plugin()]).registry
    assert isinstance(registry.backend("simulated"), Machine)
    assert [info.name for info in registry.known_devices() if info.backend == "simulated"] == ["Mine"]
