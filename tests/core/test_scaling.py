"""What a sweep found, in words and as a figure."""

from __future__ import annotations

import math

import pytest

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.scaling import Crossover, Growth, Scaling

BETWEEN = Crossover(310.0, 256.0, 390.0, 64, 4096)
NOWHERE = Crossover(None, 4096.0, math.inf, 64, 4096)
UNDECIDED = Crossover(None, 3000.0, math.inf, 64, 4096)
EVERYWHERE = Crossover(64.0, 0.0, 64.0, 64, 4096)
OPEN = Crossover(3000.0, 2000.0, math.inf, 64, 4096)

CUBIC = Growth(0.0, 1e-9, 3.0, (2.9, 3.1), 0.01)


def scaling(crossover: Crossover | Reading) -> Scaling:
    return Scaling("n", (), crossover, {"cpu": CUBIC, "gpu": Reading.unavailable("too few sizes")})


@pytest.mark.parametrize(
    ("crossover", "sentence"),
    [
        (BETWEEN, "the GPU wins from n = 310 (256 to 390); CPU time grows as n^3 (2.9 to 3.1)"),
        (NOWHERE, "the GPU does not win at n = 4096, the largest measured; CPU time grows as n^3 (2.9 to 3.1)"),
        (UNDECIDED, "it is too close to call at n = 4096, the largest measured; CPU time grows as n^3 (2.9 to 3.1)"),
        (EVERYWHERE, "the GPU wins at every size, from n = 64 on; CPU time grows as n^3 (2.9 to 3.1)"),
        (OPEN, "the GPU wins from n = 3000 (2000 or above); CPU time grows as n^3 (2.9 to 3.1)"),
        (
            Reading.unavailable("there is no GPU", "no device"),
            "the crossover is unavailable, because there is no GPU; CPU time grows as n^3 (2.9 to 3.1)",
        ),
    ],
)
def test_one_sentence_says_what_was_found(crossover: Crossover | Reading, sentence: str) -> None:
    """And only what is known: the growth of the GPU leg is left out here."""
    assert scaling(crossover).sentence == sentence


def test_a_crossover_is_a_derived_figure_with_its_interval() -> None:
    """It follows from speedups."""
    assert scaling(BETWEEN).reading == Reading(310.0, interval=(256.0, 390.0), quality="derived")


def test_a_gpu_that_does_not_win_has_no_crossover_to_keep() -> None:
    """The reading says so; a number would be a guess."""
    reading = scaling(NOWHERE).reading
    assert reading.value is None
    assert reading.reason == "the GPU does not win at n = 4096, the largest size that was measured"


def test_a_gpu_that_may_win_is_not_said_to_lose() -> None:
    """Noise is no knowledge."""
    assert (
        scaling(UNDECIDED).reading.reason == "it is too close to call at n = 4096, the largest size that was measured"
    )
    assert UNDECIDED.told("n") == "too close to call at n = 4096 (the largest measured)"


def test_an_estimate_outside_its_interval_is_refused() -> None:
    """Somebody computed nonsense."""
    with pytest.raises(ValueError, match="cannot lie outside"):
        Crossover(1.0, 2.0, 3.0, 1, 10)
