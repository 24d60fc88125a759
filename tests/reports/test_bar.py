"""The bar and the number of a headroom, in blocks and in ASCII."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuprof.budgets.headroom import Headroom
from pytest_gpuprof.core.results import Outcome, Verdict
from pytest_gpuprof.reports.bar import bar, told
from pytest_gpuprof.reports.screen import width


def headroom(share: float, outcome: Outcome = "met") -> Headroom:
    return Headroom(Verdict(outcome, "max_energy", ""), share)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "+100%"),
        (0.9999, "+99%"),  # all is left only if nothing is used
        (0.626, "+63%"),
        (0.0123, "+1%"),
        (0.004, "+0.4%"),
        (1e-9, "+0.01%"),  # nothing is left only at the limit itself
        (0.0, "0%"),
        (-0.004, "-0.4%"),
        (-0.12, "-12%"),
        (-8.9, "-890%"),
        (-9.2, "-10x"),  # 10.2 times the limit
        (-34.4, "-35x"),
        (-math.inf, "beyond"),
    ],
)
def test_the_number(share: float, text: str) -> None:
    """Percent, and from ten times the limit on its multiple."""
    assert told(headroom(share)) == text


@pytest.mark.parametrize(
    ("share", "outcome", "blocks", "letters"),
    [
        (1.0, "met", "▕██████▏", "[######]"),
        (0.5, "met", "▕███   ▏", "[###...]"),
        (0.26, "met", "▕█▌    ▏", "[##....]"),
        (0.001, "met", "▕▏     ▏", "[#.....]"),
        (0.0, "met", "▕      ▏", "[......]"),
        (-0.05, "missed", "▕!     ▏", "[!.....]"),
        (-0.5, "missed", "▕!!!   ▏", "[!!!...]"),
        (-7.0, "missed", "▕!!!!!!▏", "[!!!!!!]"),
        (-math.inf, "missed", "▕!!!!!!▏", "[!!!!!!]"),
        (0.5, "inconclusive", "▕???   ▏", "[???...]"),
        (-0.5, "inconclusive", "▕???   ▏", "[???...]"),
    ],
)
def test_the_bar(share: float, outcome: Outcome, blocks: str, letters: str) -> None:
    """What is left, what is beyond, and what is not certain differ without any colour."""
    assert bar(headroom(share, outcome), ascii_only=False) == blocks
    assert bar(headroom(share, outcome), ascii_only=True) == letters


@given(st.floats(max_value=1.0, allow_nan=False), st.sampled_from(["met", "missed", "inconclusive"]), st.booleans())
def test_every_bar_is_as_wide_as_every_other(share: float, outcome: Outcome, ascii_only: bool) -> None:
    """So that they stand under each other."""
    drawn = bar(headroom(share, outcome), ascii_only)
    assert width(drawn) == len(drawn) == 8
    assert drawn.isascii() is ascii_only
