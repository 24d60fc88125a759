"""Which figures there are, and which of them an argument names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_gpuprof.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.kinds import Kind

__all__ = ["figure_names", "kinds"]


def kinds() -> Mapping[str, Kind]:
    """Return what each figure means, also those that installed plugins bring."""
    from importlib.metadata import entry_points

    from pytest_gpuprof.budgets.kinds import KINDS, kinds_by_figure
    from pytest_gpuprof.hookspecs import ENTRY_POINTS

    if not entry_points(group=ENTRY_POINTS):  # a fifth of the time of history is that of importing all we can do
        return kinds_by_figure(KINDS.values())
    from pytest_gpuprof.extensions import Extensions

    return kinds_by_figure(Extensions.standalone().kinds.values())


def figure_names(argument: str, text: str | None, known: Mapping[str, Kind]) -> list[str]:
    """Return the figures that a list with commas names, each once.

    Raises:
        UsageError: for one that does not exist.
    """
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"{argument} has {name!r}, which is no figure; {remedy}")
    return list(dict.fromkeys(names))
