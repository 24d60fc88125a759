"""The sizes of a sweep, as people write them; what cannot be meant is refused in one sentence."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.sizes import Sizes
from pytest_gpuprof.core.workload import call

KNOWN = ("name", "flops", "params", "rounds")


def product(device: Any, n: int = 1, m: int = 1) -> Any:
    return lambda: n * m


def anything(device: Any, **parameters: Any) -> Any:
    return lambda: parameters


def sizes(workload: Any = product, /, **options: Any) -> Sizes:
    return Sizes.of(workload, options, known=KNOWN, servants=("device",))


@pytest.mark.parametrize("values", [[4, 1, 2], (1, 2, 4), range(1, 5, 1), np.array([1, 2, 4]), 2 ** np.arange(3)])
def test_any_list_of_numbers_will_do(values: Any) -> None:
    """They are sorted, and whole numbers stay whole: a builder allocates by them."""
    found = sizes(n=values)
    assert (found.name, found.parameter) == ("product", "n")
    assert list(found.values) == sorted(int(value) for value in values)
    assert all(type(value) is int for value in found.values)


def test_sizes_may_be_fractions() -> None:
    """A density, a share."""
    assert sizes(n=[0.5, Fraction(1, 4)]).values == (0.25, 0.5)


def test_each_size_has_a_name_and_its_parameter() -> None:
    """Beside what stays the same."""
    found = sizes(n=[1, 2], params={"m": 3}, name="mine", rounds=4)
    assert list(found.each()) == [
        (1, {"name": "mine[n=1]", "params": {"m": 3, "n": 1}, "rounds": 4}),
        (2, {"name": "mine[n=2]", "params": {"m": 3, "n": 2}, "rounds": 4}),
    ]


def test_the_jobs_of_each_accelerator_are_together() -> None:
    """By size."""
    assert sizes(n=[1, 2]).jobs(lambda name, params: [f"{name} on a", f"{name} on b"]) == [
        {1: "product[n=1] on a", 2: "product[n=2] on a"},
        {1: "product[n=1] on b", 2: "product[n=2] on b"},
    ]


def test_sizes_that_differ_have_names_that_differ() -> None:
    """Whatever their digits."""
    names = [options["name"] for _, options in sizes(n=[0.12341, 0.12344, 1234.5]).each()]
    assert names == ["product[n=0.12341]", "product[n=0.12344]", "product[n=1234.5]"]


def test_sizes_of_other_accelerators_are_refused() -> None:
    """What was measured elsewhere may lack one."""
    with pytest.raises(UsageError, match="not measured on the same accelerators"):
        sizes(n=[1, 2]).jobs(lambda name, params: ["a"] * params["n"])


def test_a_builder_that_takes_anything_takes_a_size() -> None:
    """Nobody can know better."""
    assert sizes(anything, width=[1, 2]).parameter == "width"


@pytest.mark.parametrize(
    ("workload", "options", "message"),
    [
        (product, {}, r"a sweep needs sizes; .* as in n=\[256, 512, 1024, 2048\]"),
        (product, {"n": [1, 2], "m": [1, 2]}, r"varies one parameter, and got n= and m=; put what stays .* params="),
        (product, {"flop": 3}, r"no keyword 'flop'; did you mean 'flops'\?"),
        (product, {"n": 3}, r"n=3 is no list of sizes"),
        (product, {"n": "12"}, r"n='12' is no list of sizes"),
        (product, {"n": {1: 2}}, r"is no list of sizes"),
        (product, {"n": [1]}, r"n= has 1 size, and a crossover takes two at least"),
        (product, {"n": []}, r"n= has 0 size"),
        (product, {"n": [1, 2, 2]}, r"n= has 2 twice"),
        (product, {"n": [0, 1]}, r"n= has 0, and sizes are above 0"),
        (product, {"n": [1, float("nan")]}, r"n= has nan, and sizes are above 0"),
        (product, {"n": [1, True]}, r"n= has True, which is no number"),
        (product, {"n": ["1", 2]}, r"n= has '1', which is no number"),
        (product, {"k": [1, 2]}, r"the builder 'product' takes no k=; give it a parameter for the size"),
        (call(sum, [1, 2]), {"n": [1, 2]}, r"the builder 'sum' takes no n="),
    ],
)
def test_what_cannot_be_meant_is_refused(workload: Any, options: dict[str, Any], message: str) -> None:
    """In one sentence with what to write."""
    with pytest.raises(UsageError, match=message):
        sizes(workload, **options)
