"""How far a measurement is, as data. Told between timed regions only; whoever listens may show it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pytest_gpuprof.core.quantities import Unit, format_quantity

__all__ = ["Estimate", "Progress", "Watch"]

_IN_MINUTES_S = 120
"""From two minutes on, nobody counts the seconds."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rounds so far say about the figure that they are taken for.

    Args:
        title: how a sentence calls the figure.
        value: in base units.
        unit: its base unit.
        interval: what it may be as well, ``None`` while nothing bounds it.
        word: that must stand beside the figure, as *simulated*; empty for none.
    """

    title: str
    value: float
    unit: Unit
    interval: tuple[float, float] | None = None
    word: str = ""

    def __str__(self) -> str:
        """Return it as people write it.

        >>> str(Estimate("speedup", 20.0, "x", (19.0, 21.0), "simulated"))
        'speedup 20x (19x to 21x, simulated)'
        """
        spread = "" if self.interval is None else " to ".join(format_quantity(end, self.unit) for end in self.interval)
        beside = ", ".join(filter(None, (spread, self.word)))
        return f"{self.title} {format_quantity(self.value, self.unit)}{f' ({beside})' if beside else ''}"


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done now of the measurement of one profile.

    Args:
        phase: what it is: ``"first call"``, ``"round"``, ``"energy"``, …
        place: the device it is done on, empty for all of them.
        stage: a part of the phase.
        step: the number of the step of the phase, from 1; 0 where it has no steps.
        steps: how many there are, or may be.
        fewer: whether fewer may do.
        estimate: of the figure that is still open, ``None`` while there is none.
        left_s: seconds that the phase still takes, ``None`` while that is not known.
        at_most: whether ``left_s`` is a limit; if not, it is about that much.
        then: the phases that come after this one.
        again: why everything is measured once more, empty if it is not.
        lasting: whether what was begun is sure to last longer than a moment.
    """

    phase: str
    place: str = ""
    stage: str = ""
    step: int = 0
    steps: int = 0
    fewer: bool = False
    estimate: Estimate | None = None
    left_s: float | None = None
    at_most: bool = False
    then: tuple[str, ...] = ()
    again: str = ""
    lasting: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """What there is to say, what matters most first.

        >>> Progress("round", step=2, steps=24, fewer=True, left_s=11.2, at_most=True, then=("energy",)).parts
        ('round 2 of at most 24', 'at most 12 s left', 'then energy')
        """
        return tuple(filter(None, (self.again, self._what(), str(self.estimate or ""), self._left(), self._then())))

    def __str__(self) -> str:
        return ", ".join(self.parts)

    def _what(self) -> str:
        where = f"{self.phase} on {self.place}" if self.place else self.phase
        where = f"{where}: {self.stage}" if self.stage else where
        return f"{where} {self.step} of {'at most ' if self.fewer else ''}{self.steps}" if self.step else where

    def _left(self) -> str:
        if self.left_s is None:
            return ""
        rounded: Callable[[float], int] = math.ceil if self.at_most else round
        minutes = self.left_s >= _IN_MINUTES_S
        amount = f"{rounded(self.left_s / 60)} min" if minutes else f"{rounded(self.left_s)} s"
        return f"{'at most' if self.at_most else 'about'} {amount} left"

    def _then(self) -> str:
        return f"then {', '.join(self.then)}" if self.then else ""


Watch = Callable[[Progress], None]
"""Told what is being done, between timed regions only."""
