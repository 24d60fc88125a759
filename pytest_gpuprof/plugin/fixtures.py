"""The two fixtures. They exist in every run; what they do is imported when a test uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_gpuprof.plugin.use import GpuProfile

__all__ = ["gpu_profile", "gpu_profile_device"]


@pytest.fixture
def gpu_profile(request: pytest.FixtureRequest) -> GpuProfile:
    """Measures a workload on the CPU and on the GPU.

    Call it in the test: ``result = gpu_profile(builder)``.

    Without ``--gpu-profile`` the workload runs once, unmeasured.
    """
    from pytest_gpuprof.plugin.use import GpuProfile, measuring_for

    return GpuProfile(request.node, measuring_for(request.node))


@pytest.fixture
def gpu_profile_device(request: pytest.FixtureRequest) -> Any:
    """The device on which the test's body builds its workload; the body is called once per leg.

    The test itself requests it, and returns the callable to measure.
    """
    from pytest_gpuprof.plugin.use import measuring_for

    measuring_for(request.node)
    # The body gets a real device in its place when it is called, once per leg.
    return "the device of a leg, known when the test's body is called"
