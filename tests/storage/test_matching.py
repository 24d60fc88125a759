"""Which workloads of two runs are the same, which came and went, and which may only have another name."""

from __future__ import annotations

import pytest

from pytest_gpuprof.storage.matching import MOST_PAIRS, Workload, matched


def work(test: str, name: str = "fast") -> Workload:
    """A workload of a test in one file."""
    return (test if "::" in test else f"test_it.py::{test}", name)


def test_each_workload_is_in_both_or_new_or_vanished() -> None:
    """In the order of the runs."""
    found = matched([work("test_a", "a"), work("test_b", "b")], [work("test_c", "c"), work("test_a", "a")])
    assert found.both == (work("test_a", "a"),)
    assert found.new == (work("test_c", "c"),)
    assert found.vanished == (work("test_b", "b"),)
    assert found.renamed == {}


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (work("old/test_it.py::test_a"), work("new/test_it.py::test_a"), "the same name in another file"),
        (work("test_a", "matmul"), work("test_product", "matmul"), "the same workload in the same file"),
        (work("test_matmul_big", "big"), work("test_matmul_large", "large"), "a similar name"),
        (work("test_soft_max[fp16]", "x"), work("test_softmax[fp16]", "y"), "a similar name"),
    ],
)
def test_what_looks_alike_is_guessed(before: Workload, now: Workload, why: str) -> None:
    """And the reason is told."""
    found = matched([before], [now])
    assert {old: (guess.name, guess.why) for old, guess in found.renamed.items()} == {before: (now, why)}
    assert found.vanished == (before,)
    assert found.new == (now,)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (work("test_blur", "x"), work("test_matmul", "y")),
        (work("test_softmax[1]", "x"), work("test_soft_max[2]", "y")),  # another parameter is another workload
        (work("a/test_it.py::test_softmax", "x"), work("b/test_it.py::test_soft_max", "y")),
        (work("test_a", "x"), work("test_b", "y")),  # the prefix that all tests have makes none alike
    ],
)
def test_what_does_not_look_alike_is_not(before: Workload, now: Workload) -> None:
    """A wrong guess is worse than none."""
    assert matched([before], [now]).renamed == {}


def test_of_two_that_fit_neither_is_guessed() -> None:
    """One builder in many tests says nothing about which became which."""
    before = [work("test_red"), work("test_green")]
    now = [work("test_seven"), work("test_twelve")]
    assert matched(before, now).renamed == {}


def test_no_name_is_guessed_twice() -> None:
    """The more similar one gets it."""
    before = [work("test_matmul_big", "a"), work("test_matmul_bigg", "b")]
    now = [work("test_matmul_bigger", "c")]
    assert list(matched(before, now).renamed) == [work("test_matmul_bigg", "b")]


def test_a_moved_folder_of_ten_thousand_tests() -> None:
    """Found by rules that are linear; letters are not compared for so many."""
    before = [work(f"old.py::test_{number}", f"w{number}") for number in range(10_000)]
    now = [work(f"new.py::test_{number}", f"w{number}") for number in range(10_000)]
    assert len(matched(before, now).renamed) == 10_000
    many = int(MOST_PAIRS**0.5) + 1
    before = [work(f"test_softmax_of_{number}", f"v{number}") for number in range(many)]
    now = [work(f"test_softmax_on_{number}", f"w{number}") for number in range(many)]
    assert matched(before, now).renamed == {}
