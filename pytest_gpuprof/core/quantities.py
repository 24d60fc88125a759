"""Quantities: what a number means, and how people write it.

Inside the package every figure is in base units (seconds, bytes, joules, watts, a plain ratio); text is parsed and
formatted only here, at the edges. ``MB`` is 10**6 bytes and ``MiB`` is 2**20 bytes.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_gpuprof.core.errors import BudgetError

__all__ = [
    "METRICS",
    "PRECISIONS",
    "Family",
    "Metric",
    "Unit",
    "common_scale",
    "format_number",
    "format_quantity",
    "parse_quantity",
    "scale_for",
]

Unit = Literal[
    "s", "B", "J", "W", "x", "1/s", "1/J", "Hz", "°C", "1",
    "FLOP", "FLOP/s", "B/s", "FLOP/B", "FLOP/J", "Js", "share",
]  # fmt: skip
"""Base units: second, byte, joule, watt, ratio, items per second, items per joule, hertz, degree Celsius, a count;
floating-point operations, these per second, bytes per second, operations per byte, operations per joule, joule seconds,
and the part of a whole, which people write as ``40%``."""

Family = Literal[
    "time", "cpu time", "device time", "ratio", "device ratio", "memory", "energy", "utilization", "regression"
]  # fmt: skip
"""What kind of evidence a figure rests on: it decides which doubts can spoil a verdict on it. Time is the GPU leg's.

A doubt about a time or a ratio holds for what is taken from device events too, and one about a time for a utilization,
which is work over that time; not the other way round.
"""

PRECISIONS: Final = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8")
"""The number formats for which a device has a peak rate of its own, by the names that datasheets use."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number means.

    Args:
        name: the key under which readings and samples are stored, e.g. ``"wall_time"``.
        unit: its base unit.
        title: how a table or a sentence calls it.
        adds_up: whether the figure of a round is the sum over its calls (time, energy) and is divided by their
            number, or not (peak memory, power).
    """

    name: str
    unit: Unit
    title: str
    adds_up: bool = True


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("wall_time", "s", "wall time"),
        Metric("device_time", "s", "device time"),
        Metric("upload_time", "s", "upload of the inputs"),
        Metric("download_time", "s", "download of the output"),
        Metric("first_call", "s", "first call"),
        Metric("latency", "s", "latency of single calls"),
        Metric("memory", "B", "peak memory above the builder", adds_up=False),
        Metric("workspace", "B", "peak memory above the call", adds_up=False),
        Metric("reserved", "B", "memory reserved by the allocator", adds_up=False),
        Metric("energy", "J", "board energy"),
        Metric("net_energy", "J", "net board energy"),
        Metric("power", "W", "mean board power", adds_up=False),
        Metric("package_energy", "J", "CPU package energy"),
        Metric("sm_clock", "Hz", "multiprocessor clock", adds_up=False),
        Metric("temperature", "°C", "temperature", adds_up=False),
        Metric("other_processes", "1", "other processes on the GPU", adds_up=False),
        Metric("flops", "FLOP", "FLOPs per call, counted"),
        Metric("output", "B", "memory of the output", adds_up=False),
        Metric("leak", "B", "memory gained per call", adds_up=False),
    )
}
"""The built-in metrics by name. A third-party meter brings its own :class:`Metric`."""

_DECIMAL: Final[Mapping[str, float]] = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}

_SCALES: Final[Mapping[Unit, Mapping[str, float]]] = {
    "s": {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0},
    "B": {
        "B": 1.0,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
        "TiB": 2.0**40,
    },
    "J": {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0},
    "W": {"mW": 1e-3, "W": 1.0, "kW": 1e3},
    "x": {"": 1.0, "x": 1.0, "×": 1.0},
    "1/s": {"/s": 1.0, "k/s": 1e3, "M/s": 1e6, "G/s": 1e9},
    "1/J": {"/J": 1.0, "k/J": 1e3, "M/J": 1e6},
    "Hz": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "°C": {"°C": 1.0, "C": 1.0},
    "1": {"": 1.0},
    "FLOP": {f"{prefix}FLOP": factor for prefix, factor in _DECIMAL.items()},
    "FLOP/s": {f"{prefix}{name}": factor for name in ("FLOP/s", "FLOPS") for prefix, factor in _DECIMAL.items()},
    "B/s": {
        f"{prefix}B/s": factor for prefix, factor in ({**_DECIMAL, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}).items()
    },
    "FLOP/B": {"FLOP/B": 1.0},
    "FLOP/J": {f"{prefix}FLOP/J": factor for prefix, factor in _DECIMAL.items()},
    "Js": {"uJs": 1e-6, "µJs": 1e-6, "mJs": 1e-3, "Js": 1.0},
    "share": {"": 1.0, "%": 0.01},
}

# The units a formatted figure may take, smallest first. Decimal for time, energy and power; binary for memory,
# because allocators hand out powers of two.
_LADDERS: Final[Mapping[Unit, tuple[tuple[str, float], ...]]] = {
    "s": (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)),
    "B": (("B", 1.0), ("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30), ("TiB", 2.0**40)),
    "J": (("µJ", 1e-6), ("mJ", 1e-3), ("J", 1.0), ("kJ", 1e3)),
    "W": (("mW", 1e-3), ("W", 1.0), ("kW", 1e3)),
    "x": (("x", 1.0),),
    "1/s": (("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6), ("G/s", 1e9)),
    "1/J": (("/J", 1.0), ("k/J", 1e3), ("M/J", 1e6)),
    "Hz": (("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)),
    "°C": (("°C", 1.0),),
    "1": (("", 1.0),),
    "FLOP": tuple((f"{prefix}FLOP", factor) for prefix, factor in _DECIMAL.items()),
    "FLOP/s": tuple((f"{prefix}FLOP/s", factor) for prefix, factor in _DECIMAL.items()),
    "B/s": tuple((f"{prefix}B/s", factor) for prefix, factor in _DECIMAL.items()),  # decimal, as datasheets write it
    "FLOP/B": (("FLOP/B", 1.0),),
    "FLOP/J": tuple((f"{prefix}FLOP/J", factor) for prefix, factor in _DECIMAL.items()),
    "Js": (("µJs", 1e-6), ("mJs", 1e-3), ("Js", 1.0)),
    "share": (("%", 0.01),),
}

_EXAMPLES: Final[Mapping[Unit, str]] = {
    "s": "'1.5 ms'",
    "B": "'512 MiB'",
    "J": "'2 J'",
    "W": "'250 W'",
    "x": "5",
    "1/s": "'1000 /s'",
    "1/J": "'20 /J'",
    "Hz": "'1.5 GHz'",
    "°C": "'60 C'",
    "1": "5",
    "FLOP": "'17 GFLOP'",
    "FLOP/s": "'67 TFLOP/s'",
    "B/s": "'900 GB/s'",
    "FLOP/B": "'10 FLOP/B'",
    "FLOP/J": "'50 GFLOP/J'",
    "Js": "'0.1 Js'",
    "share": "'40%'",
}

_TEXT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def parse_quantity(value: object, unit: Unit, *, what: str = "the limit", zero: bool = False) -> float:
    """Return ``value`` in the base unit ``unit``.

    Args:
        value: a number in base units, or a string with a unit (``"1.5 ms"``, ``"512 MiB"``, ``"2 J"``, ``"5x"``).
        unit: the base unit wanted.
        what: how to call the value in an error message.
        zero: whether zero is a sensible value (no extra memory) or not (no time at all).

    Raises:
        BudgetError: for a bool, NaN, an infinity, a negative number, another type, or a missing or wrong unit.

    >>> parse_quantity("1.5 ms", "s")
    0.0015
    >>> parse_quantity("2 GiB", "B") == 2 * 2**30
    True
    >>> parse_quantity("5x", "x")
    5.0
    >>> parse_quantity("40%", "share")
    0.4
    """
    if isinstance(value, str):
        number = _parse_text(value, unit, what)
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's numbers are real ones too
        raise BudgetError(f"{what} is {value!r}, which is not a quantity; {_example(unit)}")
    else:
        number = _as_float(value)
    if not math.isfinite(number):
        raise BudgetError(f"{what} is {value!r}, which is not a finite number; {_example(unit)}")
    if number < 0:
        raise BudgetError(f"{what} is {value!r}, which is negative; {_example(unit)}")
    if number == 0 and not zero:
        raise BudgetError(f"{what} is {value!r}, which nothing can meet or miss; {_example(unit)}")
    return number


def _as_float(number: numbers.Real) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _parse_text(text: str, unit: Unit, what: str) -> float:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise BudgetError(f"{what} is {text!r}, which is not a number with a unit; {_example(unit)}")
    number, suffix = match.groups()
    scale = _SCALES[unit].get(suffix)
    if scale is None:
        problem = "has no unit" if not suffix else f"has the unit {suffix!r}, which does not fit"
        raise BudgetError(f"{what} is {text!r}, which {problem}; {_example(unit)}")
    return float(number) * scale


def _example(unit: Unit) -> str:
    known = ", ".join(suffix for suffix in _SCALES[unit] if suffix.isascii() and suffix)
    return f"write {_EXAMPLES[unit]} (units: {known})" if known else f"write {_EXAMPLES[unit]}"


def common_scale(values: Sequence[float], unit: Unit) -> tuple[str, float] | None:
    """Return the unit (suffix and factor) in which all ``values`` are read easily, ``None`` if they span too much.

    A column of a table has one unit, so that one can compare down it, where each cell then has at most four digits
    before the point, and no zero behind it first.

    >>> common_scale([0.0005, 0.04, 4.0], "s")
    ('ms', 0.001)
    >>> common_scale([0.0000009, 0.04], "s") is None
    True
    """
    best = scale_for(values, unit)
    ladder = _LADDERS[unit]
    if len(ladder) == 1:
        return best
    sizes = [abs(value) for value in values if value]
    fitting = (scale for scale in (best, *ladder) if all(0.1 <= size / scale[1] < 10_000 for size in sizes))
    return next(fitting, None)


def scale_for(values: Sequence[float], unit: Unit) -> tuple[str, float]:
    """Return the unit (suffix and factor) in which the middle one of ``values`` has a digit before the point.

    >>> scale_for([0.0000021, 0.04, 0.4], "s")
    ('ms', 0.001)
    """
    ladder = _LADDERS[unit]
    sizes = sorted(abs(value) for value in values if value)
    middle = sizes[len(sizes) // 2] if sizes else ladder[0][1]
    fitting = [step for step in ladder if step[1] <= middle * 1.0000001]
    return fitting[-1] if fitting else ladder[0]


def format_quantity(value: float, unit: Unit, *, digits: int = 3, ascii_only: bool = False) -> str:
    """Return ``value`` as people write it, with ``digits`` significant digits.

    >>> format_quantity(0.00154321, "s")
    '1.54 ms'
    >>> format_quantity(0.0000021, "s", ascii_only=True)
    '2.1 us'
    >>> format_quantity(3.14159, "x")
    '3.14x'
    >>> format_quantity(0.431, "share")
    '43.1%'
    """
    suffix, factor = scale_for([value], unit)
    number = format_number(value / factor, digits)
    gap = "" if unit in ("x", "1", "share") or suffix.startswith("/") else " "
    text = f"{number}{gap}{suffix}"
    return text.replace("µ", "u").replace("°", "") if ascii_only else text


def format_number(number: float, digits: int = 3) -> str:
    """Return ``number`` with ``digits`` significant digits and no exponent for everyday sizes.

    >>> format_number(1234.5), format_number(0.12345), format_number(12.0)
    ('1234', '0.123', '12')
    """
    if number == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(number)))
    if not -5 <= magnitude < 7:
        return f"{number:.{digits - 1}e}"
    decimals = max(0, digits - 1 - magnitude)
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
