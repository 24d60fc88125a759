"""Which workloads of two runs are the same: in both, only in one, or maybe under another name. Pure.

A renamed test would be a vanished one and a new one, and its history would end without a word. So names that went away
are held against those that came; what looks alike is told as a guess, and nothing is judged by it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Guess", "Matched", "Workload", "matched", "short_id"]

Workload = tuple[str, str]
"""A test's node id and the name of the profile in it."""

NEAR = 0.7
"""Names that agree this much are near: ``test_matmul_big`` and ``test_matmul_large`` do (0.73). So do
``test_conv_forward`` and ``test_conv_backward`` (0.72), which is why it is called a guess; ``test_blur`` and
``test_blur_gpu`` do not."""

MOST_PAIRS = 10_000
"""How many pairs of names are looked at letter by letter, which takes a tenth of a second. Where more tests of a file
than that came and went, somebody moved the file, and the rules that need no letters find those."""


def short_id(test: str) -> str:
    """Return a test's node id without its folders.

    >>> short_id("tests/gpu/test_a.py::test_read[data/x.bin]")
    'test_a.py::test_read[data/x.bin]'
    """
    path, colons, inside = test.partition("::")
    return f"{path.rpartition('/')[2]}{colons}{inside}"


@dataclass(frozen=True, slots=True)
class Guess:
    """Under which name a vanished workload may go on, and what speaks for it."""

    name: Workload
    why: str


@dataclass(frozen=True, slots=True)
class Matched:
    """How the workloads of two runs go together.

    Args:
        both: in both, in the order of the newer run.
        new: only in the newer run.
        vanished: only in the earlier one.
        renamed: for vanished ones that may go on under a new name, which.
    """

    both: tuple[Workload, ...]
    new: tuple[Workload, ...]
    vanished: tuple[Workload, ...]
    renamed: Mapping[Workload, Guess] = field(default_factory=dict)


def matched(before: Collection[Workload], now: Collection[Workload]) -> Matched:
    """Return how the workloads of two runs go together.

    >>> found = matched([("test_a.py::test_mul", "mul")], [("test_b.py::test_mul", "mul")])
    >>> found.renamed[("test_a.py::test_mul", "mul")]
    Guess(name=('test_b.py::test_mul', 'mul'), why='the same name in another file')
    """
    known, current = set(before), set(now)
    new = tuple(each for each in now if each not in known)
    vanished = tuple(each for each in before if each not in current)
    return Matched(tuple(each for each in now if each in known), new, vanished, _renamed(vanished, new))


def _renamed(vanished: Iterable[Workload], new: Iterable[Workload]) -> dict[Workload, Guess]:
    """Return the guesses, the surest first, so that no name is guessed twice."""
    old, free = dict.fromkeys(vanished), dict.fromkeys(new)
    found: dict[Workload, Guess] = {}
    for pairs, why in (
        (_alone(_moved), "the same name in another file"),
        (_alone(_kept), "the same workload in the same file"),
        (_near, "a similar name"),
    ):
        for one, other in pairs(old, free):
            if one in old and other in free:
                found[one] = Guess(other, why)
                del old[one], free[other]
    return found


Pairs = Callable[[Iterable[Workload], Iterable[Workload]], "list[tuple[Workload, Workload]]"]


def _alone(same: Callable[[Workload], object]) -> Pairs:
    """Return who finds the pairs that have something in common which nobody else has: of two that fit, neither does."""

    def pairs(old: Iterable[Workload], free: Iterable[Workload]) -> list[tuple[Workload, Workload]]:
        went, came = _groups(old, same), _groups(free, same)
        return [(left[0], came[key][0]) for key, left in went.items() if len(left) == len(came.get(key, ())) == 1]

    return pairs


def _near(old: Iterable[Workload], free: Iterable[Workload]) -> list[tuple[Workload, Workload]]:
    """Return the pairs with similar names in one file and with the same parameters, the most similar first."""
    went, came = _groups(old, _place), _groups(free, _place)
    candidates = [(one, other) for place, left in went.items() for one in left for other in came.get(place, ())]
    if len(candidates) > MOST_PAIRS:
        return []
    likeness = {pair: _likeness(*pair) for pair in candidates}
    return sorted((pair for pair in candidates if likeness[pair] >= NEAR), key=lambda pair: -likeness[pair])


def _groups(workloads: Iterable[Workload], same: Callable[[Workload], object]) -> dict[object, list[Workload]]:
    groups: dict[object, list[Workload]] = {}
    for each in workloads:
        groups.setdefault(same(each), []).append(each)
    return groups


def _moved(workload: Workload) -> object:
    """What stays when a test moves to another file."""
    return workload[0].partition("::")[2], workload[1]


def _kept(workload: Workload) -> object:
    """What stays when a test is renamed: its file, the name of its builder, its parameters."""
    return _place(workload), workload[1]


def _place(workload: Workload) -> object:
    return workload[0].partition("::")[0], workload[0].partition("[")[2]


def _likeness(one: Workload, other: Workload) -> float:
    first, second = (test.partition("::")[2].partition("[")[0].removeprefix("test_") for test in (one[0], other[0]))
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()
