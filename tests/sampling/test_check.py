"""Comparing what the legs computed: tolerances, shapes, nested outputs, and functions of one's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import OutputsDiffer
from pytest_gpuprof.core.protocols import Arrays
from pytest_gpuprof.core.workload import Check
from pytest_gpuprof.sampling.check import compare_outputs

repeatable = settings(derandomize=True, deadline=None)


class Wrapped:
    """An array of a framework: it has to be brought to the host."""

    def __init__(self, values: Any, epsilon: float | None) -> None:
        self.values = np.asarray(values)
        self.epsilon = epsilon


class _Framework:
    """Knows its own arrays, and nothing of anyone else's."""

    def place(self, value: Any) -> Any:
        return value

    def host(self, value: Any) -> Any:
        return value.values if isinstance(value, Wrapped) else value

    def precision(self, value: Any) -> float | None:
        return value.epsilon if isinstance(value, Wrapped) else None


def arrays_of_numpy() -> Arrays:
    arrays = NumpyBackend().open(DeviceId("cpu")).arrays
    assert arrays is not None
    return arrays


NUMPY = arrays_of_numpy()


def compare(
    expected: Any, actual: Any, check: Check = True, arrays: tuple[Arrays | None, Arrays | None] = (NUMPY, NUMPY)
) -> None:
    compare_outputs("work", expected, actual, check, arrays)


def differ(expected: Any, actual: Any, check: Check = True, **more: Any) -> str:
    with pytest.raises(OutputsDiffer) as error:
        compare(expected, actual, check, **more)
    message = str(error.value)
    assert message.startswith("the legs of 'work' computed different things: ")
    return message.partition(": ")[2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_half_of_the_digits_must_agree(dtype: str) -> None:
    """Relative to the largest value, because an element that nearly cancels keeps no digits of its own."""
    digits = math.sqrt(np.finfo(dtype).eps)
    expected = np.array([1.0, -100.0, 1e-3], dtype=dtype)
    near, far = expected.copy(), expected.copy()
    near[2] += 50 * digits
    far[2] += 400 * digits
    compare(expected, near)
    said = differ(expected, far)
    assert "the output differs in 1 of 3 elements, first at (2,): " in said
    assert "say check=False or give tolerances" in said


def test_the_less_exact_of_two_types_counts() -> None:
    """A GPU that computes in float32 is compared with a CPU in float64 as float32."""
    expected = np.linspace(1, 2, 9)
    actual = (expected * (1 + 1e-4)).astype("float32")
    compare(expected, actual)
    differ(expected, expected * (1 + 1e-4))


@pytest.mark.parametrize("arrays", [(None, None), (_Framework(), _Framework()), (NUMPY, _Framework())])
def test_arrays_that_the_callable_has_brought_to_the_host_tell_their_own_type(arrays: Any) -> None:
    """An adapter knows its own arrays only; float32 results are not compared like float64."""
    expected = np.linspace(1, 2, 9, dtype="float32")
    compare(expected, expected * np.float32(1 + 1e-4), arrays=arrays)
    differ(expected, expected * np.float32(1 + 1e-3), arrays=arrays)


def test_a_framework_tells_the_precision_that_numpy_does_not_know() -> None:
    """A bfloat16 comes to the host as float32, and has eight bits."""
    bfloat16 = 2.0**-7
    expected: Any = np.ones(4, "float32")
    actual: Any = np.full(4, 1.05, "float32")
    framework = (_Framework(), _Framework())
    compare(Wrapped(expected, bfloat16), Wrapped(actual, bfloat16), arrays=framework)
    differ(Wrapped(expected, None), Wrapped(actual, None), arrays=framework)


@pytest.mark.parametrize(
    ("check", "equal"),
    [
        ({"rtol": 0.2}, True),
        ({"rtol": 0.01}, False),
        ({"atol": 0.2}, True),
        ({"atol": 0.01}, False),
        ({"rtol": 0.06, "atol": 0.06}, True),
        ({}, False),
    ],
)
def test_tolerances_that_are_given_replace_the_default(check: dict[str, float], equal: bool) -> None:
    """Relative to the CPU's value, and what is not given is zero."""
    if equal:
        compare(np.ones(3), np.full(3, 1.1), check)
    else:
        differ(np.ones(3), np.full(3, 1.1), check)


def test_integers_and_booleans_are_exact() -> None:
    """There is no rounding in them."""
    compare(np.arange(5), np.arange(5, dtype="int32"))
    assert "differs in 1 of 2 elements" in differ(np.array([1000000, 2]), np.array([1000001, 2]))
    differ(np.array([True]), np.array([False]))
    differ(3, 4)


def test_an_integer_is_compared_with_a_float_as_a_float() -> None:
    """One leg may count in floats."""
    compare(3, 3.0 + 1e-9)
    compare(np.array([1, 2]), np.array([1.0, 2.0], "float32"))
    differ(3, 3.1)


def test_nan_and_infinity_agree_with_themselves_only() -> None:
    """They are results too."""
    odd = np.array([math.nan, math.inf, -math.inf, 1.0])
    compare(odd, odd.copy())
    for index in range(4):
        other = odd.copy()
        other[index] = 7.0
        assert f"first at ({index},)" in differ(odd, other)
    differ(np.array([math.inf]), np.array([-math.inf]))


def test_shapes_must_agree() -> None:
    """Nothing is broadcast; nothing at all agrees with nothing at all."""
    assert "has the shape (3, 1) on the CPU and (3,) on the GPU" in differ(np.ones((3, 1)), np.ones(3))
    compare(np.ones((0, 4)), np.ones((0, 4)))
    differ(np.ones((0, 4)), np.ones((4, 0)))


def test_nested_outputs_are_compared_part_by_part() -> None:
    """And the message says where: keys and indices."""
    expected = {"a": [np.ones(2), (1, "text")], "b": None}
    compare(expected, {"b": None, "a": (np.ones(2), [1, "text"])})
    assert "the output['a'][1][0] differs" in differ(expected, {"a": [np.ones(2), (2, "text")], "b": None})
    assert "the output['a'][1][1] is 'text' on the CPU and 'other' on the GPU" in differ(
        expected, {"a": [np.ones(2), (1, "other")], "b": None}
    )
    assert "the output has the keys ['a', 'b'] and ['a']" in differ(expected, {"a": expected["a"]})
    assert "the output['a'] has 2 and 1 parts" in differ(expected, {"a": [np.ones(2)], "b": None})


def test_anything_else_must_be_equal() -> None:
    """Of the same type; what cannot be compared is no evidence of a difference; a long text is shown in part."""

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise TypeError

        __hash__ = object.__hash__

    compare("same", "same")
    compare(None, None)
    compare(Incomparable(), Incomparable())
    assert "is None on the CPU and 3 on the GPU" in differ(None, 3)
    assert len(differ("x" * 1000, "y" * 1000)) < 400
    differ(b"same", "same")


@pytest.mark.parametrize("falsehood", [False, np.False_, np.array(False)])
def test_a_function_that_returns_false_says_that_they_differ(falsehood: Any) -> None:
    """NumPy's False too, which is what comparing arrays returns."""
    assert "check= returned False" in differ(1, 1, lambda cpu, gpu: falsehood)


@pytest.mark.parametrize("truth", [True, None, np.True_])
def test_a_function_that_returns_nothing_or_true_agrees(truth: Any) -> None:
    """It gets both outputs as they are, the CPU's first."""
    seen = []

    def check(cpu: Any, gpu: Any) -> Any:
        seen.append((cpu, gpu))
        return truth

    compare("cpu", "gpu", check)
    assert seen == [("cpu", "gpu")]


def test_a_function_that_asserts_says_why() -> None:
    """Other exceptions are mistakes in the function, and come through."""

    def off_by_one(cpu: int, gpu: int) -> None:
        raise AssertionError(f"off by {gpu - cpu}")

    def wrong(cpu: int, gpu: int) -> None:
        raise ZeroDivisionError

    assert differ(1, 2, off_by_one) == "off by 1"
    with pytest.raises(ZeroDivisionError):
        compare(1, 2, wrong)


@repeatable
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 19), st.floats(0.01, 10))
def test_an_error_of_a_hundredth_of_the_largest_value_is_always_found(
    values: list[float], place: int, share: float
) -> None:
    """Wherever it is, in float32 and float64; and the output always agrees with itself."""
    for dtype in ("float32", "float64"):
        expected = np.array(values, dtype)
        compare(expected, expected.copy())
        largest = max(float(np.abs(expected).max()), 1e-3)
        wrong = expected.copy()
        wrong[place % len(values)] += share * largest
        differ(expected, wrong)
