"""What a transient line says in the room there is, and how often."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from pytest_gpuprof.core.progress import Estimate, Progress
from pytest_gpuprof.reports.transient import Pace, fitting, is_watched

FULL = Progress(
    "round", step=7, steps=24, fewer=True, estimate=Estimate("speedup", 5.1, "x", (4.9, 5.3)), left_s=12, at_most=True,
    then=("energy",),
)  # fmt: skip


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock set by hand."""
    return Clock()


def due(clock: Clock, *told: tuple[float, Progress]) -> list[bool]:
    """Return what would be written of what is told at these moments."""
    pace, began_s, found = Pace(clock), clock.now_s, []
    for moment_s, progress in told:
        clock.now_s = began_s + moment_s
        found.append(pace.is_due(progress))
    return found


def test_what_is_over_in_a_moment_is_not_shown(clock: Clock) -> None:
    """The first half second, unless it is sure to last longer: a first call may compile for a minute."""
    call = Progress("first call", "cuda:0")
    assert due(clock, (0.0, call), (0.4, Progress("warming up")), (0.6, FULL)) == [False, False, True]
    assert due(clock, (0.0, replace(call, lasting=True))) == [True]


def test_five_lines_a_second(clock: Clock) -> None:
    """And what is new at once: it may last, and nothing is told within it."""
    moments = [0.6 + 0.01 * number for number in range(101)]
    assert sum(due(clock, *((moment, replace(FULL, step=number)) for number, moment in enumerate(moments)))) in (5, 6)
    other = Progress("energy", "cuda:0", "settling")
    assert due(clock, (1.0, FULL), (1.01, other), (1.02, replace(other, stage="window"))) == [True, True, True]


def test_each_profile_begins_anew(clock: Clock) -> None:
    """A long one says nothing about the next."""
    pace = Pace(clock)
    clock.now_s += 10
    assert pace.is_due(FULL)
    pace.begin()
    assert not pace.is_due(FULL)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (100, "matmul: round 7 of at most 24, speedup 5.1x (4.9x to 5.3x), at most 12 s left, then energy"),
        (90, "matmul: round 7 of at most 24, speedup 5.1x (4.9x to 5.3x), at most 12 s left"),
        (79, "matmul: round 7 of at most 24, speedup 5.1x (4.9x to 5.3x), at most 12 s left"),
        (77, "matmul: round 7 of at most 24, speedup 5.1x (4.9x to 5.3x)"),
        (40, "matmul: round 7 of at most 24"),
        (24, "matmul: round 7 of a..."),
        (19, ""),
        (0, ""),
    ],
)
def test_it_fits(columns: int, text: str) -> None:
    """Whole parts go first, for half a figure is another figure; the last column stays free."""
    assert fitting("matmul", FULL, columns, "utf-8") == text
    assert len(text) < max(columns, 1)


def test_wide_characters_take_two_columns() -> None:
    """And those that combine none: a line that wraps could not be wiped out."""
    name = "行列の積" * 4 + "e\N{COMBINING ACUTE ACCENT}"
    for columns in range(20, 60):
        text = fitting(name, Progress("warming up", "cuda:0"), columns, "utf-8")
        shown = sum(
            0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) == "W" else 1 for each in text
        )
        assert columns - 3 <= shown < columns or text.endswith("cuda:0")


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "µ÷☃"), ("ascii", "u/?"), ("no-such", "u/?"), (None, "u/?")])
def test_what_a_stream_cannot_show_is_spelled(encoding: str | None, shown: str) -> None:
    """Or a question mark."""
    assert fitting("µ÷☃", Progress("warming up"), 80, encoding) == f"{shown}: warming up"


def test_a_name_cannot_move_the_cursor() -> None:
    """Nor begin a new line."""
    assert fitting("a\nb\x1b[2J\r", Progress("warming up"), 80, "utf-8") == "a?b?[2J?: warming up"


@pytest.mark.parametrize(
    ("terminal", "environment", "watched"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"CI": "true"}, False),
        (True, {"CI": ""}, True),
        (True, {"BUILD_NUMBER": "1"}, False),
    ],
)
def test_who_looks(monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], watched: bool) -> None:
    """A person at a terminal; what means CI to pytest means it here."""
    for name in ("CI", "BUILD_NUMBER", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_watched(terminal) is watched
