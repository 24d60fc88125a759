"""How to measure: warm-up, rounds, windows and limits; frozen, and checked at birth.

Every number has a reason beside it. Nothing here is measured on this machine: a plan says what to do, the sampler
finds out how many calls that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.sampling.refresh import PROBE_S, QUIET_S

__all__ = ["ENERGY_PRESETS", "Plan"]

ENERGY_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "quick": {"window_s": 2.0, "trials": 3, "settle_s": 2.0},
    "standard": {"window_s": 5.0, "trials": 3, "settle_s": 5.0},
    "strict": {"window_s": 10.0, "trials": 5, "settle_s": 5.0},
}
"""What ``--gpu-profile-energy`` can name. With windows whose power differs by up to 2 %, the interval of the counter
(without the sensor's own error) is known to 2 to 7 %, 1 to 5 % and 0.4 to 4 %; benchmarks/energy.py shows it."""

_USUAL_PERIOD_S = 0.1
"""The refresh for which the lengths of the presets are meant; a slower counter gets windows as many times longer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one profile is measured.

    Args:
        min_rounds: rounds before the first look; 3 is the least on which a verdict can rest.
        max_rounds: rounds after which the verdict is what it is.
        max_time_s: seconds for the rounds of a profile, without first call, compilation and warm-up.
        warmup_s: least busy time of the warm-up; 25 ms, as is common, measured a kernel 28 % too slow (triton #2306).
        cpu_warmup_s: the same for a CPU leg, if that is less: caches and clock of a CPU are there within milliseconds.
        warmup_cap_s: most time of the warm-up, not counting calls that were slow because something was compiled.
        compile_cap_s: most time of the warm-up in all.
        sample_s: least length of a sample, so that clock reads and one synchronization (10-50 µs) stay below 1 %.
        cpu_samples, gpu_samples: samples per round; the round's figure is their median.
        device_samples: samples of device time per round at most; they are short, and their median is better for it.
        device_s: most seconds a round spends on them, as long as five are taken.
        cpu_threads: threads of the CPU leg, ``None`` for as many as this process may use.
        window_s, trials: length and number of energy windows, for a counter refreshed every 0.1 s, which errs by at
            most 0.1/window_s per window; a slower counter gets longer windows. :data:`ENERGY_PRESETS` has three sets.
        settle_s: load before the first energy window, and at most as long again until the board's temperature is
            steady; a window that begins on a cold board is biased low.
        idle_s: least length of the window without load, for net energy.
        max_window_s: longest energy window, but for a single call longer than that.
        cache: ``"hot"`` calls back to back; ``"cold"`` evicts the device's cache before each call of a sample.
        transfers: whether to time the upload of the inputs and the download of the output apart.

    Raises:
        UsageError: if a number makes no sense.
    """

    min_rounds: int = 3
    max_rounds: int = 24
    max_time_s: float = 30.0
    warmup_s: float = 0.2
    cpu_warmup_s: float = 0.1
    warmup_cap_s: float = 2.0
    compile_cap_s: float = 120.0
    sample_s: float = 0.01
    cpu_samples: int = 3
    gpu_samples: int = 5
    device_samples: int = 20
    device_s: float = 0.25
    cpu_threads: int | None = None
    window_s: float = 5.0
    trials: int = 3
    settle_s: float = 5.0
    idle_s: float = 3.0
    max_window_s: float = 60.0
    cache: Literal["hot", "cold"] = "hot"
    transfers: bool = False

    def __post_init__(self) -> None:
        if self.cache not in ("hot", "cold"):
            raise UsageError(f"cache is {self.cache!r}; it takes 'hot' or 'cold'")
        if not isinstance(self.transfers, bool):
            raise UsageError(f"transfers is {self.transfers!r}; it takes True or False")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("cache", "transfers") or (each.name == "cpu_threads" and value is None):
                continue
            least = 0 if each.name in ("warmup_s", "cpu_warmup_s", "settle_s") else None
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value < float("inf"):
                raise UsageError(f"{each.name} is {value!r}; it takes a number")
            if str(each.type).startswith("int") and not isinstance(value, int):
                raise UsageError(f"{each.name} is {value!r}; it takes a whole number")
            if value < 0 or (value == 0 and least is None):
                raise UsageError(f"{each.name} is {value!r}; it takes a number above 0")
        if self.max_rounds < self.min_rounds:
            raise UsageError(f"max_rounds ({self.max_rounds}) is below min_rounds ({self.min_rounds}); raise it")

    def with_(self, **changes: Any) -> Plan:
        """Return this plan with the changes that are not ``None``.

        ``rounds=N`` means exactly N rounds.

        Raises:
            UsageError: if a number makes no sense.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        rounds = given.pop("rounds", None)
        if rounds is not None:
            if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
                raise UsageError(f"rounds is {rounds!r}; it takes a whole number above 0")
            given |= {"min_rounds": rounds, "max_rounds": rounds}
        elif "min_rounds" in given and "max_rounds" not in given:
            given["max_rounds"] = max(self.max_rounds, given["min_rounds"])
        return replace(self, **given)

    def window_for(self, period_s: float) -> float:
        """Return the length of an energy window for a counter that is refreshed so often."""
        return min(self.max_window_s, self.window_s * max(1.0, period_s / _USUAL_PERIOD_S))

    def with_longer_windows(self) -> Plan:
        """Return this plan with energy windows twice as long, as far as that is allowed."""
        return replace(self, window_s=min(2 * self.window_s, self.max_window_s))

    def energy_s(self, *, net: bool = False) -> float:
        """Return about how long the energy of one leg takes, with a counter that is refreshed every 0.1 s.

        Each window has up to two refreshes of load before it, and is up to one longer than planned.
        """
        windows = self.trials * (self.window_s + 2 * _USUAL_PERIOD_S)
        return QUIET_S + self.settle_s + windows + (QUIET_S + self.idle_s if net else 0.0)

    def longest_s(self, *, timed: bool, energy_legs: int, net: bool = False) -> float:
        """Return how long a profile can take at most by its own limits, without first call and compilation.

        Args:
            timed: whether rounds are taken.
            energy_legs: on how many legs energy is measured: each may settle twice as long.
            net: whether the board is also measured without load.
        """
        energy = energy_legs * (PROBE_S + self.settle_s + self.energy_s()) + (QUIET_S + self.idle_s if net else 0.0)
        return (2 * self.warmup_cap_s + self.max_time_s if timed else 0.0) + energy
