"""The sizes of a sweep, read from the keywords that somebody gave."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.scaling import written
from pytest_gpuprof.core.workload import as_workload

__all__ = ["Sizes"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is swept.

    Args:
        name: of the sweep.
        parameter: the builder's parameter that varies.
        values: its values, the smallest first.
        options: everything else that was said of measuring.
    """

    name: str
    parameter: str
    values: tuple[float, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, workload: Any, options: Mapping[str, Any], *, known: Collection[str], servants: tuple[str, ...]
    ) -> Sizes:
        """Return what is swept, from the keywords that somebody gave: one that is no option is the parameter.

        Args:
            workload: a builder or a workload.
            options: the keywords.
            known: the names of options.
            servants: names of a builder's first parameter that some backend serves.

        Raises:
            UsageError: if there is not one parameter with at least two sizes.
        """
        swept = {name: value for name, value in options.items() if name not in known}
        rest = {name: value for name, value in options.items() if name in known}
        if not swept:
            raise UsageError(
                "a sweep needs sizes; give a parameter of the builder as a list, as in n=[256, 512, 1024, 2048]"
            )
        for name, values in swept.items():
            near = difflib.get_close_matches(name, known, n=1)
            if isinstance(values, (str, bytes, numbers.Number)) and near:
                raise UsageError(f"a sweep has no keyword {name!r}; did you mean {near[0]!r}?")
        if len(swept) > 1:
            raise UsageError(
                f"a sweep varies one parameter, and got {' and '.join(f'{name}=' for name in swept)}; put what stays "
                "the same into params="
            )
        ((parameter, values),) = swept.items()
        made = as_workload(workload, servants=servants)
        if not _takes(made.builder, parameter):
            raise UsageError(
                f"the builder {made.name!r} takes no {parameter}=; give it a parameter for the size, as in "
                f"def {made.name}(device, {parameter})"
            )
        return cls(rest.pop("name", None) or made.name, parameter, _sizes(parameter, values), rest)

    def each(self) -> Iterable[tuple[float, dict[str, Any]]]:
        """Return each size with the options for measuring it."""
        params = self.options.get("params") or {}
        for value in self.values:
            name = f"{self.name}[{self.parameter}={written(value)}]"
            yield value, {**self.options, "name": name, "params": {**params, self.parameter: value}}

    def jobs(self, make: Callable[..., Sequence[Any]]) -> list[dict[float, Any]]:
        """Return the jobs of each accelerator by size.

        Args:
            make: makes the jobs of one size from its options, one per accelerator.

        Raises:
            UsageError: if there are not as many for each size.
        """
        made = {value: make(**options) for value, options in self.each()}
        if len({len(jobs) for jobs in made.values()}) > 1:
            raise UsageError(f"the sizes of {self.name!r} were not measured on the same accelerators: measure again")
        return [dict(zip(made, jobs, strict=True)) for jobs in zip(*made.values(), strict=True)]


def _takes(builder: Callable[..., Any], parameter: str) -> bool:
    found = inspect.signature(builder).parameters
    return parameter in found or any(each.kind is each.VAR_KEYWORD for each in found.values())


def _sizes(parameter: str, values: Any) -> tuple[float, ...]:
    """Return sizes as builtins, the smallest first.

    Raises:
        UsageError: if they are not at least two numbers above 0, each another.
    """
    example = f"write {parameter}=[256, 512, 1024, 2048]"
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise UsageError(f"{parameter}={values!r} is no list of sizes; {example}")
    found: list[float] = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise UsageError(f"{parameter}= has {value!r}, which is no number; {example}")
        number: float = int(value) if isinstance(value, numbers.Integral) else float(value)
        if not math.isfinite(number) or number <= 0:
            raise UsageError(f"{parameter}= has {value!r}, and sizes are above 0; {example}")
        found.append(number)
    if len(set(found)) < 2:
        raise UsageError(f"{parameter}= has {len(set(found))} size, and a crossover takes two at least; {example}")
    if len(set(found)) < len(found):
        twice = next(number for number in found if found.count(number) > 1)
        raise UsageError(f"{parameter}= has {written(twice)} twice; name each size once")
    return tuple(sorted(found))
