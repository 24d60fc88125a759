"""The language of ``-k``: parts of a name with and, or, not and parentheses."""

from __future__ import annotations

import pytest

from pytest_gpuprof.cli.selecting import wanted
from pytest_gpuprof.core.errors import UsageError

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
