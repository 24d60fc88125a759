"""What loading the plugin costs those who do not use it: nothing heavy is imported, and no backend is asked."""

from __future__ import annotations

import pytest

from .conftest import Runs

HEAVY = (
    "numpy", "torch", "scipy", "pynvml", "tabulate", "wcwidth", "filelock", "threadpoolctl", "cupy", "pyopencl", "jax",
)  # fmt: skip

HEAVY_AT_END = f"""
import sys

def pytest_unconfigure():
    print("HEAVY", [name for name in {HEAVY} if name in sys.modules])
    print("SESSION", "pytest_gpuprof.plugin.session" in sys.modules, "pytest_gpuprof.plugin.off" in sys.modules)
"""


def test_importing_the_plugin_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """The plugin's module and what it imports are small."""
    result = pytester.runpython_c(
        f"import sys, pytest_gpuprof.plugin; print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert result.stdout.lines == ["[]"]


@pytest.mark.parametrize("args", [[], ["--collect-only", "--gpu-profile"], ["--markers"], ["--help"]])
def test_a_run_that_measures_nothing_imports_nothing_heavy(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    """A run in which no test uses us ends without numpy, torch or any other of them, and without our own machinery."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    runs.pytester.makeconftest(HEAVY_AT_END)
    runs.pytester.makepyfile("import pytest\n@pytest.mark.gpu_budget(min_speedup=2)\ndef test_a(): pass")
    result = runs.pytester.runpytest_subprocess("-s", "-p", "pytest_gpuprof.plugin", *args)
    result.stdout.fnmatch_lines(["*HEAVY []", "SESSION False False"])


ASKED = """
import pathlib
from pytest_gpuprof import hookimpl

@hookimpl
def pytest_gpuprof_backends():
    pathlib.Path("asked").touch()
    return []
"""


@pytest.mark.parametrize("args", [["--collect-only"], ["--help"], ["--fixtures"], ["--markers"], ["--version"], []])
def test_looking_around_touches_no_backend(runs: Runs, args: list[str]) -> None:
    """Nobody is asked for a backend before a test measures, though profiling is on in the ini."""
    runs.pytester.makeini("[pytest]\ngpu_profile = true\n")
    result = runs("def test_a(gpu_profile): pass", *args, conftest=ASKED, on=False)
    assert result.ret == pytest.ExitCode.OK
    assert not (runs.path / "asked").exists()


def test_measuring_does_ask_for_backends(runs: Runs) -> None:
    """The test above would see it."""
    runs("def test_a(gpu_profile): gpu_profile(fast)", conftest=ASKED)
    assert (runs.path / "asked").exists()


def test_the_help_tells_every_option(runs: Runs) -> None:
    """``pytest --help`` has our options in a group of their own, and their ini twins."""
    shown = runs("", "--help", on=False).stdout
    shown.fnmatch_lines(["measuring GPU workloads against the CPU*", "*--gpu-profile *", "*--no-gpu-profile*"])
    shown.fnmatch_lines(["*gpu_profile_budgets*"])


def test_the_fixtures_are_described(runs: Runs) -> None:
    """``pytest --fixtures`` tells both in a sentence."""
    shown = runs("", "--fixtures", on=False).stdout
    shown.fnmatch_lines(["gpu_profile -- *"])
    shown.fnmatch_lines(["gpu_profile_device -- *"])
