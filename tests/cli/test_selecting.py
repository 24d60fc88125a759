"""The language of ``-k``: parts of a name with and, or, not and parentheses."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.cli.selecting import selected, wanted
from pytest_gpuprof.core.errors import Unavailable, UsageError

from ..reports.documents import document, record, verdict

NAME = "tests/test_it.py::test_matmul[fp16] product"


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("", True),
        ("   ", True),
        ("matmul", True),
        ("MatMul", True),
        ("conv", False),
        ("not conv", True),
        ("not not matmul", True),
        ("matmul and fp16", True),
        ("matmul and fp32", False),
        ("conv or product", True),
        ("conv and product or matmul", True),  # and binds closer than or
        ("matmul or conv and fp32", True),
        ("(matmul or conv) and fp32", False),
        ("not (conv or fp32)", True),
        ("not conv and fp32", False),  # not binds closest
        ("test_it.py::test_matmul[fp16]", True),
        ("android", False),  # a word that only begins with "and"
    ],
)
def test_an_expression_means_what_pytest_means_by_it(expression: str, meant: bool) -> None:
    """Parts of the test's id and of the workload's name."""
    assert wanted(expression)(NAME) is meant


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("and", "missing before 'and'"),
        ("matmul and", "it ends too early"),
        ("not", "it ends too early"),
        ("(matmul", r"a \) is missing"),
        ("matmul)", r"missing before '\)'"),
        ("()", r"missing before '\)'"),
        ("matmul fp16", "and, or is missing before 'fp16'"),
    ],
)
def test_an_expression_that_is_none(expression: str, why: str) -> None:
    """It says what is wrong, and shows one that is right."""
    with pytest.raises(UsageError, match=why) as error:
        wanted(expression)
    assert "write e.g. -k 'matmul and not" in str(error.value)


class _Run:
    """A run of three workloads, one of which missed its budget."""

    label = "run 1"

    def document(self) -> dict[str, Any]:
        missed = record("t.py::matmul", verdicts=[verdict("missed")])
        return document(missed, record("t.py::conv", verdicts=[verdict("met")]), record("t.py::fft"), comparison={})


def test_a_part_of_a_run_is_counted_anew() -> None:
    """What was told of the whole is not true of it."""
    whole, part = selected(_Run(), ""), selected(_Run(), "conv")  # type: ignore[arg-type]  # as much as is asked
    assert (whole["counts"]["missed"], whole["counts"]["met"], "comparison" in whole) == (1, 1, True)
    assert (part["counts"]["missed"], part["counts"]["met"], "comparison" in part) == (0, 1, False)
    assert [each["test"] for each in part["records"]] == ["t.py::conv"]


def test_a_selection_that_means_nothing_is_told() -> None:
    """With the run's name."""
    with pytest.raises(Unavailable, match="run 1 has no record that is meant; give a wider -k"):
        selected(_Run(), "softmax")  # type: ignore[arg-type]  # as much as is asked
