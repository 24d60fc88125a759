"""The transient line of a measurement, as a person sees it on a terminal, and that nothing of it stays."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from .conftest import HEAD, Runs

if sys.platform == "win32":
    pytest.skip("no line is shown on Windows", allow_module_level=True)

from tests.screens import AT_ONCE, STOPPING, pytest_on

DRAWN = b"\x1b7"
"""The line begins with saving the cursor; nothing else here does."""

TESTS = """
@pytest.mark.gpu_budget(min_speedup=19.9, max_gpu_memory="1 MiB")
def test_close(gpu_profile):
    gpu_profile(stopping({1, 1000}), name="matmul")

def test_plain():
    pass
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """The folder of an inner run that shows everything at once."""
    pytester.makeconftest(AT_ONCE)
    return pytester.path


def write(folder: Path, source: str) -> None:
    (folder / "test_it.py").write_text(HEAD + STOPPING + source, encoding="utf-8")


def with_the_line(folder: Path, *args: str, stops: int = 2) -> list[list[str]]:
    """Return what is seen at each stop and at the end.

    Down to the cursor, and everywhere at the end, that is what is seen without the line.
    """
    seen, above = [], []
    with pytest_on(folder, *args) as screen:
        for _ in range(stops):
            seen.append(screen.until_stopped())
            above.append(same(screen.above))
            screen.go_on()
        seen.append(screen.until_end())
        assert DRAWN in screen.written
    with pytest_on(folder, *args, "--gpu-profile-progress=off") as screen:
        for with_line in above:
            assert len(screen.until_stopped()) < len(screen.above)
            assert same(screen.above) == with_line
            screen.go_on()
        assert same(screen.until_end()) == same(seen[-1])
        assert DRAWN not in screen.written
    return seen


def same(rows: list[str]) -> list[str]:
    """Return rows without what differs from run to run: durations, the rules around them, and addresses."""
    return [re.sub(r"\d+\.\d+s\b|\d+(\.\d+)?(ms|us)\b|0x[0-9a-f]+|=", "", row).strip() for row in rows]


# -- what is seen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "row"),
    [
        ([], "test_it.py"),
        (["-v"], "test_it.py::test_close"),
        (["-vv", "-rA"], "test_it.py::test_close"),
        (["-o", "console_output_style=count"], "test_it.py"),
        (["-v", "-o", "console_output_style=times"], "test_it.py::test_close"),
        (["-o", "console_output_style=classic"], "test_it.py"),
        (["-v", "-o", "console_output_style=progress-even-when-capture-no"], "test_it.py::test_close"),
    ],
)
def test_the_line_stands_below_what_pytest_writes(folder: Path, args: list[str], row: str) -> None:
    """With what is done, how far it is, and what comes after it; at the end the screen is as if it had not been."""
    write(folder, TESTS)
    first, later, _ = with_the_line(folder, *args)
    assert first[-2:] == [row, "matmul: first call on cpu, then peak memory"]
    assert later[-2] == row
    assert re.fullmatch(
        r"matmul: round \d+ of at most 24, speedup [\d.]+x \([\d.]+x to [\d.]+x, simulated\), at most \d+ s left",
        later[-1],
    )


def test_the_last_row_of_the_screen(folder: Path) -> None:
    """The line takes a row of its own there too, and gives it back."""
    write(folder, TESTS)
    with pytest_on(folder, lines=4) as screen:
        for _ in range(2):
            rows = screen.until_stopped()
            assert (rows[-2], screen.above[-1]) == ("test_it.py", "column 11")
            assert rows[-1].startswith("matmul: ")
            screen.go_on()
        rows = screen.until_end()
        assert not any("matmul:" in row for row in rows)


def test_the_line_goes_when_the_measurement_is_done(folder: Path) -> None:
    """The test may do other things for long."""
    write(folder, "def test_a(gpu_profile):\n    gpu_profile(fast)\n    stop()\n")
    with pytest_on(folder) as screen:
        assert screen.until_stopped()[-1] == "test_it.py"
        assert DRAWN in screen.written
        screen.go_on()
        screen.until_end()


def test_a_missed_budget_is_measured_again(folder: Path) -> None:
    """And the line says so, as it says what kind of device that is."""
    write(
        folder,
        """
def test_missed(gpu_profile):
    gpu_profile(stopping({1500}), name="matmul", rounds=8).require(min_speedup=30)
""",
    )
    seen, end = with_the_line(folder, stops=1)
    assert re.search(r"^matmul: measuring again, round \d of 8, speedup [\d.]+x \(.*, simulated\), at most", seen[-1])
    assert "1 failed" in end[-1]


def test_a_narrow_terminal_gets_less_of_it(folder: Path) -> None:
    """Whole parts are left out; after the window was made narrower, too."""
    write(folder, TESTS)
    with pytest_on(folder, columns=44) as screen:
        screen.until_stopped()
        screen.resize(34)
        screen.go_on()
        rows = screen.until_stopped()
        assert re.fullmatch(r"matmul: round \d+ of at most 24", rows[-1])
        screen.go_on()
        assert not any("matmul:" in row for row in screen.until_end())


def test_a_row_that_is_just_full_is_left_alone(folder: Path) -> None:
    """The cursor waits there to wrap; to go elsewhere and back would make it forget that."""
    test = "test_".ljust(100 - len("test_it.py:: "), "x")
    write(folder, f"def {test}(gpu_profile):\n    gpu_profile(stopping({{1}}))\n")
    ends = []
    for more in ([], ["--gpu-profile-progress=off"]):
        with pytest_on(folder, "-v", *more, columns=100) as screen:
            assert screen.until_stopped()[-1] == f"test_it.py::{test}"
            screen.go_on()
            ends.append(same(screen.until_end()))
    assert ends[0] == ends[1]


def test_a_stream_that_shows_ascii_only(folder: Path) -> None:
    """Other characters are spelled, or a question mark; a name cannot move the cursor."""
    write(folder, "def test_a(gpu_profile):\n    gpu_profile(stopping({1}), name='µ\\t\\N{SNOWMAN}')\n")
    with pytest_on(folder, PYTHONIOENCODING="ascii") as screen:
        assert screen.until_stopped()[-1] == "u??: first call on cpu"
        screen.go_on()
        screen.until_end()


# -- what could get into its way --------------------------------------------------------------------------------------


CAPTURING = """
import pytest

@pytest.fixture(autouse=True)
def capturing(capfd):
    yield
"""

INTERRUPTING = {  # what a workload does while the line is there, how it is run, and how often it then stops
    "printing": ("print('PRINTED')", [], 4),
    "printing to a fixture": ("print('PRINTED')", ["-p", "capturing"], 4),
    "failing": ("1 / 0", [], 2),
    "failing first": ("1 / 0", ["-x", "-v"], 2),
    "live logging": ("logging.warning('LOGGED')", ["--log-cli-level=INFO"], 4),
    "live logging beside columns": ("logging.warning('LOGGED')", ["-v", "--log-cli-level=INFO"], 4),
    "ending the run": ("pytest.exit('ENOUGH')", [], 2),
}


@pytest.mark.parametrize("what", INTERRUPTING)
def test_nothing_stays_whatever_happens(folder: Path, what: str) -> None:
    """Nor is anything of it in what was captured."""
    then, args, stops = INTERRUPTING[what]
    (folder / "capturing.py").write_text(CAPTURING, encoding="utf-8")
    write(
        folder,
        f"""
import logging

def test_a(gpu_profile):
    gpu_profile(stopping({{1, 450, 560, 580}}, lambda: {then}))
    print("SHOWN")
    assert not "passed"

def test_b():
    pass
""",
    )
    first, second, *_, end = with_the_line(folder, *args, stops=stops)
    assert first[-1] == "build: first call on cpu"
    assert second[-1].startswith("build: ")
    assert any("SHOWN" in row for row in end) is (stops == 4)


def test_ctrl_c_leaves_a_clean_screen(folder: Path) -> None:
    """In the middle of a call, as without the line."""
    hearing = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # in the background it is deaf
    )
    write(folder, hearing + TESTS)
    ends = []
    for more in ([], ["--gpu-profile-progress=off"]):
        with pytest_on(folder, *more, columns=250) as screen:  # the row of the place does not wrap
            screen.until_stopped()
            screen.press(b"\x03")
            rows = same(screen.until_end())
            ends.append([row for row in rows if not row.endswith(": KeyboardInterrupt")])  # where it was just then
            assert (DRAWN in screen.written, screen.status) == (not more, 2)
    assert ends[0] == ends[1]


def test_pytests_own_progress_of_the_window_is_left_alone(folder: Path) -> None:
    """Since 9.0 it can tell the terminal a percentage, by codes of its own (OSC 9;4)."""
    pytest.importorskip("_pytest.terminalprogress", reason="it came with pytest 9.0")
    write(folder, TESTS)
    with_the_line(folder, "-p", "terminalprogress")


# -- where there is none ----------------------------------------------------------------------------------------------


WITHOUT = {
    "quiet": (["-q"], {}),
    "not captured": (["-s"], {}),
    "captured only in Python": (["--capture=sys"], {}),
    "captured and shown": (["--capture=tee-sys"], {}),
    "CI": ([], {"CI": "true"}),
    "Jenkins": ([], {"BUILD_NUMBER": "7"}),
    "dumb": ([], {"TERM": "dumb"}),
    "ini": (["-o", "gpu_profile_progress=off"], {}),
    "xdist": (["-p", "xdist", "-n1"], {}),
    "no terminal reporter": (["-p", "no:terminal"], {}),
}


@pytest.mark.parametrize("why", WITHOUT)
def test_there_is_no_line(folder: Path, why: str) -> None:
    """Where nobody would see it, where nobody wants it, and where a workload's own output would meet it."""
    args, environment = WITHOUT[why]
    (folder / "test_it.py").write_text(f"{HEAD}\ndef test_a(gpu_profile):\n    gpu_profile(fast)\n", encoding="utf-8")
    with pytest_on(folder, *args, **environment) as screen:
        screen.until_end()
        assert (DRAWN in screen.written, screen.status) == (False, 0)


def test_there_is_no_line_in_a_pipe(runs: Runs) -> None:
    """Not one code."""
    result = runs("def test_a(gpu_profile):\n    gpu_profile(fast)\n", conftest=AT_ONCE, subprocess=True)
    assert "\x1b" not in result.stdout.str()


def test_what_is_over_in_a_moment_does_not_flicker(pytester: pytest.Pytester) -> None:
    """A simulated machine measures without waiting."""
    pytester.path.joinpath("test_it.py").write_text(
        f"{HEAD}\ndef test_a(gpu_profile):\n    gpu_profile(fast)\n", encoding="utf-8"
    )
    with pytest_on(pytester.path) as screen:
        screen.until_end()
        assert (DRAWN in screen.written, screen.status) == (False, 0)
