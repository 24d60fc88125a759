"""JUnit properties: the figures of a test, for whoever reads the XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import NO_GPU, Runs


def properties(runs: Runs, source: str, *args: str, **how: Any) -> list[dict[str, str]]:
    """Return the properties of each test, and assert that no name occurs twice in one."""
    runs(source, "--junitxml=junit.xml", *args, **how)
    found = []
    for case in ElementTree.parse(runs.path / "junit.xml").iter("testcase"):
        pairs = [(each.attrib["name"], each.attrib["value"]) for each in case.iter("property")]
        assert len({name for name, _ in pairs}) == len(pairs)
        found.append(dict(pairs))
    return found


def test_a_test_tells_its_figures_and_verdicts(runs: Runs) -> None:
    """Times, speedup, device and verdicts are properties of the test; what was not measured is none."""
    (told,) = properties(
        runs,
        "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast, metrics=['time'])\n",
    )
    assert set(told) == {
        "gpuprof.cpu_time_s",
        "gpuprof.gpu_time_s",
        "gpuprof.device_time_s",
        "gpuprof.speedup",
        "gpuprof.device_speedup",
        "gpuprof.quality",
        "gpuprof.device",
        "gpuprof.min_speedup",
        "gpuprof.min_speedup.why",
    }
    assert float(told["gpuprof.speedup"]) == pytest.approx(20, rel=0.05)
    assert float(told["gpuprof.gpu_time_s"]) == pytest.approx(1e-3, rel=0.05)
    assert told["gpuprof.device"] == "simulated:0 Simulated GPU (simulated)"
    assert told["gpuprof.min_speedup"] == "met"
    assert told["gpuprof.min_speedup.why"].startswith("speedup 2")


def test_every_figure_is_a_property(runs: Runs) -> None:
    """Memory and energy with their units; the words that figures carry are a property too."""
    source = "def test_it(gpu_profile):\n    gpu_profile(fast, metrics=['time', 'memory', 'energy'], items=1000)\n"
    (told,) = properties(runs, source)
    assert {"gpu_memory_bytes", "energy_j", "power_w", "throughput_per_s", "items_per_joule", "leak_bytes"} <= {
        name.removeprefix("gpuprof.") for name in told
    }
    words = told["gpuprof.quality"].split(", ")
    assert {"speedup derived", "gpu_time simulated", "energy simulated"} <= set(words)


def test_two_budgets_on_one_figure_are_two_properties(runs: Runs) -> None:
    """Its median and its mean, each with its sentence."""
    (told,) = properties(
        runs,
        """
@pytest.mark.gpu_budget(max_gpu_time="1 s")
@pytest.mark.gpu_budget(max_gpu_time="1 us", stat="mean")
def test_it(gpu_profile):
    gpu_profile(fast)
""",
    )
    pairs = [
        (told[f"gpuprof.max_gpu_time{number}"], told[f"gpuprof.max_gpu_time{number}.why"]) for number in ("", "#2")
    ]
    assert {outcome: sentence.partition(" 1 ")[0] for outcome, sentence in pairs} == {
        "met": "GPU time",
        "missed": "GPU time mean",
    }


def test_several_profiles_have_names_of_their_own(runs: Runs) -> None:
    """With several profiles, each property carries the profile's name."""
    source = "def test_it(gpu_profile):\n    gpu_profile(fast, name='a')\n    gpu_profile(fast, name='b')\n"
    (told,) = properties(runs, source)
    assert {"gpuprof.a.speedup", "gpuprof.b.speedup"} <= set(told)


def test_a_rerun_replaces_the_properties(runs: Runs) -> None:
    """After reruns each property is there once, and the user's own are untouched."""
    pytest.importorskip("pytest_rerunfailures")
    told = properties(
        runs,
        """
def test_it(gpu_profile, request, attempts=[]):
    attempts.append(1)
    if len(attempts) == 1:
        request.node.user_properties.append(("mine", "kept"))
    gpu_profile(fast if len(attempts) > 1 else slow).require(min_speedup=5)
""",
        "--reruns=1",
    )
    assert float(told[-1]["gpuprof.speedup"]) == pytest.approx(20, rel=0.05)
    assert told[-1]["mine"] == "kept"


def test_other_tests_and_other_runs_have_no_properties(runs: Runs) -> None:
    """A test that measures nothing has none, and so has every test of a plain run."""
    source = "def test_it(gpu_profile):\n    gpu_profile(fast)\n\ndef test_other():\n    pass\n"
    assert properties(runs, source)[1] == {}
    assert properties(runs, source, on=False) == [{}, {}]


def test_a_test_without_a_gpu_tells_what_there_is(runs: Runs) -> None:
    """Without a GPU only the CPU's figures are told; nothing is 0 or empty."""
    (told,) = properties(runs, "def test_it(gpu_profile):\n    gpu_profile(fast, devices='any')\n", conftest=NO_GPU)
    assert set(told) <= {"gpuprof.cpu_time_s"}
