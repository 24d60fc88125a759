"""FLOPs of a callable of JAX: those of the program that it runs, or why nobody knows them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.backends.jax import JaxBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import Unavailable

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="NOT TESTED: JAX's FLOPs, because JAX is not installed"
)

N = 32
PRODUCT = 2 * N**3


class Kit:
    """Arrays on a device, and its counter."""

    def __init__(self, device: str) -> None:
        import jax

        opened = JaxBackend().open(DeviceId.parse(device))
        self.jax = jax
        self.a, self.b = (jax.device_put(jax.numpy.ones((N, N)), opened.arguments["device"]) for _ in range(2))
        self._opened = opened

    def count(self, function: Callable[[], Any]) -> int:
        assert self._opened.flop_counter is not None
        with self._opened.active():
            return self._opened.flop_counter.count(function)


@pytest.fixture(params=["cpu", "jax:1"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """The CPU, and a second CPU device that JAX drives like any accelerator."""
    return Kit(request.param)


def test_products(kit: Kit) -> None:
    """Compiled or not, of arrays that are held: they are arguments, with which nothing is computed beforehand."""
    a, b = kit.a, kit.b
    multiply = kit.jax.jit(lambda x, y: x @ y)
    held = kit.jax.jit(lambda: a @ b)
    assert kit.count(lambda: a @ b) == PRODUCT
    assert kit.count(lambda: multiply(a, b)) == PRODUCT
    assert kit.count(held) == PRODUCT
    assert kit.count(lambda: multiply(multiply(a, b), b)) == 2 * PRODUCT


def test_elements(kit: Kit) -> None:
    """One operation per element of arithmetic, none for moving; nothing at all for a stored result."""
    a, b = kit.a, kit.b
    assert kit.count(lambda: a + b) == N**2
    assert kit.count(lambda: a.T) == 0
    assert kit.count(lambda: a) == 0


def test_what_is_run_counts_whoever_looks(kit: Kit) -> None:
    """Without ``jax.jit`` each operation is run; within, what nobody needs is not."""
    a, b = kit.a, kit.b
    assert kit.count(lambda: (a @ b, a)[1]) == PRODUCT
    unused = kit.jax.jit(lambda x, y: (x @ y, x + y)[1])
    assert kit.count(lambda: unused(a, b)) == N**2


def test_a_callable_that_returns_nothing(kit: Kit) -> None:
    """A step that keeps its state for itself computes as much as one that returns it."""
    state = {"x": kit.a}
    step = kit.jax.jit(lambda x: x @ x)

    def advance() -> None:
        state["x"] = step(state["x"])

    assert kit.count(advance) == PRODUCT


def test_loops_count_as_often_as_they_run(kit: Kit) -> None:
    """XLA counts a loop's body once, whatever it says of it; nested ones multiply."""
    a, b, lax = kit.a, kit.b, kit.jax.lax

    def five(x: Any) -> Any:
        return lax.scan(lambda carry, _: (carry @ b, None), x, None, length=5)[0]

    def fifteen(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda _, y: five(y), x)

    assert kit.count(lambda: five(a)) == pytest.approx(5 * PRODUCT, rel=0.001)
    assert kit.count(lambda: kit.jax.jit(fifteen)(a)) == pytest.approx(15 * PRODUCT, rel=0.001)


@pytest.mark.parametrize(("length", "unroll"), [(0, 1), (1, 1), (5, 2), (6, 2), (2, 5), (4, True)])
def test_loops_that_are_unrolled(kit: Kit, length: int, unroll: int) -> None:
    """However many steps are written out, each counts once."""
    found = kit.count(lambda: kit.jax.lax.scan(lambda x, _: (x @ kit.b, None), kit.a, None, length, unroll=unroll)[0])
    assert found == pytest.approx(length * PRODUCT, rel=0.001)


def test_gradients(kit: Kit) -> None:
    """The products of the way back are counted, through loops and recomputation too."""
    a, b, jax = kit.a, kit.b, kit.jax

    def loss(x: Any) -> Any:
        return jax.numpy.sum(jax.lax.scan(lambda y, _: (jax.numpy.sin(y @ b), None), x, None, length=4)[0])

    assert kit.count(lambda: jax.value_and_grad(loss)(a)) == pytest.approx(8 * PRODUCT, rel=0.03)
    again = jax.checkpoint(lambda x: jax.numpy.sin(x @ b).sum())
    assert kit.count(lambda: jax.grad(again)(a)) == pytest.approx(3 * PRODUCT, rel=0.05)


def test_what_nobody_can_count(kit: Kit) -> None:
    """Loops without a known length, loops in a branch, and libraries: no figure, and the reason."""
    a, b, jax = kit.a, kit.b, kit.jax
    lax = jax.lax
    endless = lambda: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ b, a)  # noqa: E731
    with pytest.raises(Unavailable, match="contains a while loop"):
        kit.count(endless)
    perhaps = lambda: lax.cond(a[0, 0] > 2, lambda x: lax.fori_loop(0, 3, lambda _, y: y @ b, x), lambda x: x, a)  # noqa: E731
    with pytest.raises(Unavailable, match="contains a loop within cond"):
        kit.count(perhaps)
    with pytest.raises(Unavailable, match=r"calls lapack_spotrf_ffi, whose operations XLA does not know"):
        kit.count(lambda: jax.numpy.linalg.cholesky(a + jax.numpy.eye(N)))


@pytest.mark.parametrize("end", ["block_until_ready", "__array__", "tolist"])
def test_a_callable_that_leaves_jax(kit: Kit, end: str) -> None:
    """Tracing has no values to convert or to wait for; the reason says what to return instead."""
    with pytest.raises(Unavailable, match=r"cannot be traced \(.*let it return its JAX arrays.*whoever measures waits"):
        kit.count(lambda: getattr(kit.a @ kit.b, end)())


def test_waiting_by_the_function_is_fine(kit: Kit) -> None:
    """``jax.block_until_ready`` waits for what there is to wait for, and returns its argument."""
    assert kit.count(lambda: kit.jax.block_until_ready(kit.a @ kit.b)) == PRODUCT


def test_a_callable_that_fails(kit: Kit) -> None:
    """Its own error is the reason; JAX is in order afterwards."""

    def failing() -> None:
        raise KeyError("the workload's own")

    with pytest.raises(Unavailable, match=r"KeyError: \"the workload's own\""):
        kit.count(failing)
    assert kit.count(lambda: kit.a @ kit.b) == PRODUCT
