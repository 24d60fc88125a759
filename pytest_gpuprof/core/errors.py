"""Every exception of the package.

::

    GpuprofError
    ├── UsageError (ValueError)        what the caller wrote cannot be meant; the message ends with the remedy
    │   ├── BudgetError                a limit that is misspelt, not a number, or in the wrong unit
    │   ├── WorkloadError              a builder or callable that cannot be measured
    │   └── DeviceError                a device or backend that does not exist; the message lists those that do
    ├── Unavailable                    a figure or a device that cannot be had, and why
    ├── MeasurementError               measuring began and could not be finished
    │   └── DeviceBusy                 others kept a device for so long that it never began
    ├── StoreError                     the store of records cannot be used; verdicts never depend on it
    ├── OutputsDiffer (AssertionError) the legs computed different things
    └── BudgetMissed (AssertionError)  a limit was missed

``BudgetMissed`` and ``OutputsDiffer`` are assertion errors, so that the library can be used with any test runner.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "BudgetMissed",
    "DeviceBusy",
    "DeviceError",
    "GpuprofError",
    "MeasurementError",
    "OutputsDiffer",
    "StoreError",
    "Unavailable",
    "UsageError",
    "WorkloadError",
]


class GpuprofError(Exception):
    """The root: everything this package raises on purpose derives from it."""


class UsageError(GpuprofError, ValueError):
    """What was asked for cannot be meant."""


class BudgetError(UsageError):
    """A budget that is misspelt, not a finite number, negative, or in the wrong unit."""


class WorkloadError(UsageError):
    """A builder or callable that cannot be measured as it is."""


class DeviceError(UsageError):
    """A device or backend that does not exist here."""


class Unavailable(GpuprofError):
    """A figure or a device that cannot be had.

    Inside a test it skips that test with the reason, or fails it under ``--gpu-profile-strict``.

    >>> raise Unavailable("energy: no NVIDIA driver is loaded")
    Traceback (most recent call last):
        ...
    pytest_gpuprof.core.errors.Unavailable: energy: no NVIDIA driver is loaded
    """


class MeasurementError(GpuprofError):
    """Measuring began and could not be finished, through no fault of the workload's author."""


class DeviceBusy(MeasurementError):
    """Other processes kept a device for themselves for as long as anybody waits. Budgets are inconclusive then."""


class StoreError(GpuprofError):
    """The store of records cannot be opened, read or written. What was measured is spilled to a file, never lost."""


class OutputsDiffer(GpuprofError, AssertionError):
    """The legs of one workload computed different things, so comparing their speed would mean nothing."""


class BudgetMissed(GpuprofError, AssertionError):
    """A limit was missed: the interval lies beyond it, and lay beyond it again when measured a second time."""
