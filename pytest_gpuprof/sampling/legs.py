"""Legs: a workload set up on one device, ready to be called.

A builder is run once per leg and pass, always from the same random state, on its own device, and cleaned up after.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_gpuprof.core import results
from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.workload import Workload

__all__ = ["BuiltLeg", "LegPlan", "built", "place_tree"]


@dataclass(frozen=True, slots=True)
class LegPlan:
    """Which workload runs where, as which leg.

    Args:
        leg: its role in the profile.
        workload: what to build.
        device: where.
        params: parameters for the builder.
        random_state: the state of the device's generators in which every build begins.
        cold: whether the device's cache is evicted before each call.
    """

    leg: results.Leg
    workload: Workload
    device: Device
    params: Mapping[str, Any] = field(default_factory=dict)
    random_state: Any = None
    cold: bool = False

    @property
    def place(self) -> str:
        """The leg and its device, for messages."""
        return f"the {self.leg} leg on {self.device.info.id}"


@dataclass(frozen=True, slots=True)
class BuiltLeg:
    """A leg whose callable exists.

    Args:
        plan: what was built.
        function: the callable to measure.
        reset: runs untimed before each call, ``None`` if the callable can simply be called again.
    """

    plan: LegPlan
    function: Callable[[], Any]
    reset: Callable[[], object] | None

    def call(self) -> Any:
        """Call it once, after its reset, and return its output.

        Raises:
            WorkloadError: if the output is a coroutine or a generator: nothing has been computed yet.
        """
        self.prepare()
        return self.output()

    @property
    def single(self) -> bool:
        """Whether something has to be done before each call, so that a sample is one call."""
        return self.reset is not None or self.plan.cold

    def prepare(self) -> None:
        """Do what has to be done before a call, or before a sample of calls: its reset, and evicting the cache."""
        if self.reset is not None:
            self.reset()
        if self.plan.cold and self.plan.device.flush is not None:
            self.plan.device.flush()

    def output(self) -> Any:
        """Call it once, as it is, and return its output.

        Raises:
            WorkloadError: if the output is a coroutine or a generator: nothing has been computed yet.
        """
        output = self.function()
        if inspect.iscoroutine(output) or inspect.isgenerator(output) or inspect.isasyncgen(output):
            kind = "generator" if inspect.isgenerator(output) else "coroutine"
            if inspect.iscoroutine(output) or inspect.isgenerator(output):
                output.close()
            raise WorkloadError(
                f"the callable of {self.plan.workload.name!r} returns a {kind}, so calling it computes nothing; "
                "return a function that does the work when called"
            )
        return output


@contextmanager
def built(plan: LegPlan, *, collect: bool = True) -> Iterator[BuiltLeg]:
    """Build a leg, and clean up after it: a builder that yields is resumed, and what it made is let go.

    Args:
        plan: what to build, and where.
        collect: whether to collect garbage then; ``False`` for who builds several and collects once.

    Raises:
        WorkloadError: if the builder returns nothing callable, or yields more than once.
    """
    device, workload = plan.device, plan.workload
    with device.active():
        if plan.random_state is not None:
            device.random.restore(plan.random_state)
        made = workload.builder(*_arguments(plan), **_parameters(plan))
        generator = made if inspect.isgenerator(made) else None
        try:
            if generator is not None:
                made = _first(generator, workload.name)
            yield BuiltLeg(plan, _checked(made, workload.name), _reset(workload, made))
        finally:
            if generator is not None:
                _finish(generator, workload.name)
            del made, generator
            if collect:
                gc.collect()


def _arguments(plan: LegPlan) -> tuple[Any, ...]:
    parameter = plan.workload.parameter
    if parameter is None:
        return ()
    if parameter == "place":
        return (lambda tree: place_tree(tree, plan.device),)
    if parameter not in plan.device.arguments:
        offers = ", ".join(plan.device.arguments)
        raise WorkloadError(
            f"{plan.place} offers {offers} to a builder, but {plan.workload.name!r} wants {parameter!r}; "
            "rename its first parameter, or choose another backend="
        )
    return (plan.device.arguments[parameter],)


def _parameters(plan: LegPlan) -> dict[str, Any]:
    """Return the parameters that this builder takes: ``cpu=`` and ``reference=`` may take fewer than the workload."""
    if not plan.params:
        return {}
    wanted = inspect.signature(plan.workload.builder).parameters
    if any(each.kind is each.VAR_KEYWORD for each in wanted.values()):
        return dict(plan.params)
    unknown = [name for name in plan.params if name not in wanted]
    if unknown and plan.leg == "gpu":
        raise WorkloadError(
            f"params= has {', '.join(map(repr, unknown))}, which the builder {plan.workload.name!r} does not take"
        )
    return {name: value for name, value in plan.params.items() if name in wanted}


def _checked(made: Any, name: str) -> Callable[[], Any]:
    if inspect.iscoroutinefunction(made) or inspect.isasyncgenfunction(made) or inspect.iscoroutine(made):
        if inspect.iscoroutine(made):
            made.close()
        raise WorkloadError(
            f"the builder {name!r} returns something async; return a function that can simply be called"
        )
    if inspect.isgeneratorfunction(made):
        raise WorkloadError(f"the builder {name!r} returns a generator function; return a function that does the work")
    if not callable(made):
        raise WorkloadError(
            f"the builder {name!r} returns {type(made).__name__}, which cannot be called; "
            "return the function to measure, e.g. `return lambda: a @ b`"
        )
    return made  # type: ignore[no-any-return]  # callable() narrows Any no further


def _reset(workload: Workload, function: Any) -> Callable[[], object] | None:
    reset = workload.reset
    if reset is None:
        return None
    if inspect.signature(reset).parameters:
        return lambda: reset(function)
    return reset


def _first(generator: Any, name: str) -> Any:
    try:
        return next(generator)
    except StopIteration:
        raise WorkloadError(f"the builder {name!r} never yields; yield the function to measure") from None


def _finish(generator: Any, name: str) -> None:
    try:
        next(generator)
    except StopIteration:
        return
    generator.close()
    raise WorkloadError(f"the builder {name!r} yields more than once; yield the function to measure, then clean up")


def place_tree(value: Any, device: Device) -> Any:
    """Return ``value`` with every array, tensor and module on ``device``, looking inside lists, tuples and dicts."""
    if isinstance(value, dict):
        return {key: place_tree(each, device) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        placed = [place_tree(each, device) for each in value]
        return type(value)(*placed) if hasattr(value, "_fields") else type(value)(placed)
    return value if device.arrays is None else device.arrays.place(value)
