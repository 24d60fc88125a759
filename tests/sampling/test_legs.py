"""Building a leg: once, from the same random state, on its own device, and cleaned up whatever happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from pytest_gpuprof.backends.simulated import SimulatedBackend
from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.workload import Workload, as_workload, call
from pytest_gpuprof.sampling.legs import built, place_tree
from tests.sampling.machines import device_of, leg_on, legs_on


class Boom(Exception):
    """What a workload raises."""


def test_a_builder_runs_once_on_the_device_it_is_given(machine: SimulatedBackend) -> None:
    """The callable is what is measured, as it was returned."""
    seen = []

    def work(device: Any) -> Callable[[], str]:
        seen.append(device)
        return lambda: "output"

    with built(leg_on(machine, work)) as leg:
        assert [leg.call() for _ in range(3)] == ["output"] * 3
    assert seen == [device_of(machine)]


def test_a_builder_that_yields_is_resumed_after(machine: SimulatedBackend) -> None:
    """As in a fixture: what it opened is closed when the leg is done, and not before."""
    steps = []

    def work(device: Any) -> Iterator[Callable[[], None]]:
        steps.append("build")
        yield lambda: steps.append("call")
        steps.append("clean up")

    with built(leg_on(machine, work)) as leg:
        leg.call()
    assert steps == ["build", "call", "clean up"]


@pytest.mark.parametrize("where", ["callable", "yields nothing callable"])
def test_cleaning_up_happens_when_something_raises(machine: SimulatedBackend, where: str) -> None:
    """Also when what was yielded cannot be measured."""
    cleaned = []

    def work(device: Any) -> Iterator[Any]:
        def fail() -> None:
            raise Boom

        yield fail if where == "callable" else 5
        cleaned.append(True)

    with pytest.raises((Boom, WorkloadError)):
        with built(leg_on(machine, work)) as leg:
            leg.call()
    assert cleaned == [True]


def test_what_a_builder_raises_comes_through(machine: SimulatedBackend) -> None:
    """Plain or in a generator, before or after the yield."""

    def plain(device: Any) -> Any:
        raise Boom("plain")

    def before(device: Any) -> Iterator[Any]:
        if device:
            raise Boom("before")
        yield

    def after(device: Any) -> Iterator[Any]:
        yield lambda: None
        raise Boom("after")

    for builder in (plain, before, after):
        with pytest.raises(Boom, match=builder.__name__):
            with built(leg_on(machine, builder)):
                pass


def test_memory_of_a_leg_is_given_back(machine: SimulatedBackend) -> None:
    """What the builder made is let go when the leg is done."""
    device = device_of(machine)

    def work(device: Any) -> Callable[[], Any]:
        buffer = device.allocate(1000)
        return lambda: buffer

    def use() -> int:
        with device.watch_memory() as memory, built(leg_on(machine, work)) as leg:
            leg.call()
            assert memory is not None
            return memory.live_bytes()

    assert use() == 1000
    with device.watch_memory() as memory:
        assert memory is not None
        assert memory.live_bytes() == 0


def test_both_legs_draw_the_same_random_numbers(machine: SimulatedBackend) -> None:
    """However often they are built, and whatever was drawn in between."""

    def work(device: Any) -> Callable[[], Any]:
        drawn = (random.random(), float(np.random.random()))
        return lambda: drawn

    legs = legs_on(machine, work)
    outputs = []
    for _ in range(2):
        for plan in legs:
            with built(plan) as leg:
                outputs.append(leg.call())
            random.random()
            np.random.random()
    assert len(set(outputs)) == 1


def test_reset_runs_before_each_call(machine: SimulatedBackend) -> None:
    """With no argument, or with the callable that was built."""
    steps: list[Any] = []

    def work(device: Any) -> Callable[[], None]:
        return lambda: steps.append("call")

    with built(leg_on(machine, work, reset=lambda: steps.append("reset"))) as leg:
        leg.call()
        leg.call()
    assert steps == ["reset", "call"] * 2
    with built(leg_on(machine, work, reset=steps.append)) as leg:
        leg.call()
        assert steps[-2:] == [leg.function, "call"]


@pytest.mark.parametrize(
    ("builder", "problem"),
    [
        (lambda device: 5, "returns int, which cannot be called; return the function to measure"),
        (lambda device: None, "returns NoneType, which cannot be called"),
    ],
)
def test_a_builder_that_returns_nothing_callable_is_refused(
    machine: SimulatedBackend, builder: Any, problem: str
) -> None:
    """With what to return."""
    with pytest.raises(WorkloadError, match=problem):
        with built(leg_on(machine, builder)):
            pass


def test_nothing_async_or_lazy_is_measured(machine: SimulatedBackend) -> None:
    """Calling it would compute nothing."""

    async def coroutine() -> None: ...

    def generator() -> Iterator[None]:
        yield

    def never(device: Any) -> Iterator[Any]:
        yield from ()

    def twice(device: Any) -> Iterator[Any]:
        yield lambda: None
        yield lambda: None

    for builder, problem in (
        (lambda device: coroutine, "returns something async"),
        (lambda device: coroutine(), "returns something async"),
        (lambda device: generator, "returns a generator function"),
        (never, "'never' never yields"),
        (twice, "'twice' yields more than once"),
    ):
        with pytest.raises(WorkloadError, match=problem):
            with built(leg_on(machine, builder)):
                pass
    for output, problem in ((coroutine, "returns a coroutine"), (generator, "returns a generator")):
        with built(leg_on(machine, lambda device, output=output: lambda: output())) as leg:
            with pytest.raises(WorkloadError, match=f"{problem}, so calling it computes nothing"):
                leg.call()


def test_a_device_that_does_not_have_what_a_builder_wants_is_told(machine: SimulatedBackend) -> None:
    """With what it has."""
    work = Workload("work", lambda xp: lambda: xp, "xp")
    with pytest.raises(
        WorkloadError, match=r"the gpu leg on simulated:0 offers device to a builder, but 'work' wants 'xp'"
    ):
        with built(leg_on(machine, work)):
            pass


def test_parameters_go_to_the_builders_that_take_them(machine: SimulatedBackend) -> None:
    """Another builder for the CPU leg may take fewer; one that nobody takes is refused."""

    def work(device: Any, n: int = 1, m: int = 1) -> Callable[[], Any]:
        return lambda: (n, m)

    def fewer(device: Any, n: int = 1) -> Callable[[], Any]:
        return lambda: n

    def everything(device: Any, **others: int) -> Callable[[], Any]:
        return lambda: others

    given = {"n": 5, "m": 7}
    outputs = []
    for builder, leg in ((work, "gpu"), (fewer, "cpu"), (everything, "gpu")):
        with built(leg_on(machine, builder, leg, params=given)) as ready:  # type: ignore[arg-type]  # a leg
            outputs.append(ready.call())
    assert outputs == [(5, 7), 5, given]
    with pytest.raises(WorkloadError, match=r"params= has 'm', which the builder 'fewer' does not take"):
        with built(leg_on(machine, fewer, params=given)):
            pass


def test_a_builder_for_the_cpu_may_take_nothing(machine: SimulatedBackend) -> None:
    """It knows where it runs."""
    cpu = as_workload(lambda device: None, cpu=lambda: lambda: "sequential").cpu
    assert cpu is not None
    with built(leg_on(machine, cpu, "cpu")) as leg:
        assert leg.call() == "sequential"


class Pair(NamedTuple):
    """A named tuple among the arguments."""

    left: Any
    right: Any


class _Arrays:
    """Moves texts, and nothing else."""

    def place(self, value: Any) -> Any:
        return f"{value} moved" if isinstance(value, str) else value

    def host(self, value: Any) -> Any:
        return value

    def precision(self, value: Any) -> float | None:
        return None


def test_arguments_are_placed_inside_lists_tuples_and_dicts(machine: SimulatedBackend) -> None:
    """The containers keep their kind."""
    device = device_of(machine)
    tree = {"a": ["x", 1], "b": ("y", Pair("z", 2))}
    assert place_tree(tree, device) == tree
    device.arrays = _Arrays()
    placed = place_tree(tree, device)
    assert placed == {"a": ["x moved", 1], "b": ("y moved", Pair("z moved", 2))}
    assert type(placed["b"][1]) is Pair
    with built(leg_on(machine, call(lambda *texts: texts, "p", "q"))) as leg:
        assert leg.call() == ("p moved", "q moved")
