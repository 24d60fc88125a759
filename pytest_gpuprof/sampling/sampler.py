"""Interleaved rounds of one workload on its devices.

First call (timed apart), warm-up until steady, probe, then rounds: in each the legs run side by side, in turn first
(CPU GPU, GPU CPU), so that a drift of the machine hits both alike. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pytest_gpuprof.core import results
from pytest_gpuprof.core.errors import GpuprofError
from pytest_gpuprof.core.protocols import Clock, Meter, StoppingRule
from pytest_gpuprof.core.results import Caution, Round, spoils
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.loop import seconds_of, seconds_of_calls, take_sample
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.probe import Probe, probe
from pytest_gpuprof.sampling.quiet import quiet, threads_limited

__all__ = ["LegRounds", "MeterFactory", "Rounds", "take_rounds"]

MeterFactory = Callable[[LegPlan], Sequence[Meter]]
"""The meters of a leg, outermost first."""

Watch = Callable[[str], None]
"""Told what is being done, between timed regions only."""

_STEADY = 0.05
"""Three groups of calls within 5 % of each other are steady; a busy two-core machine never agrees better."""

_GROUP_S = 0.01
"""A group of warm-up calls lasts about 10 ms, long against a clock read and short against the ramp of a GPU's clock."""

_SLOW = 2.0
"""A group this many times slower than the latest ones was compiling or tuning, and does not count as warm-up."""

_RECENT = 9
"""The latest groups, whose median is what calls take now: on a noisy machine one lucky group says nothing."""

_WORTH_TELLING = 0.25
"""Groups of 10 ms differ by a few percent on any shared machine; the rounds average over that."""

_MOST_WARMUP_CALLS = 1_000_000
"""Calls so short that a million do not fill the warm-up have nothing to warm up; the probe tells whether they work."""

_REWARM_S = 0.02
"""A GPU that idled through the CPU leg's turn drops its clock; 20 ms of load bring it back."""

_LONG_CALL_S = 1.0
"""One sample per round for calls longer than this; more would cost minutes and a long call averages over itself."""

_MOST_CALLS = 100_000
"""Calls in a sample at most: a callable of less than 0.1 µs is measured over 10 ms all the same, within 0.1 %."""

_SPIKE = 3.0
_SPIKE_S = 0.05
"""A round three times as long as the leg's others, and 50 ms longer, has seen something like a compilation."""


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
    probe: Probe = field(default_factory=Probe)
    cautions: list[Caution] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    calls: int = 0


def take_rounds(
    legs: Sequence[LegPlan],
    plan: Plan,
    rule: StoppingRule,
    meters: MeterFactory,
    *,
    threads: int,
    compare: Callable[[Mapping[results.Leg, Any]], None] | None = None,
    watch: Watch = lambda _: None,
) -> Rounds:
    """Build the legs, call each for the first time, warm it up, and take rounds until the rule has enough.

    Args:
        legs: the CPU leg first; all share one host clock.
        plan: how much of everything.
        rule: when to stop.
        meters: the meters of a leg.
        threads: CPU threads the CPU leg may use.
        compare: gets the outputs of the first calls, before anything is timed; raises if they differ.
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
            _run(each, "during warm-up", lambda each=each: _prepare(each, plan))  # type: ignore[misc]  # bound now
        began = clock.now()
        reason = _rounds(running, plan, rule, clock, watch, began + plan.max_time_s)
        seconds = clock.now() - began
        return Rounds({each.leg.plan.leg: _finished(each) for each in running}, reason, seconds)


def _rounds(
    running: Sequence[_Running], plan: Plan, rule: StoppingRule, clock: Clock, watch: Watch, deadline: float
) -> str:
    for index in range(plan.max_rounds):
        if clock.now() > deadline:
            return f"out of time after {index} rounds"
        watch(f"round {index + 1} of at most {plan.max_rounds}")
        order = running if index % 2 == 0 else running[::-1]
        for position, each in enumerate(order):
            _run(each, f"in round {index + 1}", lambda each=each, p=position: _one_round(each, index, p))  # type: ignore[misc]  # noqa: B023  # called at once
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


def _prepare(each: _Running, plan: Plan) -> None:
    """Warm up, probe, and find out how many calls make a sample."""
    each.seconds_per_call = _warm_up(each, plan)
    each.probe = probe(each.leg, each.seconds_per_call)
    if each.probe.escapes:
        each.cautions.append(
            Caution(
                "escaped",
                f"the device goes on for {each.probe.leftover_s * 1e6:.0f} µs after the timed stream is done, so its "
                "events see only a part of the work",
                "let the current stream wait for the other one; wall time is not affected",
            )
        )
    is_cpu = each.leg.plan.device.info.kind == "cpu"
    each.samples_per_round = plan.cpu_samples if is_cpu else plan.gpu_samples
    if each.seconds_per_call > _LONG_CALL_S:
        each.samples_per_round = 1
    if each.leg.reset is None:
        each.iterations = _calibrated(each, plan)
    else:  # each sample is one call, so take more of them while they are short
        each.samples_per_round = max(each.samples_per_round, min(50, int(plan.sample_s / each.seconds_per_call)))


def _calibrated(each: _Running, plan: Plan) -> int:
    """Return how many calls make a sample, tried out: calls that were slow alike all through the warm-up deceive it."""
    while True:
        wanted = plan.sample_s / max(each.seconds_per_call, 1e-9)
        calls = max(1, min(_MOST_CALLS, math.ceil(wanted)))
        if each.seconds_per_call > _LONG_CALL_S or calls == _MOST_CALLS:
            return calls
        seconds = seconds_of(each.leg.plan.device, each.leg.function, calls)
        each.calls += calls
        if seconds >= plan.sample_s / 2:  # the estimate was right, or at worst a sample is half as long
            return calls
        each.seconds_per_call = seconds / calls


def _warm_up(each: _Running, plan: Plan) -> float:
    """Call until steady, and return the seconds of one call.

    Steady is: at least ``warmup_s`` of calls, and three groups in a row that agree. The cap does not count groups that
    were slow because something was compiled or tuned, so that a compilation which takes a minute is outlasted.
    """
    leg = each.leg
    groups: list[tuple[float, float]] = []  # seconds of the group, seconds per call
    calls = 1
    while True:
        seconds = seconds_of_calls(leg, calls)
        each.calls += calls
        groups.append((seconds, seconds / calls))
        latest = [per_call for _, per_call in groups[-3:]]
        usual = statistics.median_low(per_call for _, per_call in groups[-_RECENT:])  # of two, the one not compiling
        total = sum(seconds for seconds, _ in groups)
        counted = sum(seconds for seconds, per_call in groups if per_call <= _SLOW * usual)
        if len(latest) == 3 and counted >= plan.warmup_s and max(latest) <= (1 + _STEADY) * min(latest):
            break
        if counted >= plan.warmup_cap_s or total >= plan.compile_cap_s or each.calls >= _MOST_WARMUP_CALLS:
            if len(groups) > 1 and max(latest) > (1 + _WORTH_TELLING) * min(latest):
                each.cautions.append(_unsteady(leg.plan, counted, latest))
            break
        calls = max(1, min(calls * 10, int(_GROUP_S / max(seconds / calls, 1e-9))))
    return statistics.median(latest)


def _unsteady(plan: LegPlan, seconds: float, latest: Sequence[float]) -> Caution:
    spread = max(latest) / min(latest) - 1
    return Caution(
        "unsteady",
        f"{plan.place} still varied by {spread:.0%} after {seconds:.1f} s of warm-up",
        "close other programs, lock the clocks, or allow more with --gpu-profile-warmup",
    )


def _one_round(each: _Running, index: int, position: int) -> None:
    leg, device = each.leg, each.leg.plan.device
    if device.info.kind != "cpu" and leg.reset is None:
        calls = max(1, min(each.iterations * 10, int(_REWARM_S / max(each.seconds_per_call, 1e-9))))
        seconds_of(device, leg.function, calls)
        each.calls += calls
    taken = [take_sample(leg, each.iterations, each.meters) for _ in range(each.samples_per_round)]
    each.calls += each.iterations * each.samples_per_round
    samples = {name: tuple(sample[name] for sample in taken) for name in taken[0]}
    each.rounds.append(Round(index, position, each.iterations, samples))


def _finished(each: _Running) -> LegRounds:
    return LegRounds(
        each.leg.plan,
        tuple(each.rounds),
        each.first_call_s,
        each.probe,
        (*each.cautions, *_spikes(each)),
        each.calls,
    )


def _spikes(each: _Running) -> Sequence[Caution]:
    """Return a caution if a round, by its median, looks as if something was compiled or tuned in it."""
    figures = [each_round.value("wall_time") for each_round in each.rounds]
    if len(figures) < 3:
        return ()
    usual, longest = statistics.median(figures), max(figures)
    if longest <= _SPIKE * usual or (longest - usual) * each.iterations <= _SPIKE_S:
        return ()
    return (
        Caution(
            "compiled",
            f"a round of {each.leg.plan.place} took {longest / usual:.1f} times as long as usual "
            f"({longest * each.iterations:.2g} s a sample), as when something is compiled or tuned in it",
            "raise --gpu-profile-warmup, or call the workload with every shape it meets before it is measured",
            spoils("time", "cpu time", "ratio"),
            frozenset({each.leg.plan.leg}),
        ),
    )
