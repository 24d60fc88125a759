"""What the hooks brought: every part that is known by name, gathered once per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import pluggy

from pytest_gpuprof import hookspecs
from pytest_gpuprof.backends.registry import Registry
from pytest_gpuprof.budgets.budget import Kind
from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.protocols import Board, Device, EnergyCounter, Meter, Report
from pytest_gpuprof.core.results import Reading

__all__ = ["Extensions"]


class Extensions:
    """The parts that all hook implementations bring together.

    Args:
        hook: the hook caller of a plugin manager that has our specifications.
    """

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    @classmethod
    def standalone(cls, plugins: Iterable[object] = ()) -> Extensions:
        """Return the extensions without pytest: ours, the installed ones, and ``plugins``."""
        manager = pluggy.PluginManager("pytest")
        manager.add_hookspecs(hookspecs)
        manager.register(Builtin())
        manager.load_setuptools_entrypoints(hookspecs.ENTRY_POINTS)
        for plugin in plugins:
            manager.register(plugin)
        return cls(manager.hook)

    @cached_property
    def registry(self) -> Registry:
        """The backends; an outsider's takes the place of a built-in one of the same name."""
        gathered = self._hook.pytest_gpuprof_backends()  # the last registered first
        return Registry(backend for backends in reversed(gathered) for backend in backends)

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """The budget keywords."""
        return {kind.keyword: kind for kinds in reversed(self._hook.pytest_gpuprof_budgets()) for kind in kinds}

    @cached_property
    def reports(self) -> Mapping[str, Report]:
        """The output formats by name."""
        return {
            name: report
            for reports in reversed(self._hook.pytest_gpuprof_reports())
            for name, report in reports.items()
        }

    def meters(self, device: Device, leg: str) -> Sequence[Meter]:
        """Return the meters of the timed rounds, wall time outermost."""
        gathered = self._hook.pytest_gpuprof_meters(device=device, leg=leg)
        return [meter for meters in reversed(gathered) for meter in meters]

    def board(self, device: Device) -> Board | Reading:
        """Return the sensors of a device, or why there are none."""
        found: Board | Reading | None = self._hook.pytest_gpuprof_board(info=device.info, device=device)
        return found or Reading.unavailable(f"nothing reads the sensors of {device.info.name}")

    def package_energy(self, device: Device) -> EnergyCounter | Reading:
        """Return the energy counter of the CPU package, or why there is none."""
        found: EnergyCounter | Reading | None = self._hook.pytest_gpuprof_package_energy(
            info=device.info, device=device
        )
        return found or Reading.unavailable("nothing reads the CPU package's energy")

    def environment(self, device: Device) -> Environment:
        """Return the facts of the machine."""
        identity: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for facts in reversed(self._hook.pytest_gpuprof_environment(device=device)):
            identity |= facts.identity
            state |= facts.state
        return Environment(identity, state)

    def facts(self, device: Device) -> Mapping[str, str | int | float | bool]:
        """Return what identifies the machine, the device and its board."""
        board = self.board(device)
        of_board = {} if isinstance(board, Reading) else board.facts().identity
        return {**self.environment(device).identity, **of_board}
