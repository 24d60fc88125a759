"""``history``: one workload over commits, and the commit at which its level changed."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from .conftest import Command, History

A, B = "test_it.py::test_a", "test_it.py::test_b"


@pytest.fixture
def risen(history: History) -> History:
    """Six runs, then four that are 20 % slower."""
    for gpu_s in [1e-3] * 6 + [1.2e-3] * 4:
        history.run({A: gpu_s, B: 1e-3})
    return history


@pytest.mark.usefixtures("risen")
def test_a_change_is_told_with_commit_size_and_direction(command: Command) -> None:
    """In a sentence, and in the row of its run."""
    assert command("history", "test_a") == 0
    title, line, head, _, *rest = command.out.splitlines()
    assert title == "gpu time of test_it.py::test_a fast"
    assert len(set(line[:6])) == len(set(line[6:10])) == 1
    assert head.split()[:6] == ["run", "when", "(UTC)", "commit", "branch", "figure"]
    assert rest[0].split()[:4] == ["10", "2026-01-11", "07:00", "000000a"]
    assert [row.split()[0] for row in rest[:10] if "%" in row] == ["7"]
    (sentence,) = rest[10:]
    assert re.fullmatch(
        r"worse since commit 0000007 \(the run before it: 0000006\), run 7 of 2026-01-08: 1 ms to 1\.2 ms, "
        r"(19\.\d|20(\.\d)?)% more, in 4 runs",
        sentence,
    )


@pytest.mark.usefixtures("risen")
def test_a_fall_of_the_speedup_is_worse_and_nothing_is_said_of_what_did_not_change(command: Command) -> None:
    """The direction is the figure's."""
    command("history", "test_a", "--figure", "speedup")
    assert "worse since commit 0000007" in command.out
    assert re.search(r": 20x to 16\.[67]x, 16\.\d% less, in 4 runs", command.out)
    assert command("history", "test_b") == 0
    assert "since commit" not in command.out


@pytest.mark.usefixtures("risen")
def test_for_programs(command: Command) -> None:
    """JSON has the points, the oldest first, and the changes; CSV a line per run."""
    command("history", "test_a", "--format", "json", "--limit", "8")
    told = json.loads(command.out)
    assert [point["run"] for point in told["points"]] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert (told["test"], told["figure"], told["unit"]) == (A, "gpu_time", "s")
    (change,) = told["changes"]
    assert (change["run"], change["worse"], change["runs"]) == (7, True, 4)
    assert change["change"] == pytest.approx(0.2, abs=0.01)
    command("history", "test_a", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(command.out)))
    assert [row["run"] for row in rows if row["change"]] == ["7"]
    assert {row["quality"] for row in rows} == {"simulated"}
    assert command.err == ""


def test_another_card_is_no_change(history: History, command: Command) -> None:
    """Levels are looked for under the same conditions only; each has a line, and what differs is told."""
    for _ in range(5):
        history.run({A: 1e-3})
        history.run({A: 3e-3}, card="H200")
    assert command("history", "test_a") == 0
    assert "since commit" not in command.out
    lines = command.out.splitlines()
    assert lines[1].endswith(" T4 (simulated)")
    assert lines[2].endswith(" H200 (simulated)")
    assert lines[-1].startswith("conditions B: device was T4 (simulated) and is H200 (simulated)")


def test_a_branch(history: History, command: Command) -> None:
    """Only its runs; a branch without any is nothing to work with."""
    for branch in ("main", "topic", "main"):
        history.run({A: 1e-3}, branch=branch)
    command("history", "test_a", "--branch", "main", "--format", "json", "--limit", "1")
    assert [point["run"] for point in json.loads(command.out)["points"]] == [3]
    assert command("history", "test_a", "--branch", "gone") == 3
    assert "no run on the branch gone has the gpu_time of test_it.py::test_a fast" in command.err


@pytest.mark.usefixtures("risen")
def test_ascii(command: Command) -> None:
    """For a terminal that can show nothing else."""
    command("history", "test_a", "--ascii")
    assert command.out.isascii()
    assert set(command.out.splitlines()[1]) <= set("_.-=*#")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_", "'test_' means 2 workloads; name one of them:\n  test_it.py::test_a fast\n  test_it.py::test_b fast"),
        ("nonsense", "knows no workload with 'nonsense' in its name"),
    ],
)
@pytest.mark.usefixtures("risen")
def test_a_name_that_is_not_one_workload(name: str, said: str, command: Command) -> None:
    """Candidates are listed."""
    assert command("history", name) == 2
    assert said in command.err


def test_a_whole_name_means_itself(history: History, command: Command) -> None:
    """Although other names begin with it."""
    history.run({A: 1e-3, f"{A}_and_more": 1e-3})
    assert command("history", A) == 0
    assert "gpu time of test_it.py::test_a fast" in command.out


@pytest.mark.parametrize("name", ["tests/{} fast", "{} fast", "tests/{}", "{}"])
def test_a_name_can_be_copied_from_where_it_is_shown(name: str, history: History, command: Command) -> None:
    """From the table, without its folders, and from the candidates, with the workload's name."""
    history.run([f"tests/{A} fast", f"tests/{A} faster", f"tests/{A}_and_more fast"])
    several = 2 if name.endswith("}") else 0
    assert command("history", name.format(A)) == several
    assert f"{A} fast" in (command.err if several else command.out)
    assert "_and_more" not in command.err


@pytest.mark.parametrize("name", [A, f"{A} fast"])
def test_a_file_in_no_folder_is_not_taken_for_one_in_a_folder(name: str, history: History, command: Command) -> None:
    """Its id is whole, and the other's is only short for one."""
    history.run({f"{A} fast": 1e-3, f"tests/{A} fast": 2e-3})
    assert command("history", name) == 0
    assert f"gpu time of {A} fast" in command.out
    assert " 1  0.911 to 1.1 " in command.out


@pytest.mark.usefixtures("risen")
def test_a_figure_that_nobody_measured(command: Command) -> None:
    """Or that does not exist."""
    assert command("history", "test_a", "--figure", "energy") == 3
    assert "no run has the energy of" in command.err
    assert command("history", "test_a", "--figure", "gpu") == 2
    assert "--figure has 'gpu', which is no figure" in command.err
