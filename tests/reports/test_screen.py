"""What a terminal can show: widths, escapes, words for signs, and where an id is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuprof.reports.screen import escaped, plain, shortened, shows, width


@pytest.mark.parametrize(
    ("encoding", "all_of_it"),
    [("utf-8", True), ("utf-16", True), ("ascii", False), ("latin-1", False), ("cp437", False), ("no-such", False)],
)
def test_a_stream_shows_all_characters_or_is_given_ascii(encoding: str, all_of_it: bool) -> None:
    """Latin-1 has µ and ± but no bars, code page 437 has bars but no ellipsis."""
    assert shows(encoding) is all_of_it


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("試験", 4), ("e\u0301", 1), ("±µ–…▕█▏", 7), ("👩\u200d🔬", 2), ("", 0)],
)
def test_width_is_that_of_a_terminal(text: str, columns: int) -> None:
    """Wide characters take two columns, accents and what joins emoji none."""
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # what follows would be shown backwards
        ("a\u200db", "a\\u200db"),
        ("a\u3000b", "a\\u3000b"),
        ("\ud800", "\\ud800"),
        ("\x9b31m", "\\x9b31m"),  # an escape sequence in one character
        ("größer 試験", "größer 試験"),
    ],
)
def test_nothing_that_steers_a_terminal_reaches_it(text: str, shown: str) -> None:
    """It is escaped as Python's repr does."""
    assert escaped(text) == shown


@given(st.text())
def test_what_is_escaped_is_printable_and_has_a_width(text: str) -> None:
    """Whatever it was."""
    assert escaped(text).isprintable()
    assert width(escaped(text)) >= 0
    assert plain(escaped(text), ascii_only=True).isascii()


def test_two_names_stay_two_in_ascii() -> None:
    """So it is no question mark for each character."""
    assert plain("[試]", ascii_only=True) != plain("[験]", ascii_only=True)


@given(st.text(), st.integers(4, 40), st.booleans(), st.sampled_from([0.0, 0.5, 0.75]))
def test_a_shortened_text_fits(text: str, room: int, ascii_only: bool, keep: float) -> None:
    """Whatever is in it; and one that fits is not touched."""
    safe = plain(escaped(text), ascii_only)
    cut = shortened(safe, room, ascii_only, keep)
    assert width(cut) <= room
    assert (cut == safe) is (width(safe) <= room)


def test_the_end_is_kept_and_no_character_is_cut_in_two() -> None:
    """An accent does not move to the ellipsis, and half of a wide character is none."""
    assert shortened("test_a.py::test_matmul[512-fp16]", 12) == "…l[512-fp16]"
    assert shortened("xxxxe\u0301nde", 4) == "…nde"
    assert shortened("xxxxe\u0301nde", 5) == "…e\u0301nde"
    assert shortened("試験試験", 4) == "…験"
    assert shortened("test_matmul[fp16]", 10, ascii_only=True) == "...l[fp16]"
    assert shortened("試験試験の試験", 8, keep=0.5) == "試…試験"
