"""Whether anything is to be measured, asked in every run, so it costs next to nothing."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["BUILTIN", "SESSION", "TALLY", "marker_help", "option", "switch_off", "switch_on", "wanted"]

SESSION = "gpuprof-session"
"""The name under which what runs the workloads is registered, measuring or not."""

BUILTIN = "gpuprof-builtin"
"""The name under which the package's own hook implementations are registered."""

TALLY = "gpuprof-tally"
"""The name under which an xdist controller registers what adds up the budgets that its workers did not judge."""


def option(config: pytest.Config, name: str) -> Any:
    """Return an option: from the command line, else from the ini, else ``None``."""
    dest = name.replace("-", "_")
    value = config.getoption(dest, None)
    return config.getini(dest) if value is None else value


def marker_help() -> tuple[str, str]:
    """Return the markers with their meaning, as ``pytest --markers`` shows them."""
    return (
        "gpu_profile(*, name, devices, backend, cpu, reference, check, flops, bytes, items, precision, cpu_threads, "
        "rounds, max_time, cache, transfers, reset, params, metrics): how to measure this test's workload "
        "(pytest-gpuprof).",
        "gpu_budget(*, min_speedup, max_gpu_time, max_gpu_memory, max_energy, …, max_regression, stat='median', "
        "confidence=0.95, reason, enforce=True, profile, metric='gpu_time'): limits that fail the test when they are "
        "missed, in base units or with a unit, or by device name, e.g. min_speedup={'H200': 40, '*': 5}; metric= is "
        "what max_regression='5%' compares with accepted baselines (pytest-gpuprof).",
    )


def wanted(config: pytest.Config) -> bool:
    """Whether this run measures, or shows what it would measure."""
    if config.getoption("collectonly", False) or config.getoption("gpu_profile", None) is False:
        return False
    if any(config.getoption(f"gpu_profile_{name}", None) for name in ("strict", "compare", "changed_since", "from")):
        return True  # somebody who asks for a gate must not get a run that judges nothing
    return any(bool(option(config, name)) for name in ("gpu_profile", "gpu_profile_plan", "gpu_profile_only"))


def switch_on(config: pytest.Config) -> None:
    """Register what measures."""
    from pytest_gpuprof.core.errors import UsageError
    from pytest_gpuprof.plugin.starting import start

    try:
        start(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def switch_off(config: pytest.Config) -> None:
    """Leave everything as it is, but let an xdist controller add up what its workers did not judge."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        from pytest_gpuprof.plugin.tally import OFF, Tally

        config.pluginmanager.register(Tally(OFF), TALLY)
