"""Ctrl-C and SIGTERM while something is measured: what is finished survives, and what was held still is given back."""

from __future__ import annotations

import sys

import pytest

from .conftest import Runs

AT_THE_END = """
import gc

def pytest_unconfigure():
    print("COLLECTING", gc.isenabled())
"""

INTERRUPTED = """
import gc, os, signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is deaf to it

@pytest.mark.gpu_budget(min_speedup=5)
def test_first(gpu_profile):
    gpu_profile(fast)

def stopping(device):
    calls = []
    def work():
        device.run(1e-3)
        calls.append(1)
        if len(calls) == 300:
            print("MEASURING", gc.isenabled())
            {stop}
    return work

def test_interrupted(gpu_profile):
    gpu_profile(stopping)

def test_never(gpu_profile):
    print("NEVER")
"""

STOPS = {
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "SIGINT": "os.kill(os.getpid(), signal.SIGINT)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("stop", STOPS)
def test_what_is_finished_survives(runs: Runs, stop: str) -> None:
    """The run ends as interrupted; export, journal and table have the finished tests, and gc is on again."""
    source = INTERRUPTED.format(stop=STOPS[stop])
    args = ["-s", "--gpu-profile-export=json:out.json"]
    result = runs(source, *args, conftest=AT_THE_END, subprocess=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*MEASURING False", "budgets: 1 met*", "*COLLECTING True"])
    result.stdout.no_fnmatch_line("*NEVER*")
    assert [record["test"] for record in runs.exported()["records"]] == ["test_it.py::test_first"]
    assert [record["test"] for record in runs.journal()] == ["test_it.py::test_first"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "print"])
def test_the_signals_handler_is_given_back(runs: Runs, handler: str) -> None:
    """After the run SIGTERM does what it did before, and a plain run never touches it."""
    conftest = f"""
import signal

signal.signal(signal.SIGTERM, {handler})

def pytest_sessionfinish():
    print("OURS", signal.getsignal(signal.SIGTERM) is not {handler})

def pytest_unconfigure(config):
    config.add_cleanup(lambda: print("BACK", signal.getsignal(signal.SIGTERM) is {handler}))
"""
    for on in (True, False):
        result = runs("def test_a(): pass", "-s", conftest=conftest, on=on, subprocess=True)
        result.stdout.fnmatch_lines([f"*OURS {on}*"])
        if on:
            result.stdout.fnmatch_lines(["*BACK True*"])


def test_pytest_exit_keeps_what_is_finished(runs: Runs) -> None:
    """``pytest.exit`` in a workload ends the run the same way."""
    source = INTERRUPTED.format(stop="pytest.exit('enough')")
    runs(source, "--gpu-profile-export=json:out.json")
    assert [record["test"] for record in runs.exported()["records"]] == ["test_it.py::test_first"]


def test_maxfail_keeps_what_is_finished(runs: Runs) -> None:
    """``-x`` ends the run after the failure, with its numbers."""
    source = """
def test_a(gpu_profile):
    gpu_profile(fast).require(min_speedup=50)

def test_b(gpu_profile):
    gpu_profile(fast)
"""
    records = runs.records(source, "-x")
    assert [(record["test"], record["outcome"]) for record in records] == [("test_it.py::test_a", "failed")]


def test_a_killed_run_has_its_journal(runs: Runs) -> None:
    """A process that dies at once loses the export, and no finished record."""
    runs(INTERRUPTED.format(stop="os._exit(9)"), "--gpu-profile-export=json:out.json", subprocess=True)
    assert not (runs.path / "out.json").exists()
    assert [record["test"] for record in runs.journal()] == ["test_it.py::test_first"]
