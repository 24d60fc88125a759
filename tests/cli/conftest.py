"""Runs to look at: really measured, on a simulated machine, and stored in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import Budget, Plan, Profiler, cli, hookimpl, profile
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.storage.codec import record_of
from pytest_gpuprof.storage.document import new_document
from pytest_gpuprof.storage.store import Store


class Machine:
    """Brings a simulated machine with one card."""

    def __init__(self, name: str) -> None:
        self.backend = SimulatedBackend([Card(name=name)], seed=1)

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [self.backend]


@cache
def measured(gpu_s: float, card: str, budget: str) -> Mapping[str, Any]:
    """Return the record of a workload that takes so long on a card; measured once, and not to be changed.

    Args:
        gpu_s: how long.
        card: its name.
        budget: a limit of twice that, by its keyword; empty for none.
    """

    def fast(device: Any) -> Callable[[], None]:
        return lambda: device.run(cpu=20e-3, gpu=gpu_s)

    budgets = [Budget(budget, 2 * gpu_s)] if budget else []
    profiler = Profiler(
        plugins=[Machine(card)], devices=["simulated:0"], backend="simulated", plan=Plan(warmup_s=0.05, window_s=0.5)
    )
    return record_of(profile(fast, rounds=5, budgets=budgets, profiler=profiler))


class History:
    """A store that is filled by hand, in a project's folder.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = 0

    def document(
        self,
        tests: Mapping[str, float] | Sequence[str] = ("test_it.py::test_a",),
        *,
        branch: str | None = "main",
        card: str = "T4",
        dirty: bool = False,
        failed: bool = False,
        budget: str = "",
    ) -> dict[str, Any]:
        """Return a run: the seconds that each test took on the GPU. Each has a commit of its own and a later day."""
        self.runs += 1
        if not isinstance(tests, Mapping):
            tests = dict.fromkeys(tests, 1e-3)
        records = []
        for test, gpu_s in tests.items():
            node, _, name = test.partition(" ")
            outcome = "failed" if failed else "passed"
            records.append(
                {**deepcopy(measured(gpu_s, card, budget)), "test": node, "name": name or "fast", "outcome": outcome}
            )
        return new_document(
            records,
            run_id=f"{self.runs:032x}",
            created=f"2026-{1 + self.runs // 28:02}-{1 + self.runs % 28:02}T07:00:00Z",
            duration_s=2.0,
            source={"commit": f"{self.runs:07x}" + "c" * 33, "branch": branch, "dirty": dirty},
            machine="0123456789ab",
            settings={},
            counts={"met": 1, "missed": 2 if failed else 0, "inconclusive": 0, "not enforced": 0},
        )

    def add(self, *documents: Mapping[str, Any]) -> None:
        """Store runs."""
        with Store.open(None, self.root) as store:
            for document in documents:
                store.add(document)

    def run(self, *args: Any, **how: Any) -> dict[str, Any]:
        """Store one more run, and return it; the arguments are those of :meth:`document`."""
        document = self.document(*args, **how)
        self.add(document)
        return document


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """An empty project, which is the current folder."""
    (tmp_path / "pytest.ini").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPROF_STORE", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return History(tmp_path)


class Command:
    """Runs the command in this process.

    Args:
        capsys: what it prints.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        """Run it and return its status; what it printed is in ``out`` and ``err``."""
        self._capsys.readouterr()
        status = cli.main(list(arguments))
        self.out, self.err = self._capsys.readouterr()
        return status


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command."""
    return Command(capsys)
