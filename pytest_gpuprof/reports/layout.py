"""From columns of texts to lines that fit: less of each column, fewer columns, and at last one test over several lines.

Nothing here knows what a column means: it has forms, the widest first, and says what may become of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_gpuprof.reports.screen import Paint, Screen, shortened, width

__all__ = ["Block", "Form", "drawn", "form"]

_GAP: Final = "  "
_WIDE_GAP: Final = "   "
"""Between the figures of a line that is no table."""

_NAMES: Final = "test"
"""The head of the names."""

_LONGEST_NAME: Final = 120
"""Where lines have no end: a longer name sticks out, and does not push the figures of all others away."""

_NAME_SHARE: Final = 0.3
_SHORT_NAME: Final = 28
"""What names get at least, of the room and in columns: with less, two of them look alike."""

_LEAST_ROOM: Final = 72
"""Below that, a table has no room for more than one figure beside a name."""


@dataclass(frozen=True, slots=True)
class Form:
    """A column as it is drawn.

    Args:
        head: padded to the width.
        cells: one per row, each padded to the width.
        width: columns of the terminal.
    """

    head: str
    cells: Sequence[str]
    width: int


@dataclass(frozen=True, slots=True)
class Block:
    """A column with all its forms.

    Args:
        name: by which the steps mean it.
        title: what it is called where it is left out; empty for what nobody misses.
        forms: the widest first.
        alone: the cells as they stand where there are no heads, equally wide.
        colours: of the cells, where they have any.
        begins_line: whether it begins a line where a test takes several.
    """

    name: str
    title: str
    forms: Sequence[Form]
    alone: Sequence[str]
    colours: Sequence[str | None] = ()
    begins_line: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a table gives up for want of room: the column takes another form, or none at all (``None``)."""

    name: str
    form: int | None


def form(head: str, cells: Sequence[str], *, left: bool = False, spread: int = 0) -> Form:
    """Return a column with all texts padded to one width.

    Args:
        head: the title.
        cells: one per row.
        left: whether texts begin at the left edge; figures end at the right one.
        spread: columns at the end of each cell that do not belong below the head.
    """
    widths = [width(cell) for cell in cells]
    most = max(widths, default=0)
    if not left and len(head) + spread <= most:
        head += " " * spread
    most = max(most, len(head))
    pads = [" " * (most - each) for each in widths]
    if left:
        return Form(head.ljust(most), [cell + pad for cell, pad in zip(cells, pads, strict=True)], most)
    return Form(head.rjust(most), [pad + cell for cell, pad in zip(cells, pads, strict=True)], most)


def drawn(
    names: Sequence[str], blocks: Sequence[Block], steps: Iterable[Step], screen: Screen
) -> tuple[list[str], Sequence[Block]]:
    """Return the lines of the table, and the columns that had to be left out.

    Args:
        names: of the rows, printable.
        blocks: the columns beside them.
        steps: what to give up for want of room, the least important first.
        screen: where it is shown.
    """
    longest = max(len(_NAMES), *map(width, names))
    if screen.room is None:
        shown = {block.name: 0 for block in blocks}
        return _table(names, min(longest, _LONGEST_NAME), blocks, shown, screen.paint), ()
    least = min(longest, max(_SHORT_NAME, int(_NAME_SHARE * screen.room)))
    spare = screen.room - longest
    found = _fitting(blocks, steps, screen.room - least, spare) if screen.room >= _LEAST_ROOM else None
    if found is None:
        return _stacked(names, blocks, screen.room, screen), ()
    room = min(longest, screen.room - _taken(blocks, found))
    lines = _table(_cut(names, room, screen.ascii_only), room, blocks, found, screen.paint)
    return lines, [block for block in blocks if block.title and block.name not in found]


# -- what fits --------------------------------------------------------------------------------------------------------


def _taken(blocks: Sequence[Block], forms: Mapping[str, int]) -> int:
    return sum(len(_GAP) + block.forms[forms[block.name]].width for block in blocks if block.name in forms)


def _fitting(blocks: Sequence[Block], steps: Iterable[Step], room: int, spare: int) -> Mapping[str, int] | None:
    """Return the form of each column that is shown, ``None`` if all steps are not enough.

    Args:
        blocks: the columns.
        steps: what to give up, the least important first.
        room: columns of the terminal there are, once the names have their least.
        spare: columns there are once the names are whole: what fits into these is not given up after all.
    """
    known = {block.name: block for block in blocks}
    forms = dict.fromkeys(known, 0)
    given_up: list[tuple[Step, int]] = []
    for step in steps:
        if _taken(blocks, forms) <= room:
            break
        if step.name not in forms:
            continue
        given_up.append((step, forms[step.name]))
        if step.form is None:
            del forms[step.name]
        else:
            forms[step.name] = min(step.form, len(known[step.name].forms) - 1)
    if _taken(blocks, forms) > room:
        return None
    for step, before in reversed(given_up):
        restored = {**forms, step.name: before}
        if (step.form is None or step.name in forms) and _taken(blocks, restored) <= spare:
            forms = restored
    return forms


def _cut(names: Sequence[str], room: int, ascii_only: bool) -> list[str]:
    """Return the names cut to a width, in the first way that keeps different names different."""
    different = len(set(names))
    ways = ([shortened(name, room, ascii_only, keep) for name in names] for keep in (0.0, 0.5, 0.75))
    cut = [next(ways)]
    while len(set(cut[-1])) < different and (other := next(ways, None)) is not None:
        cut.append(other)
    return max(cut, key=lambda each: len(set(each)))


# -- as a table -------------------------------------------------------------------------------------------------------


def _table(
    names: Sequence[str], room: int, blocks: Sequence[Block], forms: Mapping[str, int], paint: Paint | None
) -> list[str]:
    shown = [(block, block.forms[forms[block.name]]) for block in blocks if block.name in forms]
    head = _GAP.join([_NAMES.ljust(room), *(each.head for _, each in shown)])
    rule = _GAP.join(["-" * room, *("-" * each.width for _, each in shown)])
    columns = [
        [name + " " * (room - width(name)) for name in names],
        *(_painted(each.cells, block.colours, paint) for block, each in shown),
    ]
    return [head.rstrip(), rule, *(_GAP.join(cells).rstrip() for cells in zip(*columns, strict=True))]


def _painted(cells: Sequence[str], colours: Sequence[str | None], paint: Paint | None) -> Sequence[str]:
    """Return the cells in their colours; the spaces around a text stay outside, so that it keeps its place."""
    if paint is None or not colours:
        return cells
    painted = []
    for cell, colour in zip(cells, colours, strict=True):
        text = cell.strip(" ")
        painted.append(cell if colour is None or not text else cell.replace(text, paint(text, colour)))
    return painted


# -- one test over several lines --------------------------------------------------------------------------------------


def _stacked(names: Sequence[str], blocks: Sequence[Block], room: int, screen: Screen) -> list[str]:
    """Return each name on a line of its own, and its figures below, at the same places in all rows."""
    columns = [_painted(block.alone, block.colours, screen.paint) for block in blocks]
    lines = list(_packed(blocks, room - len(_GAP)))
    found = []
    for row, name in enumerate(_cut(names, room, screen.ascii_only)):
        found.append(name)
        found += [f"{_GAP}{_WIDE_GAP.join(columns[each][row] for each in line)}".rstrip() for line in lines]
    return found


def _packed(blocks: Sequence[Block], room: int) -> Iterator[list[int]]:
    """Yield lines as the numbers of the columns that stand on each."""
    line: list[int] = []
    taken = 0
    for number, block in enumerate(blocks):
        wide = max(map(width, block.alone), default=0)
        if line and (block.begins_line or taken + len(_WIDE_GAP) + wide > room):
            yield line
            line, taken = [], 0
        taken += wide + (len(_WIDE_GAP) if line else 0)
        line.append(number)
    if line:
        yield line
