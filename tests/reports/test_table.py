"""The table: cells, units, noise and remarks, from profiles alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gpuprof.core.results import Caution, Reading, Verdict
from pytest_gpuprof.reports.table import Row, counts, describe_counts, remarks, tables
from tests.budgets.profiles import leg_of, profile_of


def row(cpu: list[float] | None, gpu: list[float] | None, *verdicts: Verdict, test: str = "t.py::test_a") -> Row:
    """Return a row with these seconds per round."""
    return Row(test, "passed", profile_of(cpu, gpu).with_verdicts(verdicts))


def text_of(*rows: Row, columns: tuple[str, ...] | None = None, ascii_only: bool = False) -> str:
    """Return the one table of these rows."""
    ((_, text),) = tables(rows, columns, None, None, ascii_only)
    return text


def test_a_column_has_one_unit() -> None:
    """Chosen for the middle one of its cells, and said once, in the head."""
    text = text_of(row([0.2] * 3, [0.001] * 3), row([0.4] * 3, [0.002] * 3))
    assert "CPU [ms]" in text
    assert " 200 ±<0.1%" in text
    assert " 400 ±<0.1%" in text


@pytest.mark.parametrize(
    ("samples", "noise"),
    [([1.0, 1.0, 1.0], "±<0.1%"), ([1.0, 1.003, 0.997], "±0.4%"), ([1.0, 1.1, 0.9], "±15%")],
)
def test_noise_is_never_shown_as_none(samples: list[float], noise: str) -> None:
    """Below 1 % with a decimal, below 0.1 % as less than that."""
    assert noise in text_of(row(None, samples))


def test_what_is_missing_is_a_dash() -> None:
    """Never 0."""
    text = text_of(row([0.2] * 3, None), row([0.2] * 3, [0.1] * 3))
    assert " - " in text.splitlines()[2]


def test_columns_with_nothing_to_say_are_left_out_unless_they_are_named() -> None:
    """A run without energy has no energy column."""
    rows = (row([0.2] * 3, [0.1] * 3),)
    assert "energy" not in text_of(*rows)
    assert "energy [" in text_of(*rows, columns=("gpu", "energy"))


def test_utilization_has_a_column_where_work_is_declared_and_a_peak_is_known() -> None:
    """In percent, with its noise; rates are shown when they are named."""
    peaks = {"flops": Reading(1e12), "bytes": Reading(1e12)}
    found = profile_of(None, [0.01] * 3, flops=4e9, bytes=1e9, peaks=peaks)
    text = text_of(Row("t.py::test_a", "passed", found))
    assert "of peak FLOP [%]" in text
    assert " 40 ±<0.1%" in text
    assert "of peak bandwidth [%]" in text
    assert "GFLOP/s" not in text
    named = text_of(Row("t.py::test_a", "passed", found), columns=("flop-rate", "bandwidth"))
    assert "FLOP rate [GFLOP/s]" in named
    assert "bandwidth [GB/s]" in named


def test_memory_has_its_columns() -> None:
    """Workspace, what the allocator reserved, and the leak: named, and in one unit each; no leak is a figure."""
    readings = {"workspace": 3 * 2**20, "reserved": 2**30, "leak": 0}
    text = text_of(
        Row("t.py::test_a", "passed", profile_of(None, leg_of("gpu", readings=readings))),
        columns=("workspace", "reserved", "leak"),
    )
    for words in ("GPU workspace [MiB]", "GPU reserved [GiB]", "GPU leak [B]"):
        assert words in text
    assert text.splitlines()[2].split()[-4:-1] == ["3", "1", "0"]


def test_an_energy_without_the_package_says_that_it_is_the_boards_only() -> None:
    """Where the package was wanted and cannot be read; not where nobody asked for it, and not where it can."""

    def remarks_with(**readings: Reading | float) -> list[str]:
        taken = Row("t.py::test_a", "passed", profile_of(None, leg_of("gpu", [0.1] * 3, readings=readings)))
        return [remark.text for remark in remarks([taken], ascii_only=False)]

    (told,) = remarks_with(energy=2.0, package_energy=Reading.unavailable("RAPL may be read by root only"))
    assert told.endswith(
        "energy is that of the GPU board only: the CPU package's is unavailable, because RAPL may be read by root only"
    )
    assert remarks_with(energy=2.0) == remarks_with(energy=2.0, package_energy=1.0) == []


def test_folders_are_left_out_and_parameters_are_none() -> None:
    """A parameter may have a slash in it."""
    assert row([1.0], [0.1], test="tests/gpu/test_a.py::test_read[<b>x</b>]").name == "test_a.py::test_read[<b>x</b>]"


def test_sorting_and_grouping() -> None:
    """By name, by speedup (best first), by time (longest first); a table per file."""
    slow, fast = row([0.2] * 3, [0.1] * 3, test="b.py::slow"), row([0.2] * 3, [0.01] * 3, test="a.py::fast")
    for sort, first in (
        ("name", "a.py::fast"),
        ("speedup", "a.py::fast"),
        ("time", "b.py::slow"),
        (None, "b.py::slow"),
    ):
        ((_, text),) = tables([slow, fast], None, sort, None, False)
        assert text.splitlines()[2].startswith(first)
    assert [title for title, _ in tables([slow, fast], None, None, "file", False)] == ["b.py", "a.py"]


def test_no_gpu_is_said_once_for_all_budgets() -> None:
    """Twelve lines that say the same are none that is read."""
    lacking = Verdict("unavailable", "min_speedup", "min_speedup cannot be judged: no GPU here", cause="no device")
    found = remarks([row([1.0], None, lacking, lacking), row([1.0], None, lacking, test="t.py::test_b")], False)
    assert [remark.text for remark in found] == ["unavailable: 3 budgets of 2 tests cannot be judged: no GPU here"]


def test_a_missed_budget_and_a_doubt_have_their_sentence() -> None:
    """Missed in red, with the test's name; a doubt with its remedy."""
    missed = Verdict("missed", "min_speedup", "speedup 2x misses min_speedup 5x")
    doubted = row([1.0] * 3, [0.5] * 3, missed)
    doubted = replace(doubted, profile=replace(doubted.profile, cautions=(Caution("hot", "it is hot", "cool it"),)))
    found = remarks([doubted], False)
    assert [(remark.text, remark.colour) for remark in found] == [
        ("t.py::test_a missed: speedup 2x misses min_speedup 5x", "red"),
        ("t.py::test_a caution: it is hot; cool it", None),
    ]


def test_ascii_where_the_stream_knows_no_more() -> None:
    """µ and ± have plain words."""
    text = text_of(row(None, [2e-6] * 3), ascii_only=True)
    assert text.isascii()
    assert "GPU [us]" in text


def test_budgets_that_nobody_judged_are_counted() -> None:
    """Also those of tests that measured nothing."""
    lacking = Verdict("unavailable", "max_energy", "no")
    found = counts([row([1.0], [1.0], lacking, Verdict("met", "min_speedup", "yes"))], unjudged=2)
    assert describe_counts(found) == "budgets: 1 met, 0 missed, 0 inconclusive, 3 not enforced"
