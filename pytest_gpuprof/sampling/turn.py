"""One leg while it is measured: made ready, then taking its turn in each round. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytest_gpuprof.core.protocols import Device, Meter
from pytest_gpuprof.core.results import Caution, Round
from pytest_gpuprof.sampling import doubts
from pytest_gpuprof.sampling.device_time import Window, overhead_of, plan_window, take_device_sample
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan
from pytest_gpuprof.sampling.loop import CallCost, call_cost, call_repeatedly, seconds_of, take_sample
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import Events
from pytest_gpuprof.sampling.probe import Probe, probe
from pytest_gpuprof.sampling.transfers import Transfers
from pytest_gpuprof.sampling.warmup import LONG_CALL_S, calls_per_sample, warm_up

__all__ = ["JITTER", "EventsOf", "Observe", "Running", "Turn", "first_call", "prepare"]

EventsOf = Callable[[Device], Events | None]
"""Tells what the events of a device are good for, ``None`` if it has none."""

Observe = Callable[[LegPlan], Mapping[str, float]]
"""Told after each turn of a leg; returns what its board says now, such as the clock."""

_Samples = dict[str, tuple[float, ...]]

_REWARM_S = 0.02
"""A GPU that idled through the CPU leg's turn drops its clock; 20 ms of load bring it back, and as long as it idled
brings back what it lost in less: in every second round its turn follows its last one."""

_OBSERVED_S = 2e-3
_MOST_QUEUED = 100
"""Asking a board takes up to a millisecond; it is asked while 2 ms of work are queued, in 100 calls at most."""

_LEAST_DEVICE_SAMPLES = 5
"""However long they are: the median of five survives two disturbed ones."""

_MOST_SINGLE_SAMPLES = 50
"""Where each sample is one call, more of them are taken while they are short."""

JITTER = 0.2
"""Calls per sample vary by up to 20 % between rounds, so that they do not fall in step with a periodic disturbance."""

_GOLDEN = 0.618034
"""Multiples of it, less their whole part, fill the unit interval evenly: a jitter that needs no random numbers."""


@dataclass(slots=True)
class Running:
    """A leg while it is being measured: the one mutable thing of this module, gone when the rounds are done."""

    leg: BuiltLeg
    meters: Sequence[Meter]
    first_call_s: float = 0.0
    seconds_per_call: float = 0.0
    iterations: int = 1
    samples_per_round: int = 1
    cost: CallCost = field(default_factory=CallCost)
    events: Events | None = None
    window: Window | None = None
    device_samples: int = 0
    transfers: Transfers | None = None
    probe: Probe = field(default_factory=Probe)
    cautions: list[Caution] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    calls: int = 0
    compilations: int = 0
    left_s: float = 0.0  # when its device was last busy with it


def first_call(each: Running) -> Any:
    """Time the very first call apart, and return its output."""
    device = each.leg.plan.device
    each.leg.prepare()
    device.synchronize()
    start = device.clock.now()
    output = each.leg.output()
    device.synchronize()
    each.first_call_s = device.clock.now() - start
    each.calls += 1
    return output


def prepare(each: Running, plan: Plan, events_of: EventsOf, *, device_time: bool, transfers: bool) -> None:
    """Warm up, probe, and find out how many calls make a sample."""
    leg, device = each.leg, each.leg.plan.device
    warmth = warm_up(leg, plan)
    each.events = events_of(device)
    each.probe = probe(leg, warmth.seconds_per_call, each.events)
    is_cpu = device.info.kind == "cpu"
    each.samples_per_round = plan.cpu_samples if is_cpu else plan.gpu_samples
    if leg.single:
        short = int(plan.sample_s / max(warmth.seconds_per_call, 1e-9))
        each.samples_per_round = max(each.samples_per_round, min(_MOST_SINGLE_SAMPLES, short))
    else:
        each.iterations, settled = calls_per_sample(leg, plan, warmth)
        if settled.seconds_per_call < warmth.seconds_per_call / 2:  # slow calls were steady, and are over now
            each.probe = probe(leg, settled.seconds_per_call, each.events)
        warmth = settled
    if warmth.seconds_per_call > LONG_CALL_S:
        each.samples_per_round = 1
    each.seconds_per_call = warmth.seconds_per_call
    each.cost = call_cost(device)
    if device_time and each.events is not None and not each.probe.escapes:
        _plan_device_time(each, plan, each.events)
    if transfers:
        each.transfers = Transfers(leg)
    each.calls += warmth.calls
    each.cautions += [*warmth.cautions, *doubts.of_probe(leg.plan, each.probe, each.window is not None)]
    each.compilations = _compilations(each)
    each.left_s = device.clock.now()


def _plan_device_time(each: Running, plan: Plan, events: Events) -> None:
    each.window = window = plan_window(each.leg, each.probe, events)
    cost_s = window.backlog_s + window.iterations * max(each.probe.device_s, each.probe.host_s) + each.cost.sync_s
    fitting = int(plan.device_s / max(cost_s, 1e-9))
    each.device_samples = max(_LEAST_DEVICE_SAMPLES, min(plan.device_samples, fitting))
    if each.seconds_per_call > LONG_CALL_S:
        each.device_samples = 1


def _compilations(each: Running) -> int:
    count = each.leg.plan.device.compilations
    return 0 if count is None else count()


@dataclass(frozen=True, slots=True)
class Turn:
    """One leg's share of one round."""

    each: Running
    index: int
    position: int
    observe: Observe

    def __call__(self) -> None:
        """Take the samples of the round, ask the board, and see whether anything was compiled meanwhile."""
        each, leg = self.each, self.each.leg
        if leg.plan.device.info.kind != "cpu" and not leg.single:
            self._rewarm()
        iterations = each.iterations
        if iterations > 1:
            iterations += int(iterations * JITTER * (self.index * _GOLDEN % 1.0))
        samples: dict[str, tuple[float, ...]] = {}
        overhead: dict[str, float] = {}
        steps = [partial(self._wall_time, samples, overhead, iterations)]
        if each.window is not None and each.events is not None:
            steps.append(partial(self._device_time, samples, overhead, each.window, each.events))
        if each.transfers is not None:
            steps.append(partial(self._transfers, samples, each.transfers))
        for step in steps if self.index % 2 == 0 else reversed(steps):  # mirrored, as the order of the legs is
            step()
        samples |= {name: (figure,) for name, figure in self._observed().items()}
        each.rounds.append(Round(self.index, self.position, iterations, samples, overhead))
        self._look_for_compilations()
        each.left_s = leg.plan.device.clock.now()

    def _observed(self) -> Mapping[str, float]:
        """Return what the board says while it works: the clock of an idle one says nothing about the round."""
        each, plan = self.each, self.each.leg.plan
        if plan.device.info.kind != "cpu" and not each.leg.single:
            calls = max(1, min(_MOST_QUEUED, int(_OBSERVED_S / max(each.seconds_per_call, 1e-9))))
            call_repeatedly(each.leg.function, calls)
            each.calls += calls
        found = self.observe(plan)
        plan.device.synchronize()
        return found

    def _rewarm(self) -> None:
        each = self.each
        rewarm_s = min(_REWARM_S, each.leg.plan.device.clock.now() - each.left_s)
        calls = max(1, min(each.iterations * 10, int(rewarm_s / max(each.seconds_per_call, 1e-9))))
        seconds_of(each.leg.plan.device, each.leg.function, calls)
        each.calls += calls

    def _wall_time(self, samples: _Samples, overhead: dict[str, float], iterations: int) -> None:
        each = self.each
        taken = [take_sample(each.leg, iterations, each.meters) for _ in range(each.samples_per_round)]
        each.calls += iterations * len(taken)
        samples |= {name: tuple(sample[name] for sample in taken) for name in taken[0]}
        if "wall_time" in samples:  # a third party may measure with meters of its own alone
            overhead["wall_time"] = each.cost.share_of(statistics.median(samples["wall_time"]), iterations)

    def _device_time(self, samples: _Samples, overhead: dict[str, float], window: Window, events: Events) -> None:
        each = self.each
        taken = [take_device_sample(each.leg, window, events) for _ in range(each.device_samples)]
        each.calls += window.iterations * len(taken)
        samples["device_time"] = tuple(sample.seconds for sample in taken)
        overhead["device_time"] = overhead_of(taken, window, events)

    def _transfers(self, samples: _Samples, transfers: Transfers) -> None:
        samples |= transfers.sample()

    def _look_for_compilations(self) -> None:
        each, now = self.each, _compilations(self.each)
        if now > each.compilations:
            each.cautions.append(doubts.compiled(each.leg.plan, now - each.compilations))
            each.compilations = now
