"""Workloads: every form that can be measured, and an error with its remedy for every form that cannot."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.workload import Workload, as_workload, call, first_parameter, frameworks_of, workload


def on_device(device: Any, n: int = 8) -> Callable[[], int]:
    return lambda: n


def on_array_namespace(xp: Any) -> Callable[[], Any]:
    return lambda: xp


def sequential() -> Callable[[], None]:
    return lambda: None


def wrong(tensor: Any) -> Callable[[], Any]:
    return lambda: tensor


class Builder:
    """An object that builds."""

    def __call__(self, device: Any) -> Callable[[], Any]:
        return lambda: device

    def method(self, queue: Any) -> Callable[[], Any]:
        return lambda: queue


class Inherited(Builder):
    """A builder that gets its call from its class's base."""


# -- builders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name", "parameter"),
    [
        (on_device, "on_device", "device"),
        (on_array_namespace, "on_array_namespace", "xp"),
        (functools.partial(on_device, n=3), "on_device", "device"),
        (functools.partial(functools.partial(on_device), n=3), "on_device", "device"),
        (lambda device: lambda: device, "<lambda>", "device"),
        (Builder(), "Builder", "device"),
        (Builder().method, "method", "queue"),
    ],
)
def test_a_builder_tells_its_name_and_what_it_wants(source: Any, name: str, parameter: str) -> None:
    """Functions, partials, lambdas, objects and methods."""
    made = as_workload(source)
    assert (made.name, made.parameter) == (name, parameter)
    assert made.check is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (5, r"5 is no workload; pass a builder"),
        (None, r"None is no workload"),
        (
            wrong,
            r"'wrong' has 'tensor' as its first parameter.*name it device or xp or queue; for a plain function use",
        ),
        (sequential, r"'sequential' takes no argument"),
        (lambda n=3: n, r"takes no argument"),
        (lambda *devices: devices, r"takes no argument"),
        (min, r"cannot be read|takes no argument"),
    ],
)
def test_what_is_no_builder_is_refused_with_the_remedy(source: Any, problem: str) -> None:
    """The first parameter's name is how a builder says what it wants."""
    with pytest.raises(WorkloadError, match=problem):
        as_workload(source)


def test_an_async_builder_is_refused() -> None:
    """What an event loop does cannot be timed as one call."""

    async def coroutine(device: Any) -> Any:
        return device

    async def generator(device: Any) -> AsyncIterator[Any]:
        yield device

    for source in (coroutine, generator):
        with pytest.raises(WorkloadError, match=r"is async.*measure a synchronous callable"):
            as_workload(source)


def test_a_backend_of_ones_own_brings_its_parameter() -> None:
    """Whoever serves a first parameter decides what it may be called."""
    assert as_workload(wrong, servants=("tensor",)).parameter == "tensor"


def test_options_change_a_workload_only_where_they_say_something() -> None:
    """None means what the workload says; a name alone renames."""
    made = as_workload(on_device, name="first", items=3, check=True)
    assert as_workload(made) is made
    assert as_workload(made, items=None) is made
    again = as_workload(made, name="second", flops=7, check=False)
    assert (again.name, again.items, again.flops, again.check) == ("second", 3, 7, False)


def test_other_legs_may_be_builders_or_workloads() -> None:
    """The CPU leg may take no argument at all."""
    made = as_workload(on_device, cpu=sequential, reference=as_workload(on_array_namespace))
    assert made.cpu is not None
    assert made.reference is not None
    assert (made.cpu.name, made.cpu.parameter) == ("sequential", None)
    assert made.reference.parameter == "xp"


@pytest.mark.parametrize("part", ["cpu", "reference"])
def test_another_leg_that_cannot_be_built_is_refused_by_name(part: str) -> None:
    """The message says which argument was wrong."""
    for leg, problem in (
        (5, f"{part}= is 5; it takes a builder"),
        (wrong, f"given as {part}= has 'tensor' as its first"),
    ):
        options: dict[str, Any] = {part: leg}
        with pytest.raises(WorkloadError, match=problem):
            as_workload(on_device, **options)


def test_the_first_parameter_counts_only_if_it_is_required() -> None:
    """A default says that nobody has to give it."""
    assert first_parameter(on_device) == "device"
    assert first_parameter(lambda device=None: device) is None
    assert first_parameter(lambda *, device: device) is None


# -- options ----------------------------------------------------------------------------------------------------------


def test_flops_can_be_counted_and_nothing_else_can() -> None:
    """With flops="auto" no number is declared; of bytes and items nobody could tell."""
    assert as_workload(on_device, flops="auto").counts_flops
    assert as_workload(on_device, flops="auto").amount("flops", {}) is None
    assert not as_workload(on_device, flops=8).counts_flops
    for what in ("bytes", "items"):
        with pytest.raises(WorkloadError, match=f"{what}= is 'auto', and only FLOPs can be counted; give {what}= as"):
            as_workload(on_device, **{what: "auto"})
    with pytest.raises(WorkloadError, match="only FLOPs can be counted"):
        as_workload(on_device, items=lambda n: "auto").amount("items", {})


def test_a_precision_is_one_that_devices_have() -> None:
    """By the names of datasheets; none is fp32."""
    assert as_workload(on_device, precision="bf16").precision == "bf16"
    assert as_workload(on_device).precision is None
    with pytest.raises(WorkloadError, match="precision= of 'on_device' is 'float16'; it takes one of fp64, fp32"):
        as_workload(on_device, precision="float16")


@pytest.mark.parametrize("amount", [0, -1, True, math.nan, math.inf, "many", int])
@pytest.mark.parametrize("what", ["items", "flops", "bytes"])
def test_declared_work_is_a_positive_number(what: str, amount: Any) -> None:
    """Anything else is named in the error."""
    with pytest.raises(WorkloadError, match=f"{what}= is .*; it takes a number above 0, or a function"):
        as_workload(on_device, **{what: amount})


@pytest.mark.parametrize(
    "amount", [3, 3.0, np.int64(3), np.float32(3), lambda: 3, lambda n: n - 5, lambda **all: all["n"] - 5]
)
def test_declared_work_may_follow_the_parameters(amount: Any) -> None:
    """A function gets the builder's parameters that it names, defaults included."""
    assert as_workload(on_device, flops=amount).amount("flops", {}) == 3.0


def test_declared_work_sees_the_parameters_that_were_given() -> None:
    """What is given comes before the default."""
    made = as_workload(on_device, flops=lambda n: 2 * n)
    assert made.amount("flops", {"n": 10}) == 20.0
    assert made.amount("items", {"n": 10}) is None


def test_declared_work_is_checked_when_it_is_known() -> None:
    """A function that answers nonsense is caught."""
    with pytest.raises(WorkloadError, match="flops= is -8"):
        as_workload(on_device, flops=lambda n: -n).amount("flops", {})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"reset": 5}, "reset= of 'on_device' is 5; it takes a function"),
        ({"check": {"rtol": 1, "tolerance": 2}}, "check= of 'on_device' has 'tolerance'; it takes rtol and atol"),
        ({"check": "yes"}, "check= of 'on_device' is 'yes'; it takes True"),
    ],
)
def test_an_option_of_the_wrong_form_is_refused(options: dict[str, Any], problem: str) -> None:
    """With the workload's name and the forms there are."""
    with pytest.raises(WorkloadError, match=problem):
        as_workload(on_device, **options)


def test_a_workload_has_a_name() -> None:
    """An empty one is refused."""
    with pytest.raises(WorkloadError, match="empty name"):
        Workload("", on_device, "device")


# -- call and the decorator -------------------------------------------------------------------------------------------


def test_a_call_places_its_function_and_arguments_and_compares_by_default() -> None:
    """Both legs get equal inputs, so their outputs can be compared."""
    made = call(pow, 2, exp=5)
    placed: list[Any] = []

    def place(tree: Any) -> Any:
        placed.append(tree)
        return tree

    assert (made.name, made.parameter, made.check) == ("pow", "place", True)
    assert made.builder(place)() == 32
    assert placed == [pow, (2,), {"exp": 5}]


def test_a_call_without_arguments_is_the_function_itself() -> None:
    """Nothing of ours stands between the loop and what is measured."""
    assert call(dict).builder(lambda tree: tree) is dict


def test_what_cannot_be_called_is_refused() -> None:
    """Also a coroutine function: calling it computes nothing."""

    async def coroutine() -> None: ...

    with pytest.raises(WorkloadError, match=r"call\(\) got 5, which cannot be called"):
        call(5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(WorkloadError, match=r"call\(\) got the coroutine function 'coroutine'"):
        call(coroutine)


def test_the_decorator_works_with_and_without_parentheses() -> None:
    """Its options are the workload's."""

    @workload
    def plain(device: Any) -> Any:
        return lambda: device

    @workload(backend="simulated", name="other", items=3, cpu=sequential)  # type: ignore[untyped-decorator]  # returns Any
    def with_options(device: Any) -> Any:
        return lambda: device

    assert isinstance(plain, Workload)
    assert (plain.name, plain.backend) == ("plain", None)
    assert (with_options.name, with_options.backend, with_options.items) == ("other", "simulated", 3)
    assert with_options.cpu.name == "sequential"


def test_the_decorator_knows_no_backend_but_wants_a_parameter() -> None:
    """Third-party backends are known only when measuring, but some parameter there must be."""
    assert workload(wrong).parameter == "tensor"
    with pytest.raises(WorkloadError, match="takes no argument"):
        workload(sequential)


# -- which framework --------------------------------------------------------------------------------------------------


def in_module(code: str, **scope: Any) -> Any:
    """Return ``builder``, made by code in a module with these globals."""
    module = types.ModuleType("made_up")
    module.__dict__.update(scope)
    exec(code, module.__dict__)
    return module.__dict__["builder"]


FRAMEWORK = types.ModuleType("framework.sub")


class _Tensor:
    __module__ = "framework.tensors"


@pytest.mark.parametrize(
    "code",
    [
        "def builder(device): ...",
        "import functools\nbuilder = functools.partial(lambda device, n: ..., n=3)",
        "import functools\ndef inner(device): ...\n@functools.wraps(inner)\ndef builder(*a): ...",
        "class B:\n    def __call__(self, device): ...\nbuilder = B()",
        "class A:\n    def __call__(self, device): ...\nclass B(A): ...\nbuilder = B()",
        "class B:\n    def build(self, device): ...\nbuilder = B().build",
    ],
)
@pytest.mark.parametrize("value", [FRAMEWORK, _Tensor], ids=["module", "class"])
def test_the_globals_of_the_builders_module_point_to_a_framework(code: str, value: Any) -> None:
    """A module, or something that came from one, whatever form the builder has."""
    assert frameworks_of(in_module(code, thing=value), {"framework": "backend"}) == {"backend"}
    assert frameworks_of(in_module(code), {"framework": "backend"}) == set()


def test_every_framework_among_the_globals_counts() -> None:
    """Two of them are a question that only the user can answer; import order says nothing."""
    builder = in_module("def builder(device): ...", a=types.ModuleType("a"), b=types.ModuleType("b.sub"))
    assert frameworks_of(builder, {"a": "A", "b": "B", "c": "C"}) == {"A", "B"}


def test_a_builder_without_globals_points_nowhere() -> None:
    """A function of C has no module that could tell."""
    assert frameworks_of(len, {"builtins": "x"}) == set()
