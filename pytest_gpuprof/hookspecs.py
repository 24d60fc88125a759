"""The hooks through which outsiders extend the package, and through which its own parts are found.

The names begin with ``pytest_``, so an implementation in a ``conftest.py`` or in an installed pytest plugin is found
without further ado. Outside pytest, give objects with such methods to ``Profiler(plugins=…)`` or install them under
the entry-point group ``pytest_gpuprof``.

A backend of your own, in a ``conftest.py``::

    from pytest_gpuprof import hookimpl

    @hookimpl
    def pytest_gpuprof_backends():
        return [MyBackend()]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.budget import Kind
    from pytest_gpuprof.core.environment import DeviceInfo, Environment
    from pytest_gpuprof.core.protocols import Backend, Board, Device, EnergyCounter, Meter, Report
    from pytest_gpuprof.core.results import Reading

__all__ = [
    "ENTRY_POINTS",
    "hookimpl",
    "pytest_gpuprof_backends",
    "pytest_gpuprof_board",
    "pytest_gpuprof_budgets",
    "pytest_gpuprof_environment",
    "pytest_gpuprof_meters",
    "pytest_gpuprof_package_energy",
    "pytest_gpuprof_reports",
]

ENTRY_POINTS = "pytest_gpuprof"
"""The entry-point group of plugins that work outside pytest too."""

# pluggy's markers are named after the program they belong to; these are the same objects as pytest.hookspec and
# pytest.hookimpl, and importing pytest is not needed to make them.
hookspec = pluggy.HookspecMarker("pytest")
hookimpl = pluggy.HookimplMarker("pytest")


@hookspec
def pytest_gpuprof_backends() -> Iterable[Backend]:  # type: ignore[empty-body]  # a specification
    """Return adapters to frameworks. One with the name of a built-in adapter takes its place."""


@hookspec
def pytest_gpuprof_meters(device: Device, leg: str) -> Iterable[Meter]:  # type: ignore[empty-body]
    """Return further instruments for the timed rounds of a leg; they run inside wall time, so they must cost little."""


@hookspec(firstresult=True)
def pytest_gpuprof_board(info: DeviceInfo, device: Device) -> Board | Reading | None:
    """Return a vendor's sensors for a device, or why there are none; ``None`` leaves it to the next implementation."""


@hookspec(firstresult=True)
def pytest_gpuprof_package_energy(info: DeviceInfo, device: Device) -> EnergyCounter | Reading | None:
    """Return the energy counter of the CPU package, or why there is none; ``info`` is the leg's device."""


@hookspec
def pytest_gpuprof_environment(device: Device) -> Environment:  # type: ignore[empty-body]
    """Return further facts of the machine: what identifies it, and what state it is in."""


@hookspec
def pytest_gpuprof_budgets() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Return further budget keywords. The figure of one is a metric that a meter of yours fills."""


@hookspec
def pytest_gpuprof_reports() -> Mapping[str, Report]:  # type: ignore[empty-body]
    """Return output formats by the name used in ``--gpu-profile-export=NAME:PATH``."""
