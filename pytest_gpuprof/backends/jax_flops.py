"""FLOPs of a callable of JAX: it is traced, and XLA says what the traced program costs before it optimizes anything.

Not after: then arrays that the callable holds are constants, which XLA may have computed with already, and products
may be calls of a library, of which it knows nothing. The arrays become arguments, and the program is lowered for the
CPU, whatever it runs on: JAX tells these costs there only, and they are the program's, not the device's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_gpuprof.core.errors import Unavailable

__all__ = ["JaxFlopCounter"]

_CALLS = frozenset({"pjit", "jit", "closed_call", "core_call", "remat2", "checkpoint"})
_CUSTOM_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Primitives that run the program in their parameters once."""

_FREE = frozenset(("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement"))
"""Custom calls that are notes to the compiler."""

_CUSTOM_CALL = re.compile(r'custom_call @"?([^\s"(]+)')

_SHOWN_ELEMENTS = 8
"""Constants are shortened where the program is searched for calls: nobody looks at them, and they may be large."""


class JaxFlopCounter:
    """XLA's own count of a program, loops counted as often as they run.

    The callable is traced, so it is called once with arrays that have no values. What it keeps of them is of no use
    afterwards; the leg was built for this alone.
    """

    name = "XLA's cost analysis"
    knows = "products, convolutions, reductions and one operation per element of arithmetic, before optimization"

    def count(self, function: Callable[[], Any]) -> int:
        """Return the operations of one call.

        Raises:
            Unavailable: if it cannot be traced, or contains what XLA cannot count.
        """
        import jax
        import jax.extend.core

        program = _traced(jax, function)
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            arguments = [_shape(jax, value) for value in program.consts]
            total = _lowered_count(jax, _everything(program.jaxpr), arguments)
            return int(total + _more_in_loops(jax, program.jaxpr))


def _traced(jax: Any, function: Callable[[], Any]) -> Any:
    def arrays() -> list[Any]:
        return [leaf for leaf in jax.tree_util.tree_leaves(function()) if isinstance(leaf, jax.Array)]

    try:
        return jax.make_jaxpr(arrays)()
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise Unavailable(
            f"the callable cannot be traced ({type(error).__name__}: {first}); let it return its JAX arrays, and "
            "neither convert them nor wait for them: whoever measures waits"
        ) from error


def _shape(jax: Any, value: Any) -> Any:
    """Return the shape and type of an array, which is all that counting needs."""
    described = jax.typeof(value) if hasattr(jax, "typeof") else jax.core.get_aval(value)
    return jax.ShapeDtypeStruct(described.shape, described.dtype)


def _everything(jaxpr: Any) -> Callable[..., list[Any]]:
    """Return a function of the constants whose outputs are all that the program computes.

    Outside of ``jax.jit`` every operation is run, also if nobody looks at its output, so none may be left out.
    """

    def run(*consts: Any) -> list[Any]:
        known = dict(zip(jaxpr.constvars, consts, strict=True))
        outputs: list[Any] = []
        for equation in jaxpr.eqns:
            given = [each.val if hasattr(each, "val") else known[each] for each in equation.invars]
            bound = equation.primitive.get_bind_params(equation.params)
            functions, parameters = ((), bound) if isinstance(bound, dict) else bound  # JAX 0.5 gives both, 0.10 one
            found = equation.primitive.bind(*functions, *given, **parameters)
            found = found if equation.primitive.multiple_results else [found]
            known.update(zip(equation.outvars, found, strict=True))
            outputs += found
        return outputs

    return run


def _lowered_count(jax: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> float:
    """Return what XLA counts in a function before it optimizes; the body of a loop counts once."""
    lowered = jax.jit(function).lower(*arguments)
    text = lowered.compiler_ir("stablehlo").operation.get_asm(large_elements_limit=_SHOWN_ELEMENTS)
    unknown = sorted(set(_CUSTOM_CALL.findall(text)) - _FREE)
    if unknown:
        raise Unavailable(f"the callable calls {', '.join(unknown)}, whose operations XLA does not know")
    costs = lowered.cost_analysis()
    if costs is None:
        raise Unavailable("XLA tells no costs here")
    return max(0.0, float(costs.get("flops", 0.0)))


def _more_in_loops(jax: Any, jaxpr: Any) -> float:
    """Return what the loops of a program compute beyond their first step.

    Raises:
        Unavailable: for a loop of which nobody knows how often it runs.
    """
    more = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "scan":
            body = equation.params["jaxpr"]
            step = _lowered_count(jax, jax.extend.core.jaxpr_as_fun(body), _inputs(jax, body.jaxpr))
            length, unrolled = equation.params["length"], int(equation.params.get("unroll", 1))
            # Lowered, it is a loop of as many steps as are unrolled, if there are so many, and what is left of them.
            counted = (unrolled if length >= unrolled else 0) + length % unrolled
            more += length * (step + _more_in_loops(jax, body.jaxpr)) - counted * step
            continue
        if name == "while":
            raise Unavailable("the callable contains a while loop, and only running it tells how often it runs")
        for inner in _programs_in(equation.params):
            within = _more_in_loops(jax, inner)
            if within and name not in _CALLS | _CUSTOM_CALLS:
                raise Unavailable(f"the callable contains a loop within {name}, and nobody knows how often it runs")
            more += within
    return more


def _inputs(jax: Any, jaxpr: Any) -> list[Any]:
    return [jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in jaxpr.invars]


def _programs_in(parameters: Any) -> Iterator[Any]:
    """Yield the programs among the parameters of a primitive."""
    for value in parameters.values():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            inner = getattr(each, "jaxpr", each)
            if hasattr(inner, "eqns"):
                yield inner
