"""Transfers: what it takes to bring a call's inputs to the device and its output back, apart from computing.

Inputs are the arrays that the callable holds: arguments of :func:`~pytest_gpuprof.call` or of a ``functools.partial``,
and what a function closes over, also inside lists, tuples and dicts. Modules and their weights stay on the device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.protocols import Arrays
from pytest_gpuprof.sampling.legs import BuiltLeg
from pytest_gpuprof.sampling.loop import seconds_of

__all__ = ["Transfers"]

_SAMPLE_S = 1e-3
"""A sample of copies lasts about a millisecond, long against a synchronization; many MiB take longer anyway."""

_MOST_COPIES = 100
"""Copies in a sample at most; smaller than 10 µs they cost what the driver costs, whatever their size."""

_SAMPLES = 3
"""The round's figure is the median of three."""


class Transfers:
    """The inputs and the output of a callable, ready to travel.

    Args:
        leg: a warm leg on an accelerator.

    Raises:
        WorkloadError: if it has no arrays to move.
    """

    def __init__(self, leg: BuiltLeg) -> None:
        arrays = leg.plan.device.arrays
        name, where = leg.plan.workload.name, leg.plan.device.info.id
        if arrays is None:
            raise WorkloadError(f"transfers=True of {name!r}: the arrays of {where} cannot be moved by this backend")
        self._device = leg.plan.device
        self._inputs = [moved for value in _held(leg.function) for moved in _arrays_in(value, arrays)]
        output = leg.call()
        self._device.synchronize()
        self._outputs = list(_moving(output, arrays))
        if not self._inputs or not self._outputs:
            what = "inputs" if not self._inputs else "output"
            raise WorkloadError(
                f"transfers=True of {name!r}: its {what} on {where} cannot be seen; pass arrays with "
                "call(function, arguments…), or return a function that closes over its input arrays and returns arrays"
            )
        self._place, self._download = arrays.place, arrays.download
        self._uploads, self._downloads = (self._calibrated(each) for each in (self._up, self._down))

    def sample(self) -> Mapping[str, tuple[float, ...]]:
        """Return seconds of uploading all inputs, and of downloading the output, several times."""
        steps = {"upload_time": (self._up, self._uploads), "download_time": (self._down, self._downloads)}
        return {
            name: tuple(seconds_of(self._device, step, times) / times for _ in range(_SAMPLES))
            for name, (step, times) in steps.items()
        }

    def _up(self) -> None:
        for value in self._inputs:
            self._place(value)

    def _down(self) -> None:
        for value in self._outputs:
            self._download(value)

    def _calibrated(self, step: Callable[[], None]) -> int:
        seconds_of(self._device, step, 1)  # the first one allocates
        seconds = seconds_of(self._device, step, 1)
        return max(1, min(_MOST_COPIES, math.ceil(_SAMPLE_S / max(seconds, 1e-9))))


def _held(function: Any) -> Iterator[Any]:
    """Yield what a callable holds: arguments bound to it, and variables it closes over."""
    while isinstance(function, functools.partial):
        yield from (*function.args, *function.keywords.values())
        function = function.func
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue


def _arrays_in(value: Any, arrays: Arrays) -> Iterator[Any]:
    """Yield copies in host memory of the device's arrays within ``value``."""
    for each in _moving(value, arrays):
        yield arrays.download(each)


def _moving(value: Any, arrays: Arrays) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _moving(each, arrays)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _moving(each, arrays)
    elif arrays.download(value) is not value:
        yield value
