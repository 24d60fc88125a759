"""What people write for a quantity, and what they read: units, round trips, and errors that say what to do."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.errors import BudgetError
from pytest_gpuprof.core.quantities import (
    METRICS,
    Unit,
    format_number,
    format_quantity,
    parse_quantity,
    scale_for,
)

repeatable = settings(derandomize=True, deadline=None)
UNITS: tuple[Unit, ...] = get_args(Unit)
sizes = st.floats(1e-9, 1e12)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1.5 ms", "s", 1.5e-3),
        ("1.5ms", "s", 1.5e-3),
        ("  20 us ", "s", 20e-6),
        ("20 µs", "s", 20e-6),
        ("20 μs", "s", 20e-6),  # the Greek letter, which looks the same
        ("3 ns", "s", 3e-9),
        ("2 min", "s", 120.0),
        (".5 s", "s", 0.5),
        ("1e-3 s", "s", 1e-3),
        ("+2 s", "s", 2.0),
        ("2 kB", "B", 2000.0),
        ("2 MB", "B", 2e6),
        ("2 MiB", "B", 2.0 * 2**20),
        ("1.5 GiB", "B", 1.5 * 2**30),
        ("1 Wh", "J", 3600.0),
        ("200 mJ", "J", 0.2),
        ("250 W", "W", 250.0),
        ("5", "x", 5.0),
        ("5x", "x", 5.0),
        ("5 ×", "x", 5.0),
        ("1000/s", "1/s", 1000.0),
        ("2 M/s", "1/s", 2e6),
        ("20 k/J", "1/J", 2e4),
        ("1.98 GHz", "Hz", 1.98e9),
    ],
)
def test_text_with_a_unit_becomes_base_units(text: str, unit: Unit, value: float) -> None:
    """Decimal and binary prefixes, spaces or none, both micro signs."""
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-12)


def test_megabytes_are_not_mebibytes() -> None:
    """MB is 10⁶ bytes and MiB is 2²⁰: nobody is guessed at."""
    assert parse_quantity("1 MB", "B") == 1_000_000
    assert parse_quantity("1 MiB", "B") == 1_048_576


@pytest.mark.parametrize("number", [5, 5.0, Fraction(5), np.int64(5), np.float32(5), np.float64(5)])
def test_a_number_is_in_base_units(number: Any) -> None:
    """Any real number is taken as it is, also NumPy's, and comes out as Python's own float."""
    value = parse_quantity(number, "s")
    assert value == 5.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("value", "unit", "problem"),
    [
        (True, "x", "is True, which is not a quantity"),
        (None, "s", "is None, which is not a quantity"),
        ([1], "s", "which is not a quantity"),
        (1 + 2j, "s", "which is not a quantity"),
        (np.bool_(True), "s", "which is not a quantity"),
        (math.nan, "s", "is nan, which is not a finite number"),
        (math.inf, "s", "is inf, which is not a finite number"),
        ("1e999 s", "s", "which is not a finite number"),
        (10**400, "s", "which is not a finite number"),
        (-1, "s", "is -1, which is negative"),
        ("-5 ms", "s", "is '-5 ms', which is negative"),
        (0, "s", "is 0, which nothing can meet or miss"),
        ("1e-999 s", "s", "which nothing can meet or miss"),
        ("fast", "s", "is 'fast', which is not a number with a unit"),
        ("1,5 ms", "s", "which is not a number with a unit"),
        ("nan s", "s", "which is not a number with a unit"),
        ("", "s", "which is not a number with a unit"),
        ("5", "s", "is '5', which has no unit"),
        ("5 MiB", "s", "has the unit 'MiB', which does not fit"),
        ("5 mb", "B", "has the unit 'mb', which does not fit"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(value: Any, unit: Unit, problem: str) -> None:
    """The error names the limit and the value, and ends with how to write one."""
    with pytest.raises(BudgetError) as error:
        parse_quantity(value, unit, what="max_gpu_time")
    assert str(error.value).startswith("max_gpu_time is ")
    assert problem in str(error.value)
    assert "; write " in str(error.value)


@pytest.mark.parametrize("unit", UNITS)
def test_the_remedy_of_an_error_can_be_followed(unit: Unit) -> None:
    """The example that an error gives is accepted."""
    with pytest.raises(BudgetError) as error:
        parse_quantity("nonsense", unit)
    example = str(error.value).partition("write ")[2].partition(" (units")[0].strip("'")
    assert parse_quantity(example, unit) > 0


def test_zero_is_a_limit_only_where_that_makes_sense() -> None:
    """No workspace at all can be asked for."""
    assert parse_quantity(0, "B", zero=True) == 0
    assert parse_quantity("0 MiB", "B", zero=True) == 0
    with pytest.raises(BudgetError, match="negative"):
        parse_quantity(-1, "B", zero=True)


@pytest.mark.parametrize("unit", UNITS)
@repeatable
@given(value=sizes, ascii_only=st.booleans())
def test_what_is_shown_can_be_read_back(unit: Unit, value: float, ascii_only: bool) -> None:
    """Three significant digits survive: half a unit of the third is at most 0.5 %."""
    shown = format_quantity(value, unit, ascii_only=ascii_only)
    assert parse_quantity(shown, unit) == pytest.approx(value, rel=5.1e-3)
    assert shown.isascii() or not ascii_only


@repeatable
@given(value=sizes)
def test_more_digits_are_closer(value: float) -> None:
    """Six digits are read back to one in a hundred thousand."""
    assert parse_quantity(format_quantity(value, "s", digits=6), "s") == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0, "s", "0 ns"),
        (12e-9, "s", "12 ns"),
        (1.5e-3, "s", "1.5 ms"),
        (90.0, "s", "90 s"),
        (1.5 * 2**30, "B", "1.5 GiB"),
        (1e6, "B", "977 KiB"),
        (20.0, "x", "20x"),
        (0.0123, "x", "0.0123x"),
        (1234.0, "1/s", "1.23 k/s"),
        (12.0, "1/J", "12/J"),
        (1.98e9, "Hz", "1.98 GHz"),
        (60.0, "°C", "60 °C"),
        (2.0, "1", "2"),
        (-0.002, "J", "-2 mJ"),
        (66.9e12, "FLOP/s", "66.9 TFLOP/s"),
        (4.8e12, "B/s", "4.8 TB/s"),
        (0.431, "share", "43.1%"),
        (1.5, "share", "150%"),
        (0.0021, "Js", "2.1 mJs"),
    ],
)
def test_shown_as_people_write_it(value: float, unit: Unit, shown: str) -> None:
    """Decimal steps for time, binary steps for memory."""
    assert format_quantity(value, unit) == shown


def test_extreme_numbers_have_an_exponent() -> None:
    """A number that nobody can count the digits of is written in scientific notation."""
    assert format_number(1.234e8) == "1.23e+08"
    assert format_number(1.234e-6) == "1.23e-06"
    assert format_number(0) == "0"


def test_a_column_takes_the_unit_of_its_middle() -> None:
    """One unit for all cells; zeros have no say."""
    assert scale_for([1e-6, 2e-3, 3e-3], "s")[0] == "ms"
    assert scale_for([0.0, 0.0, 5.0], "s")[0] == "s"
    assert scale_for([], "s")[0] == "ns"
    assert scale_for([1e-12], "s")[0] == "ns"


def test_metrics_are_keyed_by_their_name() -> None:
    """Every built-in metric has a unit that can be shown; what is a level does not add up over calls."""
    assert all(name == metric.name and metric.unit in UNITS for name, metric in METRICS.items())
    assert {name for name, metric in METRICS.items() if metric.adds_up} == {
        "wall_time", "device_time", "upload_time", "download_time", "first_call", "latency", "energy", "net_energy",
        "package_energy", "flops",
    }  # fmt: skip
