"""Stores to test: the same suite runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.storage.codec import record_of
from pytest_gpuprof.storage.document import new_document
from pytest_gpuprof.storage.parts import builtins_of
from pytest_gpuprof.storage.store import Store

MakeDocument = Callable[..., dict[str, Any]]


class _Machine:
    def __init__(self, backend: SimulatedBackend) -> None:
        self._backend = backend

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [self._backend]


@pytest.fixture(scope="session")
def measured() -> dict[str, Any]:
    """A record of a real measurement on the simulated machine."""
    extensions = Extensions.standalone([_Machine(SimulatedBackend((Card(),), seed=1))])
    profiler = Profiler(extensions=extensions, devices=("simulated:0",), backend="simulated")

    def fast(device: Any) -> Callable[[], None]:
        return lambda: device.run(cpu=20e-3, gpu=1e-3)

    (job,) = profiler.jobs(fast)
    return record_of(profiler.measure(job, ()), test="tests/test_it.py::test_fast")


@pytest.fixture
def record(measured: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Makes records: what is measured, with another workload, attempt, outcome, figures or conditions."""

    def make(
        test: str = "tests/test_it.py::test_fast",
        name: str = "fast",
        *,
        attempt: int = 1,
        outcome: str = "passed",
        gpu_time: float = 1e-3,
        device: str = "NVIDIA T4",
    ) -> dict[str, Any]:
        made = copy.deepcopy(measured)
        figure = {"value": gpu_time, "interval": [gpu_time * 0.99, gpu_time * 1.01], "rounds": 6, "quality": "measured"}
        made |= {"test": test, "name": name, "attempt": attempt, "outcome": outcome}
        made |= {"figures": {"gpu_time": figure}, "conditions": {"backend": "simulated", "device": device}}
        plain: dict[str, Any] = builtins_of(made)
        return plain

    return make


@pytest.fixture
def document() -> MakeDocument:
    """Makes documents of runs, each an hour after the one before."""
    made = 0

    def make(*records: dict[str, Any], **changes: Any) -> dict[str, Any]:
        nonlocal made
        made += 1
        source = {"commit": f"{made:040x}", "branch": "main", "dirty": False, "commit_time": "2026-11-28T07:00:00Z"}
        given: dict[str, Any] = {
            "run_id": uuid.uuid4().hex,
            "created": f"2026-{1 + made // 600:02}-{1 + made // 24 % 25:02}T{made % 24:02}:00:00Z",
            "duration_s": 12.5,
            "source": source | {"project": "p", "trees": {".": "0" * 40}, "dirty_paths": []},
            "machine": "0123456789ab",
            "settings": {},
            "counts": {"met": 1},
        }
        return new_document(records, **{**given, **changes})

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "a folder" / "history.sqlite3")
    made: str = request.getfixturevalue("postgresql").database()
    return made


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.open(url, tmp_path) as opened:
        yield opened
