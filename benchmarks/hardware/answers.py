"""The questions that only hardware can answer, what the package assumes until then, and the form of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pytest_gpuprof.core.errors import Unavailable

__all__ = ["EXPECTED", "Answer", "Expected", "asked"]


@dataclass(frozen=True, slots=True)
class Expected:
    """A question, and what the package takes for granted."""

    question: str
    assumed: str


EXPECTED = {
    "spin": Expected("How far from proportional is the spin kernel's time?", "≤ 10 %"),
    "probe": Expected("What does the spin kernel say of the SM clock, over what NVML says?", "1"),
    "resolution": Expected("What is the smallest step of the event clock?", "0.5 µs"),
    "empty": Expected("How far apart are two events with nothing between them?", "≤ 2 µs"),
    "queue": Expected("How many launches can be outstanding before the host blocks?", "≥ 800"),
    "escape": Expected("How long does a device seem busy after the last event though it is not?", "≤ 20 µs"),
    "clock": Expected("How low does an unthrottled clock go, over its highest?", "≥ 0.90"),
    "floor": Expected("By how much do rounds of device time differ?", "≤ 2 %"),
    "rewarm": Expected("How long after an idle turn are calls slower than later?", "≤ 20 ms"),
    "wall": Expected("How much longer is wall time than device time for long kernels?", "≤ 2 %"),
    "period": Expected("How often is the energy counter renewed?", "100 ms"),
    "polling": Expected("What does polling the counter do to the next window's energy?", "≤ 1 %"),
    "power": Expected("What does the counter say over integrated power?", "1"),
    "fields": Expected("How many of five counters of throttled time does the driver offer?", "≥ 1"),
    "mapping": Expected("For how many of torch's devices is NVML's card found and verified?", "all"),
    "context": Expected("How much more power does an idle card take with a context?", "> 0 W"),
    "peak": Expected("What does a matrix product in single precision reach of the derived peak?", "≤ 1"),
    "spread": Expected("By how much do five energy windows of 5 s differ?", "≤ 2 %"),
}
"""By key, in the order of the page; the last eight are about energy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Args:
        key: of :data:`EXPECTED`.
        value: the number, ``None`` if there is no answer.
        unit: its unit; empty for a ratio.
        sentence: what was done to get it, or why there is none.
    """

    key: str
    value: float | None
    unit: str
    sentence: str

    def __post_init__(self) -> None:
        if self.key not in EXPECTED:
            raise ValueError(f"there is no question {self.key!r}")
        if not self.sentence:
            raise ValueError("an answer has a sentence")

    def as_dict(self) -> dict[str, Any]:
        """Return it as builtin types."""
        return asdict(self)


def asked(key: str, question: Callable[[], tuple[float, str, str]]) -> Answer:
    """Ask one question: what it raises is why it has no answer, and the next one is asked all the same."""
    try:
        return Answer(key, *question())
    except Unavailable as error:
        return Answer(key, None, "", f"Unavailable, because {error}.")
    except Exception as error:  # whatever a driver or framework raises; ten minutes of other answers are not lost to it
        return Answer(key, None, "", f"It failed: {type(error).__name__}: {error}.")
