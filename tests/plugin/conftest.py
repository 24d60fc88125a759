"""How the plugin is tested: inner runs on a simulated machine, so that they are instant and always the same.

The plugin's modules are imported here, before any inner run: ``pytester`` restores ``sys.modules`` after each, and
they would be imported again and again.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  # see above
import filelock  # noqa: F401  # see above
import pytest
import sqlalchemy.dialects.sqlite  # noqa: F401  # see above
import tabulate  # noqa: F401  # see above

with contextlib.suppress(ImportError):
    import psycopg  # noqa: F401  # see above

import pytest_gpuprof.backends.cuda
import pytest_gpuprof.backends.cupy
import pytest_gpuprof.backends.numpy
import pytest_gpuprof.backends.opencl
import pytest_gpuprof.backends.torch
import pytest_gpuprof.plugin.off
import pytest_gpuprof.plugin.planning
import pytest_gpuprof.plugin.session
import pytest_gpuprof.plugin.storing  # noqa: F401  # see above

from .repository import Repository

HEAD = """
import pytest
from pytest_gpuprof import Unavailable, call, workload

def fast(device):
    return lambda: device.run(cpu=20e-3, gpu=1e-3)

def slow(device):
    return lambda: device.run(cpu=1e-3, gpu=2e-3)

def hungry(device):
    kept = device.allocate(2**20)
    def work():
        device.run(cpu=20e-3, gpu=1e-3)
        return kept.nbytes
    return work
"""
"""At the top of each inner test file: ``fast`` is 20 times faster on the simulated GPU, ``slow`` half as fast."""

MACHINE = """
from dataclasses import replace
import pytest
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId

class Machine(SimulatedBackend):
    def devices(self):
        real = {facts}
        return tuple(replace(each, **real) if each.kind == "stand-in" else each for each in super().devices())

    def open(self, device):
        opened = super().open(device)
        opened.arrays = Places(opened, opened.arrays)
        return opened

class Here:  # stands for the device in the arguments of call()
    pass

class Places:
    def __init__(self, device, buffers):
        self._device = device
        self._buffers = buffers
    def place(self, value):
        return self._device if isinstance(value, Here) else self._buffers.place(value)
    def download(self, value):
        return self._buffers.download(value)
    def host(self, value):
        return value
    def precision(self, value):
        return None

MACHINE = Machine([{cards}], seed=3)
CPU = MACHINE.open(DeviceId("cpu"))

@hookimpl
def pytest_gpuprof_backends():
    return [MACHINE]
"""
"""A conftest that brings a simulated machine whose devices pose as real ones."""


def machine(*cards: str, uuid: str | None = None) -> str:
    """Return a conftest with a machine whose simulated cards pass for GPUs.

    Args:
        cards: the arguments of each :class:`Card`, as code; no card is a machine without a GPU.
        uuid: of every card.
    """
    facts = f'dict(kind="gpu", why_stand_in=None, uuid={uuid!r})'
    return MACHINE.format(facts=facts, cards=", ".join(f"Card({card})" for card in cards))


GPU = machine("name='NVIDIA T4'")
"""A machine with one GPU that has every sensor."""

BLIND_GPU = machine("name='NVIDIA T4', has_energy=False")
"""A machine with one GPU that cannot tell its energy."""

NO_GPU = machine()
"""A machine without a GPU."""


class Runs:
    """Makes inner runs of pytest."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def __call__(
        self,
        source: str,
        *args: str,
        on: bool = True,
        conftest: str | None = None,
        subprocess: bool = False,
        devices: str | None = "simulated:0",
    ) -> pytest.RunResult:
        """Run one inner test file.

        Args:
            source: of the file, after :data:`HEAD`.
            args: of the command line.
            on: whether to measure.
            conftest: source of a ``conftest.py``.
            subprocess: whether in a process of its own.
            devices: named on the command line; ``None`` names none.
        """
        self.pytester.makepyfile(test_it=HEAD + source)
        if conftest is not None:
            self.pytester.makeconftest(conftest)
        given = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--gpu-profile-backend=simulated", *args]
        if devices is not None:
            given.insert(4, f"--gpu-profile-devices={devices}")
        if on:
            given.insert(4, "--gpu-profile")
        run = self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        return run(*given)

    def on_gpu(self, source: str, *args: str, conftest: str = GPU, **how: Any) -> pytest.RunResult:
        """Run one inner test file on a machine that passes for having a GPU."""
        return self(source, *args, conftest=conftest, devices=None, **how)

    def records(self, source: str, *args: str, **how: Any) -> list[dict[str, Any]]:
        """Run one inner test file and return what was exported."""
        self(source, "--gpu-profile-export=json:out.json", *args, **how)
        return self.exported()["records"]  # type: ignore[no-any-return]  # JSON

    def exported(self, name: str = "out.json") -> dict[str, Any]:
        """Return the document of an export."""
        document: dict[str, Any] = json.loads((self.pytester.path / name).read_text(encoding="utf-8"))
        return document

    def journal(self) -> list[dict[str, Any]]:
        """Return the records of all journals, in their order."""
        files = sorted((self.pytester.path / ".gpuprof" / "journal").glob("*.jsonl"))
        lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if "journal" not in line]

    @property
    def path(self) -> Path:
        """The folder of the inner run."""
        return self.pytester.path


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Inner runs of pytest on a simulated machine.

    They leave no bytecode: that of a file which is written anew within a second, as long as before, would be taken for
    its own, and in a repository it would be a change.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return Runs(pytester)


@pytest.fixture
def repository(pytester: pytest.Pytester) -> Repository:
    """The folder of the inner runs as a repository with a branch ``main``, which leaves out what runs write."""
    made = Repository(pytester.path)
    made.git("init", "--quiet", "--initial-branch=main")
    (made.path / ".gitignore").write_text(
        "__pycache__/\n.gpuprof/\n*.json\nstdout\nstderr\nrunpytest-*\n", encoding="ascii"
    )
    return made


def text_of(result: pytest.RunResult) -> str:
    """Return the output of an inner run with every run of white space as one space, so that a sentence is one piece."""
    return " ".join(result.stdout.str().split())
