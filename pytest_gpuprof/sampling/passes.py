"""Passes of their own, never inside timed rounds: what each yields; here: counting FLOPs.

Each builds its leg anew, so that one pass cannot see what another left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.protocols import FlopCounter
from pytest_gpuprof.core.results import Caution, Quality, Reading
from pytest_gpuprof.sampling.legs import LegPlan, built
from pytest_gpuprof.sampling.quiet import threads_limited

__all__ = ["PassResult", "flops_pass"]


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass yielded."""

    readings: Mapping[str, Reading] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()
    calls: int = 0


def flops_pass(plan: LegPlan, counter: FlopCounter, *, threads: int, quality: Quality) -> PassResult:
    """Count the floating-point operations of one call, after one that is not counted and may still compile.

    Args:
        plan: the leg.
        counter: what counts.
        threads: CPU threads the leg may use.
        quality: of the reading; ``"estimated"`` for a counter that does not know every operator.
    """
    with threads_limited(plan.device.threads, threads), built(plan) as leg:
        leg.call()
        leg.prepare()
        try:
            counted = counter.count(leg.function)
            plan.device.synchronize()
        except Unavailable as reason:
            why = f"{counter.name} cannot tell: {reason}; or give flops= yourself"
            return PassResult({"flops": Reading.unavailable(why)}, calls=2)
        except Exception as error:  # the call went well before it was watched
            why = f"{counter.name} failed ({type(error).__name__}: {error}); give flops= yourself"
            return PassResult({"flops": Reading.unavailable(why)}, calls=2)
    if counted <= 0:
        why = f"{counter.name} counted nothing: it knows {counter.knows}; give flops= yourself"
        return PassResult({"flops": Reading.unavailable(why)}, calls=2)
    source = f"counted by {counter.name} (only {counter.knows})"
    return PassResult({"flops": Reading(float(counted), quality=quality, source=source)}, calls=2)
