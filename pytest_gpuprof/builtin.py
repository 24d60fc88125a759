"""The package's own implementations of its hooks: what it offers goes through the same door as everybody else's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.registry import builtin_backends
from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.budgets.budget import KINDS, Kind
from pytest_gpuprof.core.environment import DeviceInfo, Environment
from pytest_gpuprof.core.protocols import Backend, Board, Device, EnergyCounter, Meter, Report
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.hookspecs import hookimpl
from pytest_gpuprof.meters.host_facts import host_facts
from pytest_gpuprof.meters.nvml import open_board
from pytest_gpuprof.meters.rapl import open_packages
from pytest_gpuprof.meters.time import WallTime
from pytest_gpuprof.reports.bencher import bencher_text
from pytest_gpuprof.reports.csv_table import csv_text
from pytest_gpuprof.reports.export import JsonReport
from pytest_gpuprof.reports.markdown import markdown_text
from pytest_gpuprof.reports.openmetrics import openmetrics_text
from pytest_gpuprof.reports.page.page import page_text
from pytest_gpuprof.reports.pytest_benchmark import pytest_benchmark_text
from pytest_gpuprof.reports.text import TextReport
from pytest_gpuprof.sampling.quiet import allowed_threads

__all__ = ["Builtin"]


class Builtin:
    """The built-in parts. Every implementation is tried last, so that an outsider's comes before it."""

    @hookimpl(trylast=True)
    def pytest_gpuprof_backends(self) -> Iterable[Backend]:
        """Return the adapters of the package."""
        return builtin_backends()

    @hookimpl(trylast=True)
    def pytest_gpuprof_meters(self, device: Device, leg: str) -> Iterable[Meter]:
        """Return wall time."""
        return [WallTime(device)]

    @hookimpl(trylast=True)
    def pytest_gpuprof_board(self, info: DeviceInfo, device: Device) -> Board | Reading | None:
        """Return the simulated sensors of a simulated device, and NVML's of every other."""
        if isinstance(device, SimulatedDevice):
            return device.board()
        return _board(info)

    @hookimpl(trylast=True)
    def pytest_gpuprof_package_energy(self, info: DeviceInfo, device: Device) -> EnergyCounter | Reading | None:
        """Return RAPL's counters, and those of a simulated machine that has some."""
        if isinstance(device, SimulatedDevice):
            counter = device.package_energy()
            return counter or Reading.unavailable("this simulated machine has no energy counter in its CPU package")
        return _packages()

    @hookimpl(trylast=True)
    def pytest_gpuprof_environment(self, device: Device) -> Environment:
        """Return the host and its load, and what the device's framework tells of itself (adapters derive from it)."""
        settings = device.settings() if isinstance(device, HostDevice) else {}
        return host_facts(device.info, allowed_threads()) | Environment(settings)

    @hookimpl(trylast=True)
    def pytest_gpuprof_budgets(self) -> Iterable[Kind]:
        """Return the budget keywords of the package."""
        return KINDS.values()

    @hookimpl(trylast=True)
    def pytest_gpuprof_reports(self) -> Mapping[str, Report]:
        """Return the output formats of the package."""
        return {
            "json": JsonReport(),
            "pytest-benchmark": TextReport(pytest_benchmark_text),
            "csv": TextReport(csv_text),
            "markdown": TextReport(markdown_text),
            "openmetrics": TextReport(openmetrics_text),
            "bencher": TextReport(bencher_text),
            "html": TextReport(page_text),
        }


@cache
def _board(info: DeviceInfo) -> Board | Reading:
    """Open each board once: it remembers that it was lost."""
    return open_board(info)


@lru_cache(maxsize=1)
def _packages() -> EnergyCounter | Reading:
    return open_packages()
