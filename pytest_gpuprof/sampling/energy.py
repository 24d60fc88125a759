"""The energy of a leg: windows of back-to-back calls between two readings of a cumulative counter.

The order of a pass: the leg is built and called once; if net energy is wanted, a window without load; the counters'
refresh is watched under load, once per session; load until the board is settled; then the windows, each after load of
its own, so that no window begins on a board that was just idle. Between windows, and never inside, the board is asked
for its state.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.core.progress import Progress, Watch
from pytest_gpuprof.core.protocols import Board, EnergyCounter
from pytest_gpuprof.core.results import Caution, Quality, Reading
from pytest_gpuprof.meters.host_use import host_use
from pytest_gpuprof.sampling.energy_doubts import Look, counted_resets, low_resolution, suspect_counter, while_measuring
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.loop import call_repeatedly
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.quiet import quiet, threads_limited
from pytest_gpuprof.sampling.refresh import COARSE_S, POLL_S, QUIET_S, refresh_periods
from pytest_gpuprof.stats.energy import Counted, EnergyWindow

__all__ = ["Instruments", "energy_pass"]

_SLOW = 2.0
"""A block of calls this many times slower than the fastest was compiling, as in the sampler's warm-up."""

_QUEUED_CALLS = 64
"""Load is synchronized every 64 calls, so that no queue overflows and the end of the window is not far ahead."""

_BLOCK_S = 0.1
"""Length of the blocks in which load is run and timed: a compilation spoils one of them and no more."""

_PACE_S = 0.05
"""Load from which the pace of the calls is first known."""

_LEAD_PERIODS = (1.0, 2.0)
"""Load before each window, in refreshes of the counter: at least one, so that what the first reading shows was counted
under load; and a random part of another, so that the windows begin at different phases of the counter."""

_JITTER_STEPS = 3
"""Calls that must fit into one refresh for the lengths to differ enough: at the worst length of window, with two only
92.5 % of the intervals hold the truth, with three 98 % (20 000 simulated runs per cell)."""

_WITHOUT_JITTER = 1.5
"""Windows whose lengths cannot differ are longer, because their errors need not average out: so much that the interval
is about as wide as it would be with jitter."""

_STEADY_C_PER_S = 0.5
"""A board that warms faster than this is not settled; the resolution is 1 °C, so it takes two seconds to see."""

_SLOPE_S = 2.0

_LEAST_IDLE_PERIODS = 30
"""A window without load errs by at most a thirtieth, of an idle power that is itself a fraction of the whole."""


@dataclass(frozen=True, slots=True)
class Instruments:
    """What the energy of a leg is read from.

    Args:
        counters: by the metric they fill: ``"energy"`` for the board, ``"package_energy"`` for the CPU package.
        board: the state of the board between windows, ``None`` where it has none.
        periods: the refresh of counters that were watched before, in seconds, by ``key``; what is learnt is added.
        keys: by metric, under which name a counter's refresh is remembered.
    """

    counters: Mapping[str, EnergyCounter]
    board: Board | None = None
    periods: MutableMapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def key(self, metric: str) -> str:
        """Return the name under which the refresh of a counter is remembered."""
        return self.keys.get(metric, metric)

    def period_s(self, metric: str) -> float:
        """Return the refresh of a counter: as watched, else the shortest it is credited with."""
        return self.periods.get(self.key(metric), self.counters[metric].period_s)


def energy_pass(
    plan: LegPlan,
    instruments: Instruments,
    sampling: Plan,
    *,
    threads: int,
    quality: Quality,
    net: bool = False,
    seed: int = 0,
    watch: Watch | None = None,
) -> PassResult:
    """Measure the energy of back-to-back calls.

    Args:
        plan: the leg.
        instruments: the counters, and what watches over them.
        sampling: lengths and number of windows.
        threads: CPU threads the leg may use.
        quality: of the readings.
        net: also measure what the board draws without load, and give the net energy.
        seed: of the jitter.
        watch: told what is being done, between windows; ``None`` if nobody wants to know.
    """
    with threads_limited(plan.device.threads, threads), built(plan) as leg, quiet():
        return _EnergyPass(leg, instruments, sampling, random.Random(seed), watch).take(quality, net=net)


class _EnergyPass:
    """One pass over a leg that is built. Short-lived."""

    def __init__(
        self,
        leg: BuiltLeg,
        instruments: Instruments,
        sampling: Plan,
        rng: random.Random,
        watch: Watch | None,
    ) -> None:
        self._leg = leg
        self._device = leg.plan.device
        self._clock = leg.plan.device.clock
        self._instruments = instruments
        self._sampling = sampling
        self._rng = rng
        self._watch = watch
        self._calls = 0
        self._blocks: list[tuple[float, float]] = []  # seconds of a block of load, seconds per call
        self._failed: dict[str, Reading] = {}
        self._windows: dict[str, list[EnergyWindow]] = {name: [] for name in instruments.counters}
        self._last: dict[str, float] = {}  # what each counter showed last
        self._looks: list[Look] = []

    def take(self, quality: Quality, *, net: bool) -> PassResult:
        self._say("getting ready", self._sampling.energy_s(net=net))
        self._leg.call()
        self._calls += 1
        idle = self._idle() if net and "energy" in self._instruments.counters else None
        self._load_for(_PACE_S)
        watched = self._watch_refresh()
        self._settle(max(self._sampling.settle_s, QUIET_S if watched else 0.0))
        self._take_windows()
        return PassResult(self._readings(quality, idle), cautions=self._cautions(), calls=self._calls)

    def _say(self, stage: str, left_s: float, *, step: int = 0) -> None:
        if self._watch is not None:
            place, steps = str(self._device.info.id), self._sampling.trials
            lasting = self._clock is SYSTEM_CLOCK
            self._watch(Progress("energy", place, stage, step, steps, left_s=left_s, lasting=lasting))

    # -- load -------------------------------------------------------------------------------------------------------

    @property
    def _per_call_s(self) -> float:
        """Seconds of a call. A block that was slow because something was compiled does not count."""
        return min(per_call for _, per_call in self._blocks)

    def _run(self, calls: int) -> None:
        """Call that often, with few synchronizations, and end with one."""
        left, leg = calls, self._leg
        while left > 0:
            now = min(left, _QUEUED_CALLS) if leg.reset is None else 1
            if leg.reset is not None:
                leg.reset()
            call_repeatedly(leg.function, now)
            self._device.synchronize()
            left -= now
        self._calls += calls

    def _load_for(self, seconds: float) -> None:
        """Put the device under load that long, in blocks; one in which something was compiled is no load."""
        first, more, began_s = len(self._blocks), 1, self._clock.now()
        while True:
            start = self._clock.now()
            self._run(more)
            spent = self._clock.now() - start
            self._blocks.append((spent, spent / more))
            load = sum(spent for spent, per_call in self._blocks[first:] if per_call <= _SLOW * self._per_call_s)
            if load >= seconds or self._clock.now() - began_s >= self._sampling.max_window_s:
                return
            rest = min(_BLOCK_S, seconds - load)
            more = max(1, min(2 * more, math.ceil(rest / self._per_call_s)))

    def _settle(self, least_s: float) -> None:
        """Load until the board is at the power of the load, and at its temperature, for at most twice that long."""
        self._say("settling", least_s + self._sampling.trials * self._sampling.window_s)
        began_s = self._clock.now()
        self._load_for(max(0.0, least_s - _SLOPE_S))
        before, before_s = self._temperature(), self._clock.now()
        self._load_for(min(_SLOPE_S, least_s))
        while self._clock.now() - began_s < 2 * least_s:
            now, now_s = self._temperature(), self._clock.now()
            if before is None or now is None or now - before < _STEADY_C_PER_S * (now_s - before_s):
                return
            before, before_s = now, now_s
            self._load_for(min(_SLOPE_S, least_s))

    def _temperature(self) -> float | None:
        board = self._instruments.board
        return None if board is None else board.conditions().temperature_c.value

    # -- before the windows -----------------------------------------------------------------------------------------

    def _idle(self) -> EnergyWindow | Reading:
        """Return a window without load: on a live context, after a rest, with nobody else on the board."""
        counter = self._instruments.counters["energy"]
        seconds = max(self._sampling.idle_s, _LEAST_IDLE_PERIODS * self._instruments.period_s("energy"))
        self._say("resting", QUIET_S + seconds + self._sampling.energy_s())
        self._device.synchronize()
        self._clock.sleep(QUIET_S)
        looks = [self._look()]
        before, start = counter.read(), self._clock.now()
        self._clock.sleep(seconds)
        after, spent = counter.read(), self._clock.now() - start
        looks.append(self._look())
        if any(look.board is not None and look.board.other_processes.value for look in looks):
            return Reading.unavailable(
                "another process used the GPU in the window without load; stop it, or budget the gross energy"
            )
        used = _used(counter, before, after, spent)
        return used if used.value is None else EnergyWindow(used.value, spent, 0)

    def _watch_refresh(self) -> bool:
        """Find out how often the counters that nobody has watched yet are refreshed; tell whether any was watched."""
        kept = self._instruments
        unknown = {name: each for name, each in kept.counters.items() if kept.key(name) not in kept.periods}
        if not unknown:
            return False
        calls = max(1, round(POLL_S / self._per_call_s))
        load = (lambda: self._run(calls)) if self._per_call_s <= COARSE_S else None
        found = refresh_periods(load, self._clock, unknown)
        for name, period in found.items():
            if period.value is None:
                self._failed[name] = period
            else:
                kept.periods[kept.key(name)] = period.value
        return True

    # -- windows ----------------------------------------------------------------------------------------------------

    def _take_windows(self) -> None:
        names = [name for name in self._windows if name not in self._failed]
        if not names:
            return
        period_s = max(self._instruments.period_s(name) for name in names)
        jitters, per_call_s = self._jitters(period_s), self._per_call_s
        window_s = self._sampling.window_for(period_s) * (1.0 if jitters else _WITHOUT_JITTER)
        least = max(1, math.ceil(window_s / per_call_s))
        if least * per_call_s > self._sampling.max_window_s:
            least = max(1, math.floor(self._sampling.max_window_s / per_call_s))
        steps = math.ceil(period_s / per_call_s) if jitters else 0
        trials = self._sampling.trials
        self._looks.append(self._look())
        for trial in range(trials):
            self._say("window", (trials - trial) * (least * per_call_s + 2 * period_s), step=trial + 1)
            lead_s = self._rng.uniform(*_LEAD_PERIODS) * period_s
            self._run(max(1, round(lead_s / per_call_s)))
            self._take_window(least + self._rng.randint(0, steps))
            self._looks.append(self._look())

    def _jitters(self, period_s: float) -> bool:
        """Whether the lengths of windows can differ by parts of a refresh: a call cannot be cut."""
        return _JITTER_STEPS * self._per_call_s <= period_s

    def _take_window(self, calls: int) -> None:
        counters = self._instruments.counters
        before = {name: counter.read() for name, counter in counters.items()}
        start = self._clock.now()
        self._run(calls)
        seconds = self._clock.now() - start
        after = {name: counter.read() for name, counter in counters.items()}
        for name, counter in counters.items():
            if name in self._failed:
                continue  # what failed once stays unavailable, with its first reason
            first, last = before[name], self._last.get(name)
            used = _used(counter, first, after[name], seconds)
            if first.value is not None and last is not None and first.value < last:
                used = counter.used_j(last, first.value, seconds)  # it was reset between two windows
            if used.value is None:
                self._failed[name] = used
            else:
                self._windows[name].append(EnergyWindow(used.value, seconds, calls))
                self._last[name] = after[name].value or 0.0

    def _look(self) -> Look:
        board = self._instruments.board
        # The host is only looked at for the package, which works for every program; a simulated one has no others.
        crowd = "package_energy" in self._windows and self._clock is SYSTEM_CLOCK
        return Look(self._clock.now(), None if board is None else board.conditions(), host_use() if crowd else None)

    # -- what came of it --------------------------------------------------------------------------------------------

    def _counted(self, name: str, quality: Quality = "measured") -> Counted:
        period_s = self._instruments.period_s(name)
        gain_error = self._instruments.counters[name].gain_error
        return Counted(self._windows[name], period_s, gain_error, self._jitters(period_s), quality)

    def _readings(self, quality: Quality, idle: EnergyWindow | Reading | None) -> Mapping[str, Reading]:
        readings: dict[str, Reading] = dict(self._failed)
        for name in self._windows:
            if name not in self._failed:
                readings[name] = self._counted(name, quality).energy_per_call()
        if "energy" not in readings:
            return readings
        failed = self._failed.get("energy")
        readings["power"] = failed or self._counted("energy", quality).mean_power()
        if isinstance(idle, Reading):
            readings["net_energy"] = failed or idle
        elif idle is not None:
            readings["net_energy"] = failed or self._counted("energy", quality).net_energy_per_call(idle)
        return readings

    def _cautions(self) -> tuple[Caution, ...]:
        good = [name for name in self._windows if name not in self._failed]
        if not good:
            return ()
        leg = self._leg.plan.leg
        found = [*while_measuring(self._looks, leg), *low_resolution([self._counted(name) for name in good], leg)]
        if self._leg.reset is not None:
            found += counted_resets(leg)
        if "energy" in good and self._instruments.board is not None:
            found += suspect_counter(self._counted("energy"), self._looks, self._instruments.board.facts(), leg)
        return tuple(found)


def _used(counter: EnergyCounter, before: Reading, after: Reading, seconds: float) -> Reading:
    for reading in (before, after):
        if reading.value is None:
            return reading
    assert before.value is not None and after.value is not None  # told to mypy, not tested
    used = counter.used_j(before.value, after.value, seconds)
    if used.value == 0:
        return Reading.unavailable("the energy counter stood still: the window was shorter than its refresh")
    return used
