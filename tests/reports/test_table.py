"""The table: columns, units, noise, intervals, what was compared, order, and that it fits every screen."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.results import Reading, Verdict
from pytest_gpuprof.reports import table
from pytest_gpuprof.reports.columns import COLUMNS, SHOWN, Column
from pytest_gpuprof.reports.screen import Screen, width
from pytest_gpuprof.reports.table import cells, tables

from ..budgets.profiles import leg_of, profile_of
from .rows import met, missed, row, text_of

OTHER = DeviceInfo(DeviceId("opencl"), "pthread", "stand-in", "opencl", why_stand_in="OpenCL on the CPU")


def column(text: str, head: str) -> list[str]:
    """Return the cells below a head, by the dashes that rule it."""
    lines = text.splitlines()
    (rule,) = [number for number, line in enumerate(lines) if line.startswith("---")]
    (place,) = [
        each.span() for each in re.finditer("-+", lines[rule]) if lines[rule - 1][slice(*each.span())].strip() == head
    ]
    return [line[slice(*place)] for line in lines[rule + 1 :]]


# -- figures ----------------------------------------------------------------------------------------------------------


def test_a_column_has_one_unit() -> None:
    """Said once, in the head; points and noise stand under each other."""
    text = text_of(row([0.2] * 3), row([4.0, 4.1, 3.9]), row([0.01234] * 3), row(None))
    assert column(text, "CPU [ms]") == [
        " 200   ±<0.1%",
        "4000      ±4%",
        "  12.3 ±<0.1%",
        "   -         ",
    ]


def test_cells_have_units_of_their_own_where_one_would_make_zeros() -> None:
    """Nanoseconds beside milliseconds: 0.000908 ms is nothing that anybody reads."""
    text = text_of(row([0.00639] * 3), row([9.08e-7] * 3), row([0.0803] * 3), row(None))
    assert column(text, "CPU") == [
        "  6.39 ms ±<0.1%",
        "908    ns ±<0.1%",
        " 80.3  ms ±<0.1%",
        "  -             ",
    ]


@pytest.mark.parametrize(
    ("samples", "noise"),
    [([1.0, 1.0, 1.0], "±<0.1%"), ([1.0, 1.003, 0.997], "±0.4%"), ([1.0, 1.1, 0.9], "±15%")],
)
def test_noise_is_never_shown_as_none(samples: list[float], noise: str) -> None:
    """Below 1 % with a decimal, below 0.1 % as less than that."""
    assert noise in text_of(row(None, samples))


def test_a_speedup_has_the_interval_that_a_budget_is_judged_by() -> None:
    """A wide one is told with a digit less, and one round bounds nothing."""
    noisy, quiet, single = row([0.2, 0.22, 0.19], [0.01] * 3), row([0.2] * 24, [0.01] * 24), row([0.2], [0.01])
    assert column(text_of(noisy, quiet, single), "speedup (95%)") == [
        "20.3x (14–30)    ",
        "20x   (19.7–20.3)",
        "20x   (unbounded)",
    ]


def test_what_is_missing_is_a_dash() -> None:
    """Never 0; it stands where the digit before the point does."""
    assert column(text_of(row(gpu=None), row(gpu=[0.1] * 3)), "GPU [ms]") == ["  -       ", "100 ±<0.1%"]


def test_columns_with_nothing_to_say_are_left_out_unless_they_are_named() -> None:
    """A run without energy has no energy column."""
    assert "energy" not in text_of(row())
    assert "energy [" in text_of(row(), columns=("gpu", "energy"))


def test_utilization_has_a_column_where_work_is_declared_and_a_peak_is_known() -> None:
    """In percent, with its noise; rates are shown when they are named."""
    peaks = {"flops": Reading(1e12), "bytes": Reading(1e12)}
    found = row(None, [0.01] * 3, flops=4e9, bytes=1e9, peaks=peaks)
    text = text_of(found)
    assert column(text, "of peak FLOP [%]") == ["       40 ±<0.1%"]
    assert "of peak bandwidth [%]" in text
    assert "GFLOP/s" not in text
    named = text_of(found, columns=("flop-rate", "bandwidth"))
    assert "FLOP rate [GFLOP/s]" in named
    assert "bandwidth [GB/s]" in named


def test_memory_has_its_columns() -> None:
    """Workspace, what the allocator reserved, and the leak: named, and in one unit each; no leak is a figure."""
    readings = {"workspace": 3 * 2**20, "reserved": 2**30, "leak": 0}
    found = row(None, leg_of("gpu", readings=readings))
    text = text_of(found, columns=("workspace", "reserved", "leak"))
    for head, cell in (("GPU workspace [MiB]", "3"), ("GPU reserved [GiB]", "1"), ("GPU leak [B]", "0")):
        assert [each.strip() for each in column(text, head)] == [cell]


def test_the_interval_is_the_one_that_a_budget_is_judged_by() -> None:
    """All rounds, and how far measuring itself can have moved them."""
    noise = random.Random(7)
    taken = profile_of(*([noise.gauss(1.0, 0.05) for _ in range(24)] for _ in range(2)))
    rounds = tuple(replace(each, overhead={"wall_time": 0.03}) for each in taken.gpu.rounds)
    taken = replace(taken, gpu=replace(taken.gpu, rounds=rounds))
    verdict = judge(taken, Budget("min_speedup", 1.0))  # as it is 1, it takes all rounds
    assert verdict.outcome == "inconclusive"
    figure = COLUMNS["speedup"].figure(taken)
    assert figure.interval == pytest.approx(verdict.interval)
    assert figure.value == pytest.approx(verdict.observed) == taken.speedup


def test_a_speedup_whose_rounds_the_store_has_dropped_has_no_interval() -> None:
    """The figures outlive the rounds, and the head does not name what is not there."""
    legs = (leg_of("cpu", readings={"wall_time": 0.2}), leg_of("gpu", readings={"wall_time": 0.01}))
    assert column(text_of(row(*legs)), "speedup") == ["    20x"]


# -- budgets ----------------------------------------------------------------------------------------------------------


def test_the_tightest_budget_has_its_headroom_as_a_bar_and_a_number() -> None:
    """With its name, where there is room; a row without one has a dash."""
    text = text_of(
        row(None, [1.0], met(), met("max_gpu_time", 1.0, 0.75)),
        row(None, [1.0], missed(), met()),
        row(None, [1.0], met("max_power", 100.0, 99.0, outcome="inconclusive")),
        row(None, [1.0], Verdict("unavailable", "max_energy", "")),
        row(None, [1.0]),
    )
    assert column(text, "budgets") == [
        "2 met          ",
        "1 missed, 1 met",
        "1 inconclusive ",
        "1 unavailable  ",
        "-              "[:15],
    ]
    assert column(text, "headroom") == ["▕█▌    ▏ +25%", "▕!!    ▏ -25%", "▕?     ▏  +1%", "-", "-"]
    assert column(text, "of") == ["max_gpu_time", "min_speedup", "max_power", "", ""]


def test_without_a_budget_there_is_no_headroom() -> None:
    """Nor is there where none was judged."""
    assert "headroom" not in text_of(row(None, [1.0], Verdict("unavailable", "max_energy", "")))


# -- what was compared ------------------------------------------------------------------------------------------------


def test_what_was_compared_is_said_once_where_it_is_the_same() -> None:
    """Above the table; rows without a GPU leg show that by their dashes."""
    both, gpu_only, cpu_only = row(), row(None), row(gpu=None)
    assert text_of(both, gpu_only).splitlines()[0] == "on cuda:0 vs 2 threads, compute only"
    assert text_of(both, cpu_only).splitlines()[0] == "on cuda:0 vs 2 threads, compute only; others CPU only"
    assert text_of(cpu_only).splitlines()[0] == "on CPU only"
    assert text_of(row(None)).splitlines()[0] == "on cuda:0"
    assert text_of(row(threads=None)).splitlines()[0] == "on cuda:0 vs the CPU, compute only"
    assert " on" not in text_of(both).splitlines()[1]


def test_rows_that_differ_say_it_themselves() -> None:
    """By a column; on a terminal, by a number in it, told above."""
    here, there = row(), row(gpu=leg_of("gpu", [0.1] * 3, info=OTHER))
    text = text_of(here, there, row(threads=1))
    assert column(text, "on") == [
        "cuda:0 vs 2 threads, compute only",
        "opencl:0 (OpenCL on the CPU) vs 2 threads, compute only",
        "cuda:0 vs 1 thread, compute only",
    ]
    for room in (120, 60):
        lines = text_of(here, there, here, screen=Screen(room)).splitlines()
        assert lines[:2] == [
            "on 1: cuda:0 vs 2 threads, compute only",
            "on 2: opencl:0 (OpenCL on the CPU) vs 2 threads, compute",
        ] or lines[:2] == [
            "on 1: cuda:0 vs 2 threads, compute only",
            "on 2: opencl:0 (OpenCL on the CPU) vs 2 threads, compute only",
        ]
    assert [each.strip() for each in column(text_of(here, there, here, screen=Screen(120)), "on")] == ["1", "2", "1"]


def test_a_word_that_a_stand_in_carries_is_never_left_out() -> None:
    """However narrow the screen is."""
    found = row(gpu=leg_of("gpu", [0.1] * 3, info=OTHER))
    for room, rows in itertools.product((40, 60, 80, 200, None), ([found], [found, row()])):
        assert "(OpenCL on the CPU)" in text_of(*rows, screen=Screen(room))


# -- order ------------------------------------------------------------------------------------------------------------


def test_sorting() -> None:
    """By name, by speedup (best first), by time (longest first), by headroom (missed first, then the least)."""
    fast = row([0.2] * 3, [0.01] * 3, met(observed=6.0), test="a.py::fast")
    wide = row([0.2] * 3, [0.05] * 3, met(observed=50.0), test="c.py::wide")
    slow = row([0.2] * 3, [0.1] * 3, missed(), test="b.py::slow")
    none = row(None, [0.02] * 3, test="d.py::none")
    for sort, order in (
        ("name", "fast slow wide none"),
        ("speedup", "fast wide slow none"),
        ("time", "slow wide none fast"),
        ("headroom", "slow fast wide none"),
        (None, "wide none slow fast"),
    ):
        ((_, text),) = tables([wide, none, slow, fast], sort=sort)
        assert re.findall(r"\.py::(\w+)", text) == order.split()


def test_grouping() -> None:
    """A table per file, whose name the rows need not repeat, or per device."""
    rows = [row(test="b/b.py::slow"), row(test="a.py::fast"), row(test="b/b.py::other", gpu=None)]
    grouped = tables(rows, group_by="file")
    assert [title for title, _ in grouped] == ["b/b.py", "a.py"]
    assert grouped[0][1].splitlines()[3].startswith("slow  ")
    assert [title for title, _ in tables(rows, group_by="device")] == ["cuda:0 NVIDIA H200", "no accelerator"]
    assert tables([]) == []


# -- screens ----------------------------------------------------------------------------------------------------------

LONG = "tests/gpu/test_transformers.py::TestAttention::test_flash_attention_against_the_plain_one"

MANY = [
    row([0.2, 0.21, 0.19], [0.01] * 3, met("max_gpu_memory", 2.0**30, 2.0**29), test=f"{LONG}[fp16-{size}]")
    for size in (512, 1024, 2048)
] + [
    row([2e-6] * 3, [0.01] * 3, missed(), met("max_energy", 1.0, 0.2), test=f"{LONG}[fp32-512]"),
    row(None, None, Verdict("unavailable", "min_speedup", "no GPU", cause="no device"), test="t.py::test_a"),
]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize(
    "columns", [None, ("cpu", "gpu", "speedup", "reference", "memory", "energy", "verdict", "headroom")]
)
@pytest.mark.parametrize("room", [40, 60, 71, 72, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_screen(room: int, columns: tuple[str, ...] | None, ascii_only: bool) -> None:
    """And parameters are kept, by which tests of one name are told apart."""
    text = text_of(*MANY, columns=columns, screen=Screen(room, ascii_only))
    assert max(map(width, text.splitlines())) <= room
    assert text.isascii() is ascii_only
    for part in ("[fp16-512]", "[fp16-1024]", "[fp16-2048]", "[fp32-512]", "missed", "unavailable"):
        assert part in text
    assert len([line for line in text.splitlines() if "fp16" in line or "fp32" in line]) == 4


def test_a_narrow_table_says_what_it_has_no_room_for() -> None:
    """A wide one, and one in a pipe, has room for everything, and cuts no name."""
    rows = [row(leg_of("cpu", [0.2] * 3, readings={"memory": 2.0**20}), [0.1] * 3, missed(), test=LONG)]
    narrow = text_of(*rows, screen=Screen(80))
    assert "no room for CPU, CPU memory: a wider terminal or a pipe (| cat) shows them" in narrow
    assert "speedup (95%)" in narrow
    for room in (220, None):
        text = text_of(*rows, screen=Screen(room))
        assert "no room" not in text
        assert LONG.rpartition("/")[2] in text


def test_columns_that_somebody_named_are_never_left_out() -> None:
    """Where they do not fit beside each other, each test takes several lines."""
    text = text_of(*MANY, columns=("cpu", "gpu", "speedup", "first", "verdict", "headroom"), screen=Screen(80))
    assert "no room" not in text
    for title in ("CPU", "GPU", "speedup", "first call"):
        assert title in text


def test_below_72_columns_a_test_takes_several_lines() -> None:
    """Its name first, its figures below; a figure has its unit, and the same place in all tests."""
    text = text_of(
        row([0.2] * 3, [2e-6] * 3, missed(), test="t.py::one"), row([0.1] * 3, test="t.py::two"), screen=Screen(60)
    )
    assert text.splitlines()[1:] == [
        "t.py::one",
        "  CPU 200 ms ±<0.1%   GPU  2 µs ±<0.1%",
        "  speedup 100000x (90937–109966)",
        "  missed    ▕!!    ▏ -25%   of min_speedup",
        "t.py::two",
        "  CPU 100 ms ±<0.1%   GPU 10 ms ±<0.1%",
        "  speedup     10x (9.09–11)",
    ]


def test_names_that_differ_at_their_beginning_stay_different() -> None:
    """Where the ends alone would be the same, the middle is cut."""
    alike = [
        row(test=f"test_{word}_and_something_very_long_indeed_that_no_terminal_has_room_for.py::test_it")
        for word in "ab"
    ]
    shown = re.findall("^(test_[ab].*…[^ ]*)", text_of(*alike, screen=Screen(80)), re.MULTILINE)
    assert len(set(shown)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "t.py::test_幅[試験]",
        "t.py::test_e\u0301[e\u0301]",
        "t.py::test_😀[👩\u200d🔬]",
        "t.py::test\x1b[2J\x1b[31m[\n\r\t]",
        "t.py::test\u202e[\u200b]",
        "t.py::test[" + "x" * 5000 + "]",
        "t.py::test[" + "試" * 500 + "]",
    ],
)
@pytest.mark.parametrize("room", [None, 60, 80, 120])
def test_no_name_breaks_the_table(name: str, room: int | None) -> None:
    """Wide and joined characters keep the columns; what would steer the terminal does not reach it."""
    text = text_of(row(test=name), row(), screen=Screen(room))
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    assert room is None or max(map(width, lines)) <= room
    if room is None and len(name) > 120:
        assert name in text  # it is whole, and sticks out
    elif room != 60:
        rows = [line for line in lines if "t.py" in line or "x]" in line or "試]" in line]
        assert len({width(line) for line in rows}) == 1, rows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6), st.integers(40, 240), st.booleans())
def test_whatever_the_names_are_the_table_fits(names: list[str], room: int, ascii_only: bool) -> None:
    """Drawn at random."""
    text = text_of(*(row(None, None, missed(), met(), test=name) for name in names), screen=Screen(room, ascii_only))
    assert max(map(width, text.split("\n"))) <= room
    assert text.replace("\n", "").isprintable()


def test_ascii_where_the_stream_knows_no_more() -> None:
    """µ, ±, –, … and the bars have plain words, and stand as well under each other."""
    rows = [row(None, [2e-6] * 3, missed(), test=LONG), row(gpu=None), row([0.1] * 3, [3e-6, 4e-6, 5e-6], met())]
    text = text_of(*rows, screen=Screen(None, ascii_only=True))
    assert text.isascii()
    assert column(text, "GPU [us]") == ["2 +-<0.1%", "-        ", "4   +-37%"]
    assert column(text, "headroom")[::2] == ["[!!....] -25%", "[####..] +75%"]
    assert "against_the_plain_one  " in text_of(*rows, screen=Screen(80, ascii_only=True))


def test_colours_move_nothing() -> None:
    """Words and bars have them, and without them the text is the same."""
    colours = {"red": "<r>", "yellow": "<y>", "green": "<g>"}
    rows = [row(None, None, each) for each in (met(), missed(), met(outcome="inconclusive"))]
    for room in (None, 60, 80, 120):
        painted = text_of(*rows, screen=Screen(room, paint=lambda text, colour: f"{colours[colour]}{text}</>"))
        assert re.sub("<.*?>", "", painted) == text_of(*rows, screen=Screen(room))
        found = re.findall("<(.)>([^<]*)</>", painted)
        assert {(colour, text.split()[-1].strip("0123456789+-%")) for colour, text in found} >= {
            ("g", "met"),
            ("r", "missed"),
            ("y", "inconclusive"),
        }
        assert all(text == text.strip() for _, text in found)
        assert len(found) == 6


# -- other formats, and size ------------------------------------------------------------------------------------------


def test_cells_for_other_formats_have_no_padding() -> None:
    """One text per figure, the headroom as a number with the budget's name, and what was compared in every row."""
    heads, rows = cells([row([0.2] * 3, [0.0123] * 3, met()), row(None, [0.1] * 3)])
    assert heads == ["test", "CPU [ms]", "GPU [ms]", "speedup (95%)", "budgets", "headroom", "on"]
    assert rows == [
        (
            "t.py::test_a",
            "200 ±<0.1%",
            "12.3 ±<0.1%",
            "16.3x (14.8–17.9)",
            "1 met",
            "+75% min_speedup",
            "cuda:0 vs 2 threads, compute only",
        ),
        ("t.py::test_a", "-", "100 ±<0.1%", "-", "-", "-", "cuda:0"),
    ]


def test_each_figure_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians over many rounds take longest of all; nothing takes them again for a width or for another form."""
    taken: list[object] = []

    def counting(column: Column) -> Column:
        return replace(column, figure=lambda profile: taken.append(profile) or column.figure(profile))  # type: ignore[func-returns-value]

    monkeypatch.setattr(table, "COLUMNS", {name: counting(each) for name, each in COLUMNS.items()})
    rows = [row(None, None, met(), test=f"t.py::test_{number}[試験]") for number in range(1000)]
    for room in (None, 60, 80, 120):
        taken.clear()
        ((_, text),) = tables(rows, sort="headroom", screen=Screen(room))
        assert len(text.splitlines()) > 1000
        assert len(taken) == len(SHOWN) * len(rows)
