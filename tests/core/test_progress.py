"""How far a measurement is, in words."""

from __future__ import annotations

import pytest

from pytest_gpuprof.core.progress import Estimate, Progress


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("comparing outputs"), "comparing outputs"),
        (Progress("first call", "cuda:0"), "first call on cuda:0"),
        (Progress("round", step=7, steps=24, fewer=True), "round 7 of at most 24"),
        (Progress("round", step=7, steps=8), "round 7 of 8"),
        (Progress("energy", "cuda:0", "settling", left_s=24.6), "energy on cuda:0: settling, about 25 s left"),
        (Progress("energy", "cuda:0", "window", 2, 3, left_s=10.4), "energy on cuda:0: window 2 of 3, about 10 s left"),
        (Progress("round", left_s=10.1, at_most=True), "round, at most 11 s left"),
        (Progress("round", left_s=0.0, at_most=True), "round, at most 0 s left"),
        (Progress("round", left_s=121.0, at_most=True), "round, at most 3 min left"),
        (Progress("energy", left_s=170.0), "energy, about 3 min left"),
        (Progress("round", then=("peak memory", "energy")), "round, then peak memory, energy"),
        (Progress("first call", again="measuring again"), "measuring again, first call"),
        (
            Progress("round", estimate=Estimate("GPU time", 1.5e-6, "s"), left_s=3.0, at_most=True),
            "round, GPU time 1.5 µs, at most 3 s left",
        ),
    ],
)
def test_progress_in_words(progress: Progress, text: str) -> None:
    """Seconds are said to be about so many, or at most so many; nothing is said of what is not known."""
    assert str(progress) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate("speedup", 5.123, "x", (4.9, 5.3)), "speedup 5.12x (4.9x to 5.3x)"),
        (Estimate("speedup", 5.123, "x", (4.9, 5.3), "simulated"), "speedup 5.12x (4.9x to 5.3x, simulated)"),
        (Estimate("speedup", 5.123, "x", None, "OpenCL on the CPU"), "speedup 5.12x (OpenCL on the CPU)"),
        (Estimate("compute utilization", 0.431, "share"), "compute utilization 43.1%"),
    ],
)
def test_an_estimate_has_its_interval_and_its_word(estimate: Estimate, text: str) -> None:
    """A stand-in's word stands beside its figure here as everywhere."""
    assert str(estimate) == text
