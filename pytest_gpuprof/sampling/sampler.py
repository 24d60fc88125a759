"""Interleaved rounds of one workload on its devices.

First call (timed apart), warm-up until steady, probe, then rounds: in each the legs run side by side, in turn first
(CPU GPU, GPU CPU), so that a drift of the machine hits both alike. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytest_gpuprof.core import results
from pytest_gpuprof.core.errors import GpuprofError
from pytest_gpuprof.core.protocols import Clock, Meter, StoppingRule
from pytest_gpuprof.core.results import Caution, Round
from pytest_gpuprof.sampling import doubts
from pytest_gpuprof.sampling.device_time import Window, overhead_of, plan_window, take_device_sample
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.loop import CallCost, call_cost, call_repeatedly, seconds_of, take_sample
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import Events, preflight
from pytest_gpuprof.sampling.probe import Probe, probe
from pytest_gpuprof.sampling.quiet import quiet, threads_limited
from pytest_gpuprof.sampling.transfers import Transfers
from pytest_gpuprof.sampling.warmup import LONG_CALL_S, calls_per_sample, warm_up

__all__ = ["LegRounds", "MeterFactory", "Rounds", "take_rounds"]

MeterFactory = Callable[[LegPlan], Sequence[Meter]]
"""The meters of a leg, outermost first."""

Observe = Callable[[LegPlan], Mapping[str, float]]
"""Told after each turn of a leg; returns what its board says now, such as the clock."""

_Samples = dict[str, tuple[float, ...]]

Watch = Callable[[str], None]
"""Told what is being done, between timed regions only."""

_REWARM_S = 0.02
"""A GPU that idled through the CPU leg's turn drops its clock; 20 ms of load bring it back."""

_OBSERVED_S = 2e-3
_MOST_QUEUED = 100
"""Asking a board takes up to a millisecond; it is asked while 2 ms of work are queued, in 100 calls at most."""

_LEAST_DEVICE_SAMPLES = 5
"""However long they are: the median of five survives two disturbed ones."""

_MOST_SINGLE_SAMPLES = 50
"""Where each sample is one call, more of them are taken while they are short."""

_JITTER = 0.2
"""Calls per sample vary by up to 20 % between rounds, so that they do not fall in step with a periodic disturbance."""

_GOLDEN = 0.618034
"""Multiples of it, less their whole part, fill the unit interval evenly: a jitter that needs no random numbers."""


@dataclass(frozen=True, slots=True)
class LegRounds:
    """What the rounds of one leg yielded."""

    plan: LegPlan
    rounds: tuple[Round, ...]
    first_call_s: float
    probe: Probe
    cautions: tuple[Caution, ...]
    calls: int


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the rounds of all legs yielded.

    Args:
        legs: by role.
        stop_reason: why no further round was taken.
        seconds: how long the rounds took, without first call and warm-up.
    """

    legs: Mapping[results.Leg, LegRounds]
    stop_reason: str
    seconds: float


@dataclass(slots=True)
class _Running:
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


def take_rounds(
    legs: Sequence[LegPlan],
    plan: Plan,
    rule: StoppingRule,
    meters: MeterFactory,
    *,
    threads: int,
    device_time: Collection[results.Leg] = (),
    transfers: Collection[results.Leg] = (),
    compare: Callable[[Mapping[results.Leg, Any]], None] | None = None,
    observe: Observe = lambda _: {},
    watch: Watch = lambda _: None,
) -> Rounds:
    """Build the legs, call each for the first time, warm it up, and take rounds until the rule has enough.

    Args:
        legs: the CPU leg first; all share one host clock.
        plan: how much of everything.
        rule: when to stop.
        meters: the meters of a leg.
        threads: CPU threads the CPU leg may use.
        device_time: the legs whose device time is wanted, where the device has events.
        transfers: the legs whose upload and download are wanted.
        compare: gets the outputs of the first calls, before anything is timed; raises if they differ.
        observe: asked after each turn of a leg, and its figures are kept with the round.
        watch: told what is being done, between timed regions.

    Raises:
        Whatever the workload raises, with a note that says which leg and call it was.
    """
    clock = legs[0].device.clock
    with ExitStack() as stack:
        running = []
        for leg in legs:
            stack.enter_context(threads_limited(leg.device.threads, threads))
            running.append(_Running(stack.enter_context(built(leg)), meters(leg)))
        outputs = {}
        for each in running:
            watch(f"first call on {each.leg.plan.device.info.id}")
            outputs[each.leg.plan.leg] = _first_call(each)
        if compare is not None:
            compare(outputs)
        outputs.clear()
        stack.enter_context(quiet())
        for each in running:
            watch(f"warming up on {each.leg.plan.device.info.id}")
            leg_of = each.leg.plan.leg
            wanted = {"device_time": leg_of in device_time, "transfers": leg_of in transfers}
            _run(each, "during warm-up", partial(_prepare, each, plan, **wanted))
        began = clock.now()
        reason = _rounds(running, plan, rule, clock, observe, watch)
        seconds = clock.now() - began
        return Rounds({each.leg.plan.leg: _finished(each) for each in running}, reason, seconds)


def _rounds(
    running: Sequence[_Running], plan: Plan, rule: StoppingRule, clock: Clock, observe: Observe, watch: Watch
) -> str:
    deadline = clock.now() + plan.max_time_s
    for index in range(plan.max_rounds):
        if clock.now() > deadline:
            return f"out of time after {index} rounds"
        watch(f"round {index + 1} of at most {plan.max_rounds}")
        order = running if index % 2 == 0 else running[::-1]
        for position, each in enumerate(order):
            step = _Turn(each, index, position, observe)
            _run(each, f"in round {index + 1}", step)
        if index + 1 >= plan.min_rounds:
            reason = rule.enough({each.leg.plan.leg: tuple(each.rounds) for each in running})
            if reason is not None:
                return reason
    return f"all {plan.max_rounds} rounds taken"


def _run(each: _Running, when: str, step: Callable[[], None]) -> None:
    """Run one step with the leg's device current; say in the workload's own error which leg and call it was."""
    try:
        with each.leg.plan.device.active():
            step()
    except GpuprofError:
        raise
    except BaseException as error:
        _note(error, f"raised by {each.leg.plan.place} of {each.leg.plan.workload.name!r}, {when}")
        raise


def _note(error: BaseException, text: str) -> None:
    if hasattr(error, "add_note"):  # Python 3.11
        error.add_note(text)


def _first_call(each: _Running) -> Any:
    """Time the very first call apart, and return its output."""
    device = each.leg.plan.device
    output: list[Any] = []

    def call() -> None:
        each.leg.prepare()
        device.synchronize()
        start = device.clock.now()
        output.append(each.leg.output())
        device.synchronize()
        each.first_call_s = device.clock.now() - start

    _run(each, "in the first call", call)
    each.calls += 1
    return output.pop()


def _prepare(each: _Running, plan: Plan, *, device_time: bool, transfers: bool) -> None:
    """Warm up, probe, and find out how many calls make a sample."""
    leg, device = each.leg, each.leg.plan.device
    warmth = warm_up(leg, plan)
    each.events = preflight(device)
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


def _plan_device_time(each: _Running, plan: Plan, events: Events) -> None:
    each.window = window = plan_window(each.leg, each.probe, events)
    cost_s = window.backlog_s + window.iterations * max(each.probe.device_s, each.probe.host_s) + each.cost.sync_s
    fitting = int(plan.device_s / max(cost_s, 1e-9))
    each.device_samples = max(_LEAST_DEVICE_SAMPLES, min(plan.device_samples, fitting))
    if each.seconds_per_call > LONG_CALL_S:
        each.device_samples = 1


def _compilations(each: _Running) -> int:
    count = each.leg.plan.device.compilations
    return 0 if count is None else count()


@dataclass(frozen=True, slots=True)
class _Turn:
    """One leg's share of one round."""

    each: _Running
    index: int
    position: int
    observe: Observe

    def __call__(self) -> None:
        each, leg = self.each, self.each.leg
        if leg.plan.device.info.kind != "cpu" and not leg.single:
            self._rewarm()
        iterations = each.iterations
        if iterations > 1:
            iterations += int(iterations * _JITTER * (self.index * _GOLDEN % 1.0))
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
        calls = max(1, min(each.iterations * 10, int(_REWARM_S / max(each.seconds_per_call, 1e-9))))
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


def _finished(each: _Running) -> LegRounds:
    shown = doubts.of_rounds(each.leg.plan, each.rounds, each.cost.call_s)
    return LegRounds(
        each.leg.plan,
        tuple(each.rounds),
        each.first_call_s,
        each.probe,
        (*each.cautions, *shown),
        each.calls,
    )
