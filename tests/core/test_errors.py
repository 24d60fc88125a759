"""The tree of exceptions is as its docstring draws it."""

from __future__ import annotations

import pytest

from pytest_gpuprof.core import errors
from pytest_gpuprof.core.errors import (
    BudgetError,
    BudgetMissed,
    DeviceError,
    GpuprofError,
    MeasurementError,
    OutputsDiffer,
    Unavailable,
    UsageError,
    WorkloadError,
)


def test_everything_raised_on_purpose_has_one_root() -> None:
    """One ``except`` catches all of it."""
    assert all(issubclass(getattr(errors, name), GpuprofError) for name in errors.__all__)


@pytest.mark.parametrize("kind", [BudgetError, WorkloadError, DeviceError])
def test_what_was_written_wrongly_is_a_usage_error_and_a_value_error(kind: type[Exception]) -> None:
    """A caller who knows nothing of this package can catch ValueError."""
    assert issubclass(kind, UsageError)
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [BudgetMissed, OutputsDiffer])
def test_what_fails_a_test_is_an_assertion_error(kind: type[Exception]) -> None:
    """Any test runner reports it as a failure."""
    assert issubclass(kind, AssertionError)


@pytest.mark.parametrize("kind", [Unavailable, MeasurementError])
def test_what_nobody_is_to_blame_for_is_neither(kind: type[Exception]) -> None:
    """A figure that cannot be had is no failed assertion and no wrong value."""
    assert not issubclass(kind, (AssertionError, ValueError))


def test_the_docstring_names_every_exception() -> None:
    """Who adds an exception draws it."""
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in errors.__all__)
