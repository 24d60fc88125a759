"""What all tests share.

NumPy, torch and JAX are imported here, before any test: ``pytester`` restores ``sys.modules`` after each inner run, and
a compiled module cannot be imported twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy  # noqa: F401  # see above
import pytest
import scipy.special  # see above
import scipy.stats  # noqa: F401  # see above

with contextlib.suppress(ImportError):
    import torch  # noqa: F401  # see above

    import tests.simulators.torch_device  # noqa: F401  # a process can load the simulated device only once
with contextlib.suppress(ImportError):
    import pyopencl.array  # noqa: F401  # see above
with contextlib.suppress(ImportError):
    import cuda.core  # noqa: F401  # see above

with contextlib.suppress(ImportError):
    import jax.extend.core  # see above
    import jax.monitoring
    import jax.numpy

    jax.config.update("jax_num_cpu_devices", 2)  # has to be said before JAX starts: the second is a stand-in

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend

if TYPE_CHECKING:
    from tests.services.postgresql import Postgresql
    from tests.simulators.torch_device import Control

pytest_plugins = ["pytester"]

BUILD = Path(__file__).parent.parent / ".simulators"
"""Where simulators are built, once for all test runs of a checkout."""

PR_SET_THP_DISABLE, PR_GET_THP_DISABLE = 41, 42  # of prctl(2)


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep a test's lock files and calibrations to itself, and this run's xdist and CI variables out of inner runs.

    An inner run that saw the real ``GITHUB_STEP_SUMMARY`` would write into the summary of this project's own CI.
    """
    monkeypatch.setenv("GPUPROF_LOCK_DIR", str(tmp_path_factory.getbasetemp() / "locks"))
    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path_factory.getbasetemp() / "none" / "peaks.json"))
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "CI_", "GITLAB_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def _old_objects_rest() -> None:
    """Measuring collects garbage often; what is there before the tests of a file stays out of it.

    It is never let go: each file would have to look through all of it again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def small_pages() -> Iterator[None]:
    """No huge pages in this process and its children meanwhile.

    They come in steps of 2 MiB. NumPy asks for them below its arrays, and where one lay on the heap, the next block
    there gets one too, whoever it belongs to: figures err by up to as much, depending on the tests before.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        yield  # not Linux: there is no memory to look at either
        return
    before = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)
    assert prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_THP_DISABLE, before, 0, 0, 0) == 0


@pytest.fixture
def machine() -> SimulatedBackend:
    """A simulated machine with one card, on a clock of its own."""
    return SimulatedBackend((Card(),), seed=1)


@pytest.fixture(scope="session")
def simgpu() -> Iterator[Control]:
    """The simulated accelerator that the real torch drives, as ``simgpu:0`` and ``simgpu:1``."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed, so its adapter is not tested on a simulated accelerator")
    from tests.simulators import SimulatorUnavailable
    from tests.simulators.torch_device import load

    try:
        control = load(BUILD)
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: torch's adapter is not tested on a simulated accelerator, because {error}")
    yield control
    control.heal()


@pytest.fixture(scope="session")
def on_simulated_cuda() -> Callable[..., dict[str, str]]:
    """What gives a process the simulated CUDA driver and NVML: called with their settings, it returns an environment.

    The driver's settings are keywords, NVML's a mapping ``nvml``; without it there are two cards.
    """
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None:
        pytest.skip("NOT TESTED: cuda.core is not installed, so its adapter is not tested on a simulated driver")
    from tests.simulators import SimulatorUnavailable, cuda, nvml

    try:
        driver, board = cuda.build(BUILD / "cuda"), nvml.build(BUILD / "nvml")
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: nothing is tested on a simulated CUDA driver, because {error}")

    def environment(nvml: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, str]:
        given = cuda.environment(driver, nvml=board, nvml_settings={"devices": 2} if nvml is None else nvml, **settings)
        return {**os.environ, **given}

    return environment


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A real PostgreSQL server."""
    from tests.services.postgresql import PostgresqlUnavailable, running

    # not pytest's folder, which is closed to the user that runs the server
    with tempfile.TemporaryDirectory(prefix="gpuprof-postgresql-") as folder, contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running(Path(folder)))
        except PostgresqlUnavailable as error:
            pytest.skip(f"NOT TESTED: the store is not tested in PostgreSQL, because {error}")
        yield server


def has(module: str) -> bool:
    """Return whether a module is installed."""
    return importlib.util.find_spec(module) is not None
