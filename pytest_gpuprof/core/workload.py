"""A workload: what is measured. A named builder, with its declared work and how to check it.

A *builder* prepares inputs on the device it is given and returns the callable to measure. The name of its first
parameter says what it wants: ``device`` (the framework's device object), ``xp`` (an array namespace), ``queue`` (a
command queue). :func:`call` makes a workload of a plain function and its arguments; :func:`workload` decorates a
builder so that it can be measured from anywhere.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.quantities import PRECISIONS

__all__ = ["AUTO", "Check", "Workload", "as_workload", "call", "workload"]

Amount: TypeAlias = "float | int | Callable[..., float]"
"""Declared work per call: a number, or a function of the builder's parameters."""

AUTO: Final = "auto"
"""As ``flops=``: let the framework count them, in a pass of its own."""

Check: TypeAlias = "bool | Mapping[str, float] | Callable[[Any, Any], object]"
"""How to compare the legs' outputs: yes or no, ``dict(rtol=, atol=)``, or a function that raises or returns False."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A named builder with declared work.

    Args:
        name: what reports call it.
        builder: prepares inputs and returns the callable to measure, or (a generator) yields it and cleans up after.
        parameter: name of its first parameter, ``None`` if it takes none.
        backend: the adapter to use, ``None`` to find it from the builder's module.
        cpu: another workload for the CPU leg.
        reference: another workload on the same device, to be compared with.
        check: how to compare the legs' outputs; ``None`` means the default of the form (only :func:`call` compares).
        reset: runs untimed before each call, for callables that change what they work on. It takes no argument, or
            the callable that was built.
        items, flops, bytes: declared work per call; ``flops="auto"`` has them counted, where the framework can.
        precision: in which number format it mostly computes (``"fp32"``, ``"bf16"``, …), which decides the peak it is
            compared with; ``None`` for fp32.
        arguments: for :func:`call`, the arguments to move to each device.
        home: the function whose module tells the framework, ``None`` for the builder itself.

    Raises:
        WorkloadError: if a part has a form that cannot be measured.
    """

    name: str
    builder: Callable[..., Any]
    parameter: str | None
    backend: str | None = None
    cpu: Workload | None = None
    reference: Workload | None = None
    check: Check | None = None
    reset: Callable[..., object] | None = None
    items: Amount | None = None
    flops: Amount | str | None = None
    bytes: Amount | None = None
    precision: str | None = None
    arguments: tuple[Any, ...] | None = field(default=None, repr=False)
    home: Callable[..., Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise WorkloadError("a workload has an empty name; give it one with name=")
        for what in ("items", "flops", "bytes"):
            if not (what == "flops" and self.counts_flops):
                _check_amount(what, getattr(self, what))
        if self.precision is not None and self.precision not in PRECISIONS:
            raise WorkloadError(
                f"precision= of {self.name!r} is {self.precision!r}; it takes one of {', '.join(PRECISIONS)}"
            )
        if self.reset is not None and not callable(self.reset):
            raise WorkloadError(f"reset= of {self.name!r} is {self.reset!r}; it takes a function")
        check = self.check
        if isinstance(check, Mapping):
            unknown = set(check) - {"rtol", "atol"}
            if unknown:
                raise WorkloadError(
                    f"check= of {self.name!r} has {', '.join(sorted(map(repr, unknown)))}; it takes rtol and atol"
                )
        elif check is not None and not isinstance(check, bool) and not callable(check):
            raise WorkloadError(
                f"check= of {self.name!r} is {check!r}; it takes True, dict(rtol=, atol=) or a function of both outputs"
            )

    def amount(self, what: str, params: Mapping[str, Any]) -> float | None:
        """Return the declared ``items``, ``flops`` or ``bytes`` per call for these builder parameters.

        ``None`` where nothing is declared, and for FLOPs that are to be counted.
        """
        declared = None if what == "flops" and self.counts_flops else getattr(self, what)
        if callable(declared):
            wanted = inspect.signature(declared).parameters
            everything = any(each.kind is each.VAR_KEYWORD for each in wanted.values())
            defaults = self._defaults()
            known = {**defaults, **params}
            declared = declared(**(known if everything else {k: v for k, v in known.items() if k in wanted}))
            _check_amount(what, declared)
        return None if declared is None else float(declared)

    @property
    def counts_flops(self) -> bool:
        """Whether its FLOPs are to be counted."""
        return isinstance(self.flops, str) and self.flops == AUTO

    def _defaults(self) -> dict[str, Any]:
        parameters = list(inspect.signature(self.builder).parameters.values())[1 if self.parameter else 0 :]
        return {each.name: each.default for each in parameters if each.default is not each.empty}


def _check_amount(what: str, amount: object) -> None:
    if amount is None or (callable(amount) and not isinstance(amount, type)):
        return
    if isinstance(amount, str) and amount == AUTO:
        raise WorkloadError(f"{what}= is 'auto', and only FLOPs can be counted; give {what}= as a number or a function")
    real = isinstance(amount, numbers.Real) and not isinstance(amount, bool)  # NumPy's numbers are real ones too
    if not real or not 0 < float(amount) < float("inf"):  # type: ignore[arg-type]  # checked to be real
        auto = ", or 'auto'" if what == "flops" else ""
        raise WorkloadError(f"{what}= is {amount!r}; it takes a number above 0, or a function of the parameters{auto}")


def as_workload(
    source: Any, *, name: str | None = None, servants: tuple[str, ...] = ("device", "xp", "queue"), **options: Any
) -> Workload:
    """Return ``source`` as a workload.

    Args:
        source: a :class:`Workload`, or a builder.
        name: its name; ``None`` takes the builder's.
        servants: the names of a first parameter that some backend serves.
        options: fields of :class:`Workload`; ``None`` keeps what the workload says. ``cpu`` and ``reference`` may be
            builders themselves.

    Raises:
        WorkloadError: if it is neither, or the builder's first parameter is none that a backend serves.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for part in ("cpu", "reference"):
        if part in given:
            given[part] = _part(part, given[part], servants)
    if isinstance(source, Workload):
        return replace(source, name=name or source.name, **given) if given or name else source
    if not callable(source):
        raise WorkloadError(
            f"{source!r} is no workload; pass a builder (a function of device, xp, queue or stream that returns the "
            "callable to measure), or call(function, arguments…)"
        )
    title = name or _title(source)
    parameter = first_parameter(source)
    if parameter not in servants:
        wanted = " or ".join(servants)
        has = "takes no argument" if parameter is None else f"has {parameter!r} as its first parameter"
        raise WorkloadError(
            f"the builder {title!r} {has}, but its first parameter says what it wants: name it {wanted}; "
            "for a plain function use call(function, arguments…)"
        )
    return Workload(title, source, parameter, **given)


def _part(part: str, source: Any, servants: tuple[str, ...]) -> Workload:
    if isinstance(source, Workload):
        return source
    if not callable(source):
        raise WorkloadError(f"{part}= is {source!r}; it takes a builder")
    parameter = first_parameter(source)
    if parameter is None or parameter in servants:
        return Workload(_title(source), source, parameter)
    raise WorkloadError(
        f"the builder given as {part}= has {parameter!r} as its first parameter; "
        f"name it {' or '.join(servants)}, or give it none: parameters of its own need defaults (n=1000)"
    )


def first_parameter(builder: Callable[..., Any]) -> str | None:
    """Return the name of a builder's first parameter if it is a required one, else ``None``."""
    if inspect.iscoroutinefunction(builder) or inspect.isasyncgenfunction(builder):
        raise WorkloadError(
            f"the builder {_title(builder)!r} is async, and what an event loop does cannot be timed as one call; "
            "build outside the loop and measure a synchronous callable"
        )
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except (TypeError, ValueError):
        raise WorkloadError(f"the signature of {builder!r} cannot be read; wrap it in a function of device") from None
    for each in parameters:
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty:
            return each.name
        break
    return None


def _title(builder: Any) -> str:
    inner = builder
    while isinstance(inner, functools.partial):
        inner = inner.func
    return getattr(inner, "__name__", type(inner).__name__)


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Workload:
    """Return the workload of calling a plain function with these arguments.

    Arrays, tensors and modules among the arguments (also inside lists, tuples and dicts) are moved to each device, so
    both legs get equal inputs, and their outputs are compared unless ``check=False`` is said.

    Args:
        function: what to measure.
        args, kwargs: its arguments.

    Raises:
        WorkloadError: if ``function`` cannot be called, or is a coroutine function.

    >>> call(sum, [1, 2, 3]).name
    'sum'
    """
    if not callable(function):
        raise WorkloadError(f"call() got {function!r}, which cannot be called; pass a function and its arguments")
    if inspect.iscoroutinefunction(function):
        raise WorkloadError(f"call() got the coroutine function {_title(function)!r}; measure a synchronous function")

    def builder(place: Callable[[Any], Any]) -> Callable[[], Any]:
        placed_function = place(function)
        placed_args = place(args)
        placed_kwargs = place(kwargs)
        if not placed_args and not placed_kwargs:
            return placed_function  # type: ignore[no-any-return]  # placing keeps the type of what it moves
        return functools.partial(placed_function, *placed_args, **placed_kwargs)

    return Workload(_title(function), builder, "place", check=True, arguments=(function, args, kwargs))


def workload(
    builder: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    backend: str | None = None,
    cpu: Callable[..., Any] | Workload | None = None,
    reference: Callable[..., Any] | Workload | None = None,
    check: Check | None = None,
    reset: Callable[..., object] | None = None,
    items: Amount | None = None,
    flops: Amount | str | None = None,
    bytes: Amount | None = None,  # noqa: A002  # the word users know
    precision: str | None = None,
) -> Any:
    """Decorate a builder, so that it is a workload with its options.

    Args:
        builder: the builder; decorate with or without parentheses.
        name, backend, cpu, reference, check, reset, items, flops, bytes, precision: as in :class:`Workload`.

    Returns:
        The :class:`Workload`.

    >>> @workload(backend="simulated", items=100)
    ... def scale(device, n=100):
    ...     return lambda: device.run(1e-3)
    >>> scale.name, scale.amount("items", {})
    ('scale', 100.0)
    """
    options = {
        "backend": backend,
        "cpu": cpu,
        "reference": reference,
        "check": check,
        "reset": reset,
        "items": items,
        "flops": flops,
        "bytes": bytes,
        "precision": precision,
    }

    def decorate(source: Callable[..., Any]) -> Workload:
        # Third-party backends are not known yet: whether somebody serves the first parameter is checked when measuring.
        parameter = first_parameter(source)
        return as_workload(source, name=name, servants=(parameter,) if parameter else ("device",), **options)

    return decorate if builder is None else decorate(builder)


def frameworks_of(builder: Callable[..., Any], known: Mapping[str, str]) -> set[str]:
    """Return the backends to which the globals of the builder's module point.

    Args:
        builder: any callable.
        known: backend by top-level module name, e.g. ``{"torch": "torch"}``.
    """
    inner: Any = builder
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    if not hasattr(inner, "__globals__"):  # a class, or an object that can be called
        inner = getattr(inner, "__init__", None) if isinstance(inner, type) else type(inner).__call__
    scope: Mapping[str, Any] = getattr(inner, "__globals__", {})
    found = set()
    for value in list(scope.values()):
        module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        if isinstance(module, str) and (backend := known.get(module.partition(".")[0])):
            found.add(backend)
    return found
