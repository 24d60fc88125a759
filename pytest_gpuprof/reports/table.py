"""From records to the table a person reads: one row per workload, figures that can be compared down a column."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_gpuprof.budgets.headroom import Headroom
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.reports.amounts import Amounts, amounts
from pytest_gpuprof.reports.bar import bar, told
from pytest_gpuprof.reports.columns import COLUMNS, SHOWN
from pytest_gpuprof.reports.layout import Block, Step, drawn, form
from pytest_gpuprof.reports.places import place, places
from pytest_gpuprof.reports.rows import Row, grouped, ordered
from pytest_gpuprof.reports.screen import Screen, escaped, plain, shortened
from pytest_gpuprof.reports.standing import COLOURS, standing_of

__all__ = ["cells", "tables"]

_ANYWHERE: Final = Screen()

_LONGEST_LIMIT: Final = 30
"""Characters of a budget's keyword: ours are shorter, and those that a hook brings may be anything."""

_INDENT: Final = "    "
"""Of the further lines of a sentence."""


def tables(
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    group_by: str | None = None,
    screen: Screen = _ANYWHERE,
) -> list[tuple[str, str]]:
    """Return the tables as pairs of a title (maybe empty) and text, no line of which is wider than the screen.

    Args:
        rows: in the order in which they ran.
        columns: which to show; they are all shown, one test over several lines where the screen is narrow. ``None`` for
            those that have something to say; of these some are left out where the screen is narrow, and the text says
            which.
        sort: ``"name"``, ``"speedup"`` (best first), ``"time"`` (longest GPU time first) or ``"headroom"`` (missed
            budgets first, then the least headroom first); ``None`` leaves the order.
        group_by: ``"file"`` or ``"device"`` for one table each.
        screen: where they are shown.
    """
    groups = grouped(ordered(rows, sort), group_by)
    return [
        (_safe(title, screen), "\n".join(_lines(group, columns, group_by == "file", screen)))
        for title, group in groups.items()
    ]


def _lines(rows: Sequence[Row], columns: Sequence[str] | None, below_file: bool, screen: Screen) -> Iterator[str]:
    profiles = [row.profile for row in rows]
    figures = _figures(profiles, columns, screen.ascii_only)
    once, each = places(profiles)
    legend = {} if screen.room is None else {text: str(number) for number, text in enumerate(dict.fromkeys(each), 1)}
    blocks = [
        *(_figure_block(name, found) for name, found in figures),
        *_verdict_blocks(profiles, columns, screen),
        *([_words("on", [legend.get(text, _safe(text, screen)) for text in each], label="on ")] if each else []),
    ]
    names = [_safe(row.name_in_file if below_file else row.name, screen) for row in rows]
    lines, left_out = drawn(names, blocks, _DROPPING if columns is None else _SHRINKING, screen)
    yield from _told(f"on {once}" if once else "", screen)
    for text, number in legend.items():
        yield from _told(f"on {number}: {text}", screen)
    yield from lines
    if left_out:
        missing = ", ".join(block.title for block in left_out)
        yield from _told(f"no room for {missing}: a wider terminal or a pipe (| cat) shows them", screen)


def _safe(text: str, screen: Screen) -> str:
    return plain(escaped(text), screen.ascii_only)


def _told(text: str, screen: Screen) -> list[str]:
    """Return a sentence in lines that fit."""
    safe = _safe(text, screen)
    if screen.room is None:
        return [safe] if safe else []
    return textwrap.wrap(safe, screen.room, subsequent_indent=_INDENT)


# -- the columns ------------------------------------------------------------------------------------------------------


def _figures(
    profiles: Sequence[Profile], columns: Sequence[str] | None, ascii_only: bool = False
) -> Iterator[tuple[str, Amounts]]:
    """Yield the columns of figures: those that are named, else those in which some row has something to say."""
    for name in SHOWN if columns is None else columns:
        if name in COLUMNS:
            found = amounts(COLUMNS[name], profiles, ascii_only)
            if columns is not None or found.any:
                yield name, found


def _figure_block(name: str, found: Amounts) -> Block:
    title = COLUMNS[name].title
    full = form(f"{found.head} {found.spread_head}".rstrip(), found.full, spread=found.spread)
    return Block(name, title, (full, form(found.head, found.bare)), [f"{title} {cell}" for cell in found.alone])


def _verdict_blocks(profiles: Sequence[Profile], columns: Sequence[str] | None, screen: Screen) -> Iterator[Block]:
    standings = [standing_of(profile) for profile in profiles]
    if columns is None or "verdict" in columns:
        forms = [[getattr(each, words) for each in standings] for words in ("counts", "brief", "briefest")]
        yield _words("budgets", *forms, colours=[each.worst and COLOURS[each.worst] for each in standings], alone=1)
    if (columns is None or "headroom" in columns) and any(each.headroom for each in standings):
        yield from _headroom_blocks([each.headroom for each in standings], screen)


def _headroom_blocks(tight: Sequence[Headroom | None], screen: Screen) -> Iterator[Block]:
    numbers = ["-" if each is None else told(each) for each in tight]
    most = max(map(len, numbers))
    with_bars = [
        number if each is None else f"{bar(each, screen.ascii_only)} {number:>{most}}"
        for each, number in zip(tight, numbers, strict=True)
    ]
    colours = [None if each is None else COLOURS[each.verdict.outcome] for each in tight]
    yield _words("headroom", with_bars, numbers, colours=colours)
    limits = ["" if each is None else shortened(_safe(each.verdict.budget, screen), _LONGEST_LIMIT) for each in tight]
    yield _words("of", limits, label="of ")


def _words(
    name: str, *forms: Sequence[str], label: str = "", colours: Sequence[str | None] = (), alone: int = 0
) -> Block:
    """Return a column of words.

    Args:
        name: its head.
        forms: its cells, the widest first.
        label: what stands before a cell that stands alone; a dash does not.
        colours: of the cells.
        alone: the form of a cell that stands alone.
    """
    made = tuple(form(name, each, left=True) for each in forms)
    filled = [f"{label}{cell}" if cell.strip(" -") else " " * len(label + cell) for cell in made[alone].cells]
    return Block(name, "" if name == "of" else name, made, filled, colours, begins_line=name == "budgets")


# -- what a narrow table gives up -------------------------------------------------------------------------------------

_SHRINKING: Final = (
    Step("of", None),
    *(Step(name, 1) for name in COLUMNS if not COLUMNS[name].has_interval),
    Step("budgets", 2),
    Step("headroom", 1),
)
"""Of columns that somebody named: the noise, and what the words and the bar say more than the number."""

_DROPPING: Final = (
    Step("of", None),
    *(Step(name, None) for name in reversed(SHOWN) if name not in ("cpu", "gpu", "speedup")),
    Step("budgets", 1),
    Step("cpu", 1),
    Step("gpu", 1),
    Step("budgets", 2),
    Step("cpu", None),
    Step("gpu", None),
    Step("headroom", 1),
    Step("speedup", 1),
)
"""Where nobody named columns, whole ones too, the least important first."""


# -- for other formats ------------------------------------------------------------------------------------------------


def cells(rows: Sequence[Row], columns: Sequence[str] | None = None) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads and the rows of the table, from test to device, as texts.

    Args:
        rows: in the order in which they are shown.
        columns: which to show, ``None`` for those that have something to say.
    """
    profiles = [row.profile for row in rows]
    standings = [standing_of(profile) for profile in profiles]
    figures = [found for _, found in _figures(profiles, columns)]
    heads = ["test", *(f"{each.head} {each.spread_head}".rstrip() for each in figures)]
    found = [[row.name for row in rows]]
    found += [[" ".join(cell.split()) for cell in each.full] for each in figures]
    if columns is None or "verdict" in columns:
        heads.append("budgets")
        found.append([each.counts for each in standings])
    if (columns is None or "headroom" in columns) and any(each.headroom for each in standings):
        heads.append("headroom")
        found.append(
            [f"{told(tight)} {tight.verdict.budget}" if (tight := each.headroom) else "-" for each in standings]
        )
    heads.append("on")
    found.append([place(profile) for profile in profiles])
    return heads, list(zip(*found, strict=True))
