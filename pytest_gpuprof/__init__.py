"""pytest-gpuprof: prove in your tests that the GPU is worth it.

A workload runs on the CPU and on the GPU; time, memory and energy are measured; a missed budget fails the test.

>>> from pytest_gpuprof import profile
>>> def addition(device):
...     return lambda: device.run(cpu=20e-3, gpu=1e-3)
>>> profile(addition, backend="simulated", devices="simulated:0").require(min_speedup=5).verdicts[0].outcome
'met'

Names are loaded when first used, so that importing the package costs next to nothing. What is timed must not be
rewritten by pytest's assertion rewriting: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.budget import Budget as Budget
    from pytest_gpuprof.budgets.verdict import judge as judge
    from pytest_gpuprof.core.errors import BudgetError as BudgetError
    from pytest_gpuprof.core.errors import BudgetMissed as BudgetMissed
    from pytest_gpuprof.core.errors import DeviceBusy as DeviceBusy
    from pytest_gpuprof.core.errors import DeviceError as DeviceError
    from pytest_gpuprof.core.errors import GpuprofError as GpuprofError
    from pytest_gpuprof.core.errors import MeasurementError as MeasurementError
    from pytest_gpuprof.core.errors import OutputsDiffer as OutputsDiffer
    from pytest_gpuprof.core.errors import Unavailable as Unavailable
    from pytest_gpuprof.core.errors import UsageError as UsageError
    from pytest_gpuprof.core.errors import WorkloadError as WorkloadError
    from pytest_gpuprof.core.profile import Profile as Profile
    from pytest_gpuprof.core.results import Caution as Caution
    from pytest_gpuprof.core.results import Measurement as Measurement
    from pytest_gpuprof.core.results import Reading as Reading
    from pytest_gpuprof.core.results import Verdict as Verdict
    from pytest_gpuprof.core.sweep import Sweep as Sweep
    from pytest_gpuprof.core.workload import Workload as Workload
    from pytest_gpuprof.core.workload import call as call
    from pytest_gpuprof.core.workload import workload as workload
    from pytest_gpuprof.hookspecs import hookimpl as hookimpl
    from pytest_gpuprof.profiler import Profiler as Profiler
    from pytest_gpuprof.profiling import profile as profile
    from pytest_gpuprof.sampling.plan import Plan as Plan
    from pytest_gpuprof.sweeping import sweep as sweep

__version__ = "0.1.0"

_HOMES = {
    "Budget": "budgets.budget",
    "BudgetError": "core.errors",
    "BudgetMissed": "core.errors",
    "Caution": "core.results",
    "DeviceBusy": "core.errors",
    "DeviceError": "core.errors",
    "GpuprofError": "core.errors",
    "Measurement": "core.results",
    "MeasurementError": "core.errors",
    "OutputsDiffer": "core.errors",
    "Plan": "sampling.plan",
    "Profile": "core.profile",
    "Profiler": "profiler",
    "Reading": "core.results",
    "Sweep": "core.sweep",
    "Unavailable": "core.errors",
    "UsageError": "core.errors",
    "Verdict": "core.results",
    "Workload": "core.workload",
    "WorkloadError": "core.errors",
    "call": "core.workload",
    "hookimpl": "hookspecs",
    "judge": "budgets.verdict",
    "profile": "profiling",
    "sweep": "sweeping",
    "workload": "core.workload",
}

__all__ = [
    "Budget",
    "BudgetError",
    "BudgetMissed",
    "Caution",
    "DeviceBusy",
    "DeviceError",
    "GpuprofError",
    "Measurement",
    "MeasurementError",
    "OutputsDiffer",
    "Plan",
    "Profile",
    "Profiler",
    "Reading",
    "Sweep",
    "Unavailable",
    "UsageError",
    "Verdict",
    "Workload",
    "WorkloadError",
    "__version__",
    "call",
    "hookimpl",
    "judge",
    "profile",
    "sweep",
    "workload",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
