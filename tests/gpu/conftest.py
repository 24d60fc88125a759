"""Tests that need a real GPU. Without one they are skipped, and say what has not been tested."""

from __future__ import annotations

import os

import pytest

from pytest_gpuprof.backends.registry import Registry, builtin_backends
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Reading

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
"""Else JAX takes most of the card as soon as it is asked for its devices, and leaves too little to the others."""


def _gpus() -> list[tuple[str, str]]:
    registry = Registry(builtin_backends())
    found = []
    for name in registry.names:
        devices = registry.devices(name)
        if not isinstance(devices, Reading):
            found += [(name, str(info.id)) for info in devices if info.kind == "gpu"]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every GPU of every backend."""
    if "gpu" in metafunc.fixturenames:
        found = _gpus()
        none = pytest.param(None, marks=pytest.mark.skip("NOT TESTED: no backend finds a real GPU on this machine"))
        metafunc.parametrize("gpu", found or [none], indirect=True, ids=["-".join(pair) for pair in found] or ["none"])


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Device:
    """An opened GPU."""
    from pytest_gpuprof.core.environment import DeviceId

    backend, device = request.param
    return Registry(builtin_backends()).open(backend, DeviceId.parse(device))
