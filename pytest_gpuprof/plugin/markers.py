"""What a test's markers, and the ini, say: how to measure, and what must hold. Everything wrong is found at setup."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget, Kind, merge
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.profile import Profile

__all__ = [
    "FIXTURES",
    "PROFILE_OPTIONS",
    "STATE",
    "TestState",
    "check_options",
    "concerns_us",
    "matches",
    "read_markers",
    "without_group",
]

PROFILE_OPTIONS = (
    "name",
    "devices",
    "backend",
    "cpu",
    "reference",
    "check",
    "flops",
    "bytes",
    "items",
    "precision",
    "cpu_threads",
    "rounds",
    "max_time",
    "cache",
    "transfers",
    "reset",
    "params",
    "metrics",
)
"""Keywords of the ``gpu_profile`` marker and of the fixture."""

FIXTURES = frozenset({"gpu_profile", "gpu_profile_device"})


@dataclass(slots=True)
class TestState:
    """One attempt at a test: what its markers say, and what it has measured so far.

    Args:
        options: of the ``gpu_profile`` markers, the function's over the class's over the module's.
        budgets: all that bind, the ini's included.
        own_budgets: the limits that the function itself declares; these fail a test that measures nothing.
        attempt: counted from 1, for reruns.
        profiles: by name, as measured.
        sweeps: the names of the sweeps that were measured.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    options: Mapping[str, Any]
    budgets: tuple[Budget, ...]
    own_budgets: tuple[Budget, ...]
    attempt: int
    profiles: dict[str, Profile] = field(default_factory=dict)
    sweeps: set[str] = field(default_factory=set)

    def budgets_of(self, name: str, sweep: str | None = None) -> tuple[Budget, ...]:
        """Return the budgets that bind to a profile; one per device is called ``name@device``.

        Args:
            name: of the profile.
            sweep: the name of the sweep that it belongs to.
        """
        names = {None, name, name.partition("@")[0], sweep}
        return tuple(budget for budget in self.budgets if budget.profile in names)


STATE = pytest.StashKey[TestState]()


def read_markers(item: pytest.Item, rules: Sequence[tuple[str, Mapping[str, Any]]], kinds: Mapping[str, Kind]) -> None:
    """Read a test's markers into its stash, if it has any or uses our fixtures.

    Raises:
        UsageError: for a keyword or a value that cannot be meant, or a test that cannot be measured.
    """
    markers = list(item.iter_markers_with_node("gpu_budget"))
    uses = FIXTURES.intersection(getattr(item, "fixturenames", ()))
    if not markers and not uses and item.get_closest_marker("gpu_profile") is None:
        return
    if not uses and any(node is item for node, _ in item.iter_markers_with_node("gpu_profile")):
        raise UsageError(
            "the test is marked gpu_profile and measures nothing; request gpu_profile and call it, or request "
            "gpu_profile_device and return the callable to measure"
        )
    _check_form(item)
    options: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("gpu_profile"))):
        _keywords_only("gpu_profile", marker)
        options |= check_options(marker.kwargs, "the gpu_profile marker")
    layers = [keywords for pattern, keywords in rules if matches(pattern, item.nodeid)]
    layers += [_keywords_only("gpu_budget", marker) for _, marker in reversed(markers)]
    own = [marker for node, marker in markers if node is item]
    before = item.stash.get(STATE, None)
    item.stash[STATE] = TestState(
        options,
        merge(layers, kinds),
        own_budgets=merge([marker.kwargs for marker in reversed(own)], kinds),
        attempt=1 if before is None else before.attempt + 1,
    )


def _keywords_only(name: str, marker: pytest.Mark) -> Mapping[str, Any]:
    if marker.args:
        first = marker.args[0]
        raise UsageError(
            f"the {name} marker takes keywords only, and got {first!r}; write what it is: keyword={first!r}"
        )
    return marker.kwargs


def check_options(options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the options if all of them exist.

    Raises:
        UsageError: for one that does not, with the nearest that does.
    """
    for name in options:
        if name not in PROFILE_OPTIONS:
            near = difflib.get_close_matches(name, PROFILE_OPTIONS, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROFILE_OPTIONS)}"
            raise UsageError(f"{where} has no keyword {name!r}; {remedy}")
    return options


def concerns_us(item: pytest.Item) -> bool:
    """Whether a test measures something or has a budget."""
    return bool(FIXTURES.intersection(getattr(item, "fixturenames", ()))) or (
        item.get_closest_marker("gpu_budget") is not None
    )


def without_group(nodeid: str) -> str:
    """Return a node id without the ``@group`` that xdist's loadgroup appends."""
    return re.sub(r"@[^\]@:]*$", "", nodeid)


def matches(pattern: str, nodeid: str) -> bool:
    """Whether an ini pattern means a test: by its whole node id, its file, or its file and function.

    >>> matches("tests/*::test_a", "tests/test_it.py::test_a[3]")
    True
    """
    nodeid = without_group(nodeid)
    literal = pattern.replace("[", "[[]")  # fnmatch's only other special character would be a range
    path, _, rest = nodeid.partition("::")
    candidates = (nodeid, path, f"{path}::{rest.partition('[')[0]}", rest)
    return any(fnmatch.fnmatchcase(candidate, literal) for candidate in candidates)


def _check_form(item: pytest.Item) -> None:
    """Refuse a test that cannot be measured.

    Raises:
        UsageError: with what to do instead.
    """
    function = getattr(item, "function", None)
    cls = getattr(item, "cls", None)
    if cls is not None and issubclass(cls, unittest.TestCase):
        raise UsageError("a method of unittest.TestCase cannot be measured; write a plain function or class")
    names = getattr(item, "fixturenames", ())
    if function is None or "gpu_profile_device" not in names:
        return
    information = getattr(item, "_fixtureinfo", None)
    definitions: Mapping[str, Sequence[Any]] = getattr(information, "name2fixturedefs", {})
    for name, found in definitions.items():
        if any("gpu_profile_device" in getattr(each, "argnames", ()) for each in found):
            raise UsageError(
                f"the fixture {name!r} requests gpu_profile_device, but fixtures are set up once and the device "
                "changes from leg to leg; let the test itself request it, and build on the device in its body"
            )
    if "gpu_profile_device" not in inspect.signature(function).parameters:
        raise UsageError("the test does not request gpu_profile_device itself; make it a parameter of the test")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError("an async test cannot be measured: its body must return the callable to measure at once")
    if inspect.isgeneratorfunction(function):
        raise UsageError(
            "the test yields, but with gpu_profile_device its body returns the callable to measure; "
            "to clean up after it, use the gpu_profile fixture with a builder that yields"
        )
