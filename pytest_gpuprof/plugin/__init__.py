"""The pytest plugin: the only place that imports pytest. PYTEST_DONT_REWRITE.

Loaded in every pytest run where the package is installed, so this module and what it imports are small: options, the
markers' help and the two fixtures. All else is imported when profiling is on, or a fixture is used.
"""

from __future__ import annotations

from pytest_gpuprof.plugin.fixtures import gpu_profile, gpu_profile_device
from pytest_gpuprof.plugin.hooks import pytest_addhooks, pytest_addoption, pytest_configure

__all__ = ["gpu_profile", "gpu_profile_device", "pytest_addhooks", "pytest_addoption", "pytest_configure"]
