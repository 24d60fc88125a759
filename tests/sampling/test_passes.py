"""Passes of their own: counting FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.sampling.passes import flops_pass
from tests.sampling.machines import leg_on, running


class Abacus:
    """Counts a fixed number, or fails."""

    name = "the abacus"
    knows = "sums"

    def __init__(self, counts: int | Exception) -> None:
        self.counts = counts
        self.calls = 0

    def count(self, function: Callable[[], Any]) -> int:
        function()
        self.calls += 1
        if isinstance(self.counts, Exception):
            raise self.counts
        return self.counts


def flops_of(machine: SimulatedBackend, abacus: Abacus, builder: Any = None, **options: Any) -> Reading:
    result = flops_pass(leg_on(machine, builder or running(1e-3), **options), abacus, threads=1, quality="estimated")
    assert result.calls == 2
    return result.readings["flops"]


def test_one_call_is_counted_after_one_that_is_not(machine: SimulatedBackend) -> None:
    """The first may compile; the reading is estimated, and says who counted what."""
    made: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: made.append("call")

    abacus = Abacus(12)
    reading = flops_of(machine, abacus, work, reset=lambda: made.append("reset"))
    assert (reading.value, reading.quality) == (12.0, "estimated")
    assert reading.source == "counted by the abacus (only sums)"
    assert made == ["reset", "call", "reset", "call"]
    assert abacus.calls == 1


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (0, "the abacus counted nothing: it knows sums; give flops= yourself"),
        (Unavailable("a bead is hidden"), "the abacus cannot tell: a bead is hidden; or give flops= yourself"),
        (RuntimeError("a bead fell"), "the abacus failed (RuntimeError: a bead fell); give flops= yourself"),
    ],
)
def test_a_count_that_failed_or_found_nothing_is_unavailable(
    machine: SimulatedBackend, counts: Any, reason: str
) -> None:
    """Never 0, and no error of the workload's: it ran well unwatched."""
    reading = flops_of(machine, Abacus(counts))
    assert (reading.value, reading.reason) == (None, reason)


def test_an_error_of_the_workload_is_its_own(machine: SimulatedBackend) -> None:
    """Before anybody counts."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            raise KeyError("mine")

        return run

    with pytest.raises(KeyError, match="mine"):
        flops_of(machine, Abacus(1), work)
