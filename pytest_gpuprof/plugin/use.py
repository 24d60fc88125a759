"""How a test measures: what the ``gpu_profile`` fixture gives it, and the body that is called once per leg.

There are two ways to run a workload, one measuring (:mod:`pytest_gpuprof.plugin.session`) and one not
(:mod:`pytest_gpuprof.plugin.off`); this module is what both have in common. PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

import pytest

from pytest_gpuprof.core.errors import OutputsDiffer, Unavailable, UsageError, WorkloadError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.sweep import Sweep
from pytest_gpuprof.core.workload import Workload
from pytest_gpuprof.plugin.markers import check_options
from pytest_gpuprof.plugin.outcome import fail
from pytest_gpuprof.plugin.switch import SESSION

__all__ = ["INSTEAD", "GpuProfile", "MissingOutput", "Run", "body_as_workload", "measuring_for"]


class Run(Protocol):
    """A way to run workloads."""

    enabled: bool

    def prepare(self, item: pytest.Item) -> None:
        """Make sure that a test's markers are read and can be meant, before its first fixture of ours is used."""

    def profile(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Profile:
        """Run a workload for a test, and return its profile."""

    def sweep(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Sweep:
        """Run a workload at several sizes for a test, and return what they tell together."""


INSTEAD = pytest.StashKey[Run]()
"""How a test's workloads are run in place of how those of the others are: once, in a run that measures."""


def measuring_for(item: pytest.Item) -> Run:
    """Return how a test's workloads are run; without ``--gpu-profile`` that is made when the first test wants it."""
    manager = item.config.pluginmanager
    found: Run | None = item.stash.get(INSTEAD, None) or manager.get_plugin(SESSION)
    try:
        if found is None:
            from pytest_gpuprof.plugin.off import Off

            found = Off(item.config)
            manager.register(found, SESSION)
        found.prepare(item)
    except UsageError as error:
        fail(str(error))
    return found


class GpuProfile:
    """What the ``gpu_profile`` fixture gives a test.

    Attributes:
        enabled: whether this run measures.
    """

    def __init__(self, item: pytest.Item, run: Run) -> None:
        self._item = item
        self._run = run
        self.enabled = run.enabled

    def __call__(self, workload: Any, /, **options: Any) -> Profile:
        """Measure a workload here and now, and return its :class:`~pytest_gpuprof.core.profile.Profile`.

        Args:
            workload: a builder, a workload, or ``call(function, arguments…)``.
            options: as in :func:`pytest_gpuprof.profile`: name, devices, backend, cpu, reference, check, flops, bytes,
                items, precision, cpu_threads, rounds, max_time, cache, transfers, reset, params, metrics. They go
                before the marker's.
        """
        __tracebackhide__ = True
        try:
            check_options(options, "gpu_profile()")
            return self._run.profile(self._item, workload, options)
        except (UsageError, OutputsDiffer) as error:
            fail(str(error))

    def sweep(self, workload: Any, /, **options: Any) -> Sweep:
        """Measure a workload at several sizes, and return its :class:`~pytest_gpuprof.core.sweep.Sweep`.

        Each size is a profile of the test, called ``name[n=256]``; budgets of the test bind to each of them, and
        ``max_crossover`` to the sweep.

        Args:
            workload: a builder with a parameter for the size, or a workload.
            options: the sizes, as a list under the name of the builder's parameter (``n=[256, 512, 1024, 2048]``), and
                what ``gpu_profile()`` takes.
        """
        __tracebackhide__ = True
        try:
            return self._run.sweep(self._item, workload, options)
        except (UsageError, OutputsDiffer) as error:
            fail(str(error))


class MissingOutput:
    """Stands for the output of a workload that is not there: asking it for anything says so.

    Args:
        why: as the end of "unavailable, because …".
    """

    def __init__(self, why: str) -> None:
        self._told = f"the output of the workload is unavailable, because {why}"

    def _missing(self, *args: object, **options: object) -> NoReturn:
        raise Unavailable(self._told)

    __getattr__ = __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = __call__ = _missing
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __mul__ = __abs__ = _missing
    __hash__ = None  # type: ignore[assignment]


def body_as_workload(item: pytest.Function) -> Workload:
    """Return the body of a test that requests ``gpu_profile_device`` as a workload."""
    function = item.obj
    names = [
        name for name in item._fixtureinfo.argnames if name != "gpu_profile_device"
    ]  # what the test itself requests

    def builder(device: Any) -> Any:
        made = function(**{name: item.funcargs[name] for name in names}, gpu_profile_device=device)
        if made is None:
            raise WorkloadError(
                "the test returns nothing; with gpu_profile_device its body returns the callable to measure, e.g. "
                "`return lambda: conv(x)`"
            )
        return made

    return Workload(item.originalname or item.name, builder, "device", home=function)
