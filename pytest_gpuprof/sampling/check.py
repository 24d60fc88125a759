"""Comparing what the legs computed: a fast wrong answer is worth nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pytest_gpuprof.core.errors import OutputsDiffer
from pytest_gpuprof.core.protocols import Arrays
from pytest_gpuprof.core.workload import Check

__all__ = ["compare_outputs"]


def compare_outputs(
    name: str, expected: Any, actual: Any, check: Check, arrays: tuple[Arrays | None, Arrays | None]
) -> None:
    """Compare the CPU leg's output with the GPU leg's.

    Without tolerances, floating-point results must agree to half the digits of the less exact of the two types,
    relative to the largest value of the array: devices sum in different orders, so an element that nearly cancels keeps
    no digits of its own.

    Args:
        name: of the workload, for the message.
        expected, actual: outputs of the CPU leg and of the GPU leg; lists, tuples and dicts are compared part by part.
        check: ``True``, ``dict(rtol=, atol=)``, or a function of both outputs that raises or returns ``False``.
        arrays: how each leg's device gives its arrays back to the host.

    Raises:
        OutputsDiffer: if they differ; the message says where and by how much.
    """
    if callable(check):
        try:
            verdict = check(expected, actual)
        except AssertionError as error:
            raise OutputsDiffer(f"the legs of {name!r} computed different things: {error}") from error
        if verdict is not None and not verdict:  # NumPy's False is not Python's
            raise OutputsDiffer(f"the legs of {name!r} computed different things: check= returned False")
        return
    tolerance = dict(check) if isinstance(check, Mapping) else None
    _Comparison(name, tolerance, arrays).parts("the output", expected, actual)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison: of which workload, how exact, and how its arrays come to the host."""

    name: str
    tolerance: Mapping[str, float] | None
    arrays: tuple[Arrays | None, Arrays | None]

    def parts(self, where: str, expected: Any, actual: Any) -> None:
        """Compare two outputs, part by part where they have parts."""
        if isinstance(expected, Mapping) and isinstance(actual, Mapping):
            if expected.keys() != actual.keys():
                self._differ(where, f"has the keys {sorted(map(str, expected))} and {sorted(map(str, actual))}")
            for key in expected:
                self.parts(f"{where}[{key!r}]", expected[key], actual[key])
        elif isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
            if len(expected) != len(actual):
                self._differ(where, f"has {len(expected)} and {len(actual)} parts")
            for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
                self.parts(f"{where}[{index}]", left, right)
        else:
            self._values(where, expected, actual)

    def _values(self, where: str, expected: Any, actual: Any) -> None:
        import numpy

        sides = list(zip(self.arrays, (expected, actual), strict=True))
        precisions = [side.precision(value) for side, value in sides if side is not None]
        left, right = (value if side is None else side.host(value) for side, value in sides)
        numeric = (numpy.ndarray, numpy.generic, int, float, complex)
        if not isinstance(left, numeric) or not isinstance(right, numeric):
            if type(left) is not type(right) or _unequal(left, right):
                self._differ(where, f"is {_short(left)} on the CPU and {_short(right)} on the GPU")
            return
        left, right = numpy.asarray(left), numpy.asarray(right)
        # An adapter knows its own arrays only; what a callable has brought to the host itself tells its type here.
        precisions += [float(numpy.finfo(side.dtype).eps) for side in (left, right) if side.dtype.kind in "fc"]
        if left.shape != right.shape:
            self._differ(where, f"has the shape {left.shape} on the CPU and {right.shape} on the GPU")
        if left.size == 0:
            return
        if left.dtype.kind in "fc" or right.dtype.kind in "fc":
            wrong = ~numpy.isclose(right, left, equal_nan=True, **_tolerances(left, self.tolerance, precisions))
        else:
            wrong = left != right
        if wrong.any():
            index = tuple(int(part) for part in numpy.argwhere(wrong)[0]) if left.ndim else ()
            self._differ(
                where,
                f"differs in {int(wrong.sum())} of {left.size} elements, first at {index or 'its only element'}: "
                f"{left[index]} on the CPU, {right[index]} on the GPU",
            )

    def _differ(self, where: str, how: str) -> NoReturn:
        raise OutputsDiffer(
            f"the legs of {self.name!r} computed different things: {where} {how}; "
            "if that is meant, say check=False or give tolerances with check=dict(rtol=, atol=)"
        )


def _tolerances(
    expected: Any, tolerance: Mapping[str, float] | None, precisions: list[float | None]
) -> dict[str, float]:
    import numpy

    if tolerance is not None:
        return {"rtol": tolerance.get("rtol", 0.0), "atol": tolerance.get("atol", 0.0)}
    coarsest = max(each for each in precisions if each is not None)  # the caller has at least one inexact side
    finite = numpy.abs(expected[numpy.isfinite(expected)])
    largest = float(finite.max()) if finite.size else 1.0
    half = math.sqrt(coarsest)
    return {"rtol": half, "atol": half * largest}


def _unequal(left: Any, right: Any) -> bool:
    try:
        return bool(left != right)
    except Exception:  # an object that cannot be compared is not evidence of a difference
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
