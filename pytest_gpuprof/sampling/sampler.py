"""Interleaved rounds of one workload on its devices.

First call (timed apart), warm-up until steady, probe, then rounds: in each the legs run side by side, in turn first
(CPU GPU, GPU CPU), so that a drift of the machine hits both alike. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.core import results
from pytest_gpuprof.core.errors import GpuprofError
from pytest_gpuprof.core.progress import Progress, Watch
from pytest_gpuprof.core.protocols import Clock, Meter, StoppingRule
from pytest_gpuprof.core.results import Caution, Round
from pytest_gpuprof.sampling import doubts
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import preflight
from pytest_gpuprof.sampling.probe import Probe
from pytest_gpuprof.sampling.quiet import quiet, threads_limited
from pytest_gpuprof.sampling.retaking import HeldBack, Retaking
from pytest_gpuprof.sampling.turn import JITTER, EventsOf, Observe, Running, Turn, first_call, prepare

__all__ = ["LegRounds", "MeterFactory", "Rounds", "take_rounds"]

MeterFactory = Callable[[LegPlan], Sequence[Meter]]
"""The meters of a leg, outermost first."""


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
    board: HeldBack | None = None,
    events_of: EventsOf = preflight,
    watch: Watch | None = None,
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
        board: knows of a round whether the board was held back in it, so that it is taken again; ``None`` keeps all.
        events_of: tells what the events of a device are good for.
        watch: told what is being done, between timed regions; ``None`` if nobody wants to know.

    Raises:
        Whatever the workload raises, with a note that says which leg and call it was.
    """
    clock = legs[0].device.clock

    def tell(phase: str, leg: LegPlan) -> None:
        if watch is not None:  # a warm-up and rounds follow; on a simulated clock they are over in a moment
            watch(Progress(phase, str(leg.device.info.id), lasting=clock is SYSTEM_CLOCK))

    with ExitStack() as stack:
        stack.callback(gc.collect)  # once for all legs: in a large process each takes some 50 ms
        running = []
        for leg in legs:
            tell("setting up", leg)
            stack.enter_context(threads_limited(leg.device.threads, threads))
            running.append(Running(stack.enter_context(built(leg, collect=False)), meters(leg)))
        outputs: dict[results.Leg, Any] = {}
        for each in running:
            tell("first call", each.leg.plan)
            _run(each, "in the first call", partial(_call_first, each, outputs))
        if compare is not None:
            compare(outputs)
        outputs.clear()
        stack.enter_context(quiet())
        for each in running:
            tell("warming up", each.leg.plan)
            leg_of = each.leg.plan.leg
            wanted = {"device_time": leg_of in device_time, "transfers": leg_of in transfers}
            _run(each, "during warm-up", partial(prepare, each, plan, events_of, **wanted))
        began = clock.now()
        reason = _rounds(running, plan, rule, clock, observe, board, watch)
        seconds = clock.now() - began
        return Rounds({each.leg.plan.leg: _finished(each) for each in running}, reason, seconds)


def _call_first(each: Running, outputs: dict[results.Leg, Any]) -> None:
    outputs[each.leg.plan.leg] = first_call(each)


def _rounds(
    running: Sequence[Running],
    plan: Plan,
    rule: StoppingRule,
    clock: Clock,
    observe: Observe,
    board: HeldBack | None,
    watch: Watch | None,
) -> str:
    deadline, longest_s = clock.now() + plan.max_time_s, 0.0
    retaking = Retaking(running, board, clock, deadline, plan.min_rounds)
    for index in range(plan.max_rounds):
        began = clock.now()
        if began > deadline:
            return f"out of time after {index} rounds"
        if watch is not None:
            watch(_before(index, plan, rule, longest_s, deadline - began))
        retaking.take(partial(_take_turns, running, index, observe))
        longest_s = max(longest_s, clock.now() - began)
        looked = index + 1 >= plan.min_rounds
        if looked or watch is not None:  # who watches wants the estimate sooner
            reason = rule.enough({each.leg.plan.leg: tuple(each.rounds) for each in running})
            if looked and reason is not None:
                return reason
    return f"all {plan.max_rounds} rounds taken"


def _take_turns(running: Sequence[Running], index: int, observe: Observe) -> None:
    order = running if index % 2 == 0 else running[::-1]
    for position, each in enumerate(order):
        _run(each, f"in round {index + 1}", Turn(each, index, position, observe))


def _before(index: int, plan: Plan, rule: StoppingRule, longest_s: float, until_deadline_s: float) -> Progress:
    """Return what there is to tell before a round: no further one begins after the deadline."""
    each_s = longest_s * (1 + JITTER)
    left_s = min((plan.max_rounds - index) * each_s, until_deadline_s + each_s) if index else None
    return Progress(
        "round",
        step=index + 1,
        steps=plan.max_rounds,
        fewer=plan.min_rounds < plan.max_rounds,
        estimate=rule.estimate,
        left_s=left_s,
        at_most=True,
    )


def _run(each: Running, when: str, step: Callable[[], None]) -> None:
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


def _finished(each: Running) -> LegRounds:
    shown = doubts.of_rounds(each.leg.plan, each.rounds, each.cost.call_s)
    return LegRounds(
        each.leg.plan,
        tuple(each.rounds),
        each.first_call_s,
        each.probe,
        (*each.cautions, *shown),
        each.calls,
    )
