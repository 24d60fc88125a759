"""A sweep: one workload at several sizes, each with its profile, and what they tell together. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.core.scaling import Growth, Scaling

__all__ = ["Sweep", "SweepJudge"]


class SweepJudge(Protocol):
    """Who judges further limits on a sweep."""

    def require(self, sweep: Sweep, limits: Mapping[str, Any]) -> Sweep:
        """Return the sweep with the new verdicts, or raise for a missed limit."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One workload at several sizes.

    ``print(sweep)`` shows it in a few lines; ``sweep[2048]`` is the profile of one size.

    Args:
        name: the workload's name.
        profiles: by size, the smallest first. What the sweep as a whole yields belongs to that of the largest size.
        scaling: the crossover, and how each leg grows.
    """

    name: str
    profiles: Mapping[float, Profile]
    scaling: Scaling
    judge: SweepJudge | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, size: float) -> Profile:
        try:
            return self.profiles[size]
        except KeyError:
            sizes = ", ".join(map(str, self.profiles))
            raise KeyError(f"{self.scaling.parameter}={size!r} was not measured; there are {sizes}") from None

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sizes that were measured, the smallest first."""
        return tuple(self.profiles)

    @property
    def crossover(self) -> float:
        """The smallest size from which the GPU wins up to the largest, interpolated between measured ones.

        Raises:
            Unavailable: if it does not win at the largest, or nothing was measured.
        """
        return self.scaling.reading.require("the crossover")

    @property
    def crossover_interval(self) -> tuple[float, float]:
        """The interval of the crossover; 0 or infinite where it is not bounded by what was measured.

        Raises:
            Unavailable: as :attr:`crossover`.
        """
        reading = self.scaling.reading
        reading.require("the crossover")
        assert reading.interval is not None
        return reading.interval

    def growth(self, leg: Literal["cpu", "gpu"]) -> Growth:
        """Return how the time of a leg grows with the size.

        Raises:
            Unavailable: if there are too few sizes to tell, or nothing was measured.
        """
        found = self.scaling.growth[leg]
        if isinstance(found, Growth):
            return found
        raise Unavailable(f"the growth of the {leg} leg is unavailable, because {found.reason}")

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The judgement on each budget, of all sizes."""
        return tuple(verdict for profile in self.profiles.values() for verdict in profile.verdicts)

    def require(self, **limits: Any) -> Sweep:
        """Judge limits on the crossover now, and raise if one is missed.

        Args:
            limits: ``max_crossover=512``. What limits one size is required of its profile:
                ``sweep[2048].require(min_speedup=5)``.

        Returns:
            The sweep with the new verdicts.

        Raises:
            BudgetMissed: if a limit is missed.
            BudgetError: for a keyword that does not limit a sweep, or a value that cannot be meant.
        """
        if self.judge is None:
            raise Unavailable(f"sweep {self.name!r} was read from a file, so nothing more can be judged on it")
        return self.judge.require(self, limits)

    def __str__(self) -> str:
        device = self.profiles[self.sizes[-1]].gpu.device
        where = "" if device is None else f" on {device.label}"
        parameter, lines = self.scaling.parameter, [f"{self.name}{where}: {self.scaling.sentence}"]
        for size, profile in self.profiles.items():
            speedup = profile.ratio("speedup")
            missing = f"unavailable, because {speedup.reason}"
            told = missing if speedup.value is None else format_quantity(speedup.value, "x")
            lines.append(f"  {parameter}={size}: {told}")
        return "\n".join([*lines, *(f"  {verdict.sentence}" for verdict in self.verdicts)])
