"""Fitting columns into a width: what is given up, what is taken back, and when a table is none."""

from __future__ import annotations

from pytest_gpuprof.reports.layout import Block, Step, drawn, form
from pytest_gpuprof.reports.screen import Screen


def block(name: str, *widths: int, begins_line: bool = False) -> Block:
    """Return a column with forms of these widths."""
    forms = [form(name, [name * width], left=True) for width in widths]
    return Block(name, name, forms, [name * widths[-1]], begins_line=begins_line)


STEPS = (Step("a", 1), Step("b", 1), Step("b", None))


def shown(room: int | None, *blocks: Block, name: str = "n" * 10) -> tuple[list[str], list[str]]:
    lines, left_out = drawn([name], blocks, STEPS, Screen(room))
    return lines, [each.name for each in left_out]


def test_what_fits_is_whole() -> None:
    """Gaps count, and the last column needs none behind it."""
    blocks = (block("a", 30, 5), block("b", 40, 20))
    assert shown(84, *blocks)[0][-1] == f"{'n' * 10}  {'a' * 30}  {'b' * 40}"
    assert shown(83, *blocks)[0][-1] == f"{'n' * 10}  {'a' * 5}  {'b' * 40}"
    assert shown(None, *blocks)[0][-1] == f"{'n' * 10}  {'a' * 30}  {'b' * 40}"


def test_the_least_important_is_given_up_first() -> None:
    """And no more than has to be."""
    blocks = (block("a", 70, 5), block("b", 60, 50))
    assert shown(80, *blocks) == ([f"test        a      {'b':<60}".rstrip(), f"{'-' * 10}  {'-' * 5}  {'-' * 60}",
                                   f"{'n' * 10}  {'a' * 5}  {'b' * 60}"], [])  # fmt: skip
    assert shown(72, *blocks)[0][-1] == f"{'n' * 10}  {'a' * 5}  {'b' * 50}"


def test_what_a_later_step_makes_room_for_is_taken_back() -> None:
    """The column that was left out was so wide that the others may stay as they were."""
    lines, left_out = shown(80, block("a", 30, 5), block("b", 90, 80))
    assert left_out == ["b"]
    assert lines[-1] == f"{'n' * 10}  {'a' * 30}"


def test_names_get_what_is_left_and_at_least_their_share() -> None:
    """They are cut before anything is left out, and are whole where nothing has to be."""
    lines, left_out = shown(80, block("a", 30, 5), name="n" * 49)
    assert (lines[-1], left_out) == (f"…{'n' * 47}  {'a' * 30}", [])
    assert shown(80, block("a", 50, 30), name="n" * 90)[0][-1] == f"…{'n' * 27}  {'a' * 50}"
    assert shown(80, block("a", 51, 30), name="n" * 90)[0][-1] == f"…{'n' * 47}  {'a' * 30}"


def test_where_nothing_helps_a_name_has_a_line_of_its_own() -> None:
    """Its figures stand below, as many on a line as fit; some begin one."""
    blocks = (block("a", 70, 60), block("c", 5), block("d", 5, begins_line=True))
    lines, left_out = shown(80, *blocks)
    assert lines == ["n" * 10, f"  {'a' * 60}   ccccc", "  ddddd"]
    assert left_out == []
    assert shown(71, block("a", 5))[0] == ["n" * 10, "  aaaaa"]
    assert shown(72, block("a", 5))[0][-1] == f"{'n' * 10}  aaaaa"
