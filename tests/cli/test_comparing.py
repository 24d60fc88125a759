"""``compare``: what got worse, better, came, went and is not comparable, and with which status that ends."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from .conftest import Command, History

A, B, C = "test_it.py::test_a", "test_it.py::test_b", "test_it.py::test_c"
SLOW = 1.3e-3


def outcomes(command: Command, *arguments: str) -> dict[tuple[str, str], str]:
    """Compare and return the outcome of each row by test and figure."""
    command("compare", *arguments, "--format", "json")
    return {(row["test"], row.get("figure", "")): row["outcome"] for row in json.loads(command.out)["rows"]}


def test_each_outcome_is_told_apart(history: History, command: Command) -> None:
    """Regressed, improved, unchanged, new and vanished in one comparison of two runs."""
    history.run({A: 1e-3, B: 1e-3, C: 1e-3, "test_it.py::test_gone gone": 1e-3})
    history.run({A: SLOW, B: 0.7e-3, C: 1e-3, "test_other.py::test_brand_new new": 1e-3})
    assert outcomes(command, "1", "2", "--figures", "gpu_time") == {
        (A, "gpu_time"): "regressed",
        (B, "gpu_time"): "improved",
        (C, "gpu_time"): "unchanged",
        ("test_other.py::test_brand_new", "gpu_time"): "new",
        ("test_it.py::test_gone", ""): "vanished",
    }


def test_the_table_says_by_how_much_and_how_sure(history: History, command: Command) -> None:
    """Before, now, the change with its interval, and the word of a device that is none."""
    history.run({A: 1e-3})
    history.run({A: SLOW})
    assert command("compare", "1", "2") == 0
    title, head, _, time, ratio, *remarks = command.out.splitlines()
    assert title == "run 2 (commit 0000002 on main of 2026-01-03) against run 1 (commit 0000001 on main of 2026-01-02)"
    assert head.split() == ["test", "figure", "before", "now", "change", "outcome", "on"]
    assert time.split()[:7] == [A, "gpu", "time", "1", "ms", "1.3", "ms"]
    assert re.search(r" \+(29\.\d|30(\.\d)?)% \(\+\d", time)
    assert time.endswith("regressed  T4 (simulated)")
    assert " (-" in ratio  # a speedup gets worse by falling
    assert "regressed" not in ratio  # the CPU takes part, so it has to fall further
    assert re.fullmatch(r"geometric mean of gpu time over 1 workload: \+(29\.\d|30(\.\d)?)%", remarks[0])
    assert remarks[2].startswith("one earlier run shows a change of gpu time for the worse from 22% on")
    assert command.err == ""


def test_several_runs_show_what_one_does_not(history: History, command: Command) -> None:
    """15 % is within the noise of one earlier run, and not within that of five."""
    for _ in range(5):
        history.run({A: 1e-3})
    history.run({A: 1.15e-3})
    assert outcomes(command, "5", "--figures", "gpu_time") == {(A, "gpu_time"): "unchanged"}
    assert outcomes(command, "latest:main", "--figures", "gpu_time") == {(A, "gpu_time"): "regressed"}
    assert command("compare", "latest") == 0
    assert "against 5 runs (1 to 5)" in command.out


def test_a_hundred_identical_runs_report_nothing(history: History, command: Command) -> None:
    """Neither the newest against all others, nor one in the middle; at most twenty count."""
    history.add(*(history.document({A: 1e-3, B: 2e-3}) for _ in range(100)))
    for new in ("latest", "50"):
        assert command("compare", "latest:main", new, "--fail-on", "regressed", "--fail-on", "improved") == 0
        assert "against 20 runs on main" in command.out


def test_what_is_later_is_no_reference(history: History, command: Command) -> None:
    """A run is compared with what came before it, though slower ones came after."""
    history.run({A: 1e-3})
    history.run({A: 1e-3})
    history.run({A: SLOW})
    assert outcomes(command, "latest", "2", "--figures", "gpu_time") == {(A, "gpu_time"): "unchanged"}
    assert "run 1 " in json.loads(command.out)["before"]


def test_failed_tests_do_not_make_a_reference_of_several_runs(history: History, command: Command) -> None:
    """A regression that failed its test would otherwise excuse the next one."""
    for _ in range(3):
        history.run({A: 1e-3})
    for _ in range(3):
        history.run({A: 2e-3}, failed=True)
    history.run({A: 2e-3})
    assert outcomes(command, "latest:main", "--figures", "gpu_time") == {(A, "gpu_time"): "regressed"}


def test_other_conditions_are_incomparable_and_fail_nothing(history: History, command: Command) -> None:
    """Another card says nothing about this one: it is told what differs, and the status is 3."""
    history.run({A: 1e-3}, card="H200")
    history.run({A: SLOW})
    assert command("compare", "1", "2", "--fail-on", "regressed") == 3
    assert (
        "incomparable: test_it.py::test_a: it is in run 1 (commit 0000001 on main of 2026-01-02) under other "
        "conditions only: device was H200 (simulated) and is T4 (simulated)" in command.out
    )
    assert "nothing in run 2 " in command.err
    assert command("compare", "1", "2", "--fail-on", "incomparable") == 1


def test_a_reference_of_the_same_card_is_looked_for(history: History, command: Command) -> None:
    """In a fleet the newest run may be of another card."""
    history.run({A: 1e-3})
    history.run({A: 9e-3}, card="H200")
    history.run({A: 1e-3})
    assert outcomes(command, "latest:main", "--figures", "gpu_time") == {(A, "gpu_time"): "unchanged"}


def test_workloads_are_called_as_in_the_table_of_a_run(history: History, command: Command) -> None:
    """Without folders, unless two would be called alike, and with the profile where a test has several."""
    tests = ["test_a.py::test_one one", "test_a.py::test_one two", "b/test_b.py::t", "c/test_b.py::t", "c/test_d.py::t"]
    history.run([f"tests/{each}" for each in tests])
    history.run({"tests/test_a.py::test_one one": SLOW, "tests/b/test_b.py::t": SLOW})
    assert command("compare", "1", "2", "--figures", "gpu_time", "--only-changed") == 0
    _, *shown = [line.partition("  ")[0] for line in command.out.splitlines() if line.startswith("test")]
    gone = ["tests/c/test_b.py::t", "test_d.py::t", "test_a.py::test_one two"]
    assert shown == ["test_a.py::test_one one", "tests/b/test_b.py::t", *gone]
    assert f"vanished: {', '.join(gone)}\n" in command.out


def test_a_rename_is_guessed_and_still_vanished(history: History, command: Command) -> None:
    """It is told as a guess, and a gate on vanished tests does not rest on the guess."""
    history.run({"test_it.py::test_product": 1e-3, B: 1e-3})
    history.run({"test_it.py::test_matmul": 1e-3, B: 1e-3})
    assert command("compare", "1", "2", "--fail-on", "vanished") == 1
    assert (
        "maybe renamed: test_it.py::test_product is gone, and test_it.py::test_matmul has the same workload in the "
        "same file" in command.out
    )
    assert command.err == "pytest-gpuprof: --fail-on vanished: 1 row\n"


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("regressed", 1),
        ("gpu_time", 1),
        ("gpu_time:10%", 1),
        ("gpu_time:0.1", 1),
        ("gpu_time:40%", 0),
        ("speedup", 0),
        ("improved", 0),
        ("vanished", 0),
        ("new", 0),
    ],
)
def test_fail_on(expression: str, status: int, history: History, command: Command) -> None:
    """Status 1 if it holds for any row."""
    history.run({A: 1e-3, B: 1e-3})
    history.run({A: SLOW, B: 1e-3})
    assert command("compare", "1", "2", "--fail-on", expression) == status
    assert command("compare", "1", "2", "--fail-on", expression, "-k", "test_b") == 0


def test_fail_on_a_share_below_the_usual(history: History, command: Command) -> None:
    """4 % is no change unless somebody asks for it, and twenty runs show it only if they agree."""
    for _ in range(20):
        history.run({A: 1e-3})
    history.run({A: 1.09e-3})
    assert command("compare", "latest", "--fail-on", "gpu_time:8%") == 1
    assert command("compare", "latest", "--fail-on", "gpu_time:10%") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "regresed"], "--fail-on 'regresed' means nothing; did you mean regressed?"),
        (["--fail-on", "gpu_time:5 ms"], "has no share from 0 to below 100%"),
        (["--fail-on", "speedup:100%"], "has no share from 0 to below 100%"),
        (["--figures", "gpu_tme"], "--figures has 'gpu_tme', which is no figure; did you mean gpu_time?"),
        (["-k", "and"], "-k 'and' cannot be read"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], said: str, history: History, command: Command) -> None:
    """It is told before anything is read."""
    assert command("compare", "1", "2", *arguments) == 2
    assert said in command.err


def test_rows_can_be_chosen_and_sorted(history: History, command: Command) -> None:
    """By -k, by change, by name."""
    history.run({C: 1e-3, A: 1e-3, B: 1e-3})
    history.run({C: 1e-3, A: 1.3e-3, B: 2e-3})

    def tests(*arguments: str) -> list[str]:
        command("compare", "1", "2", "--figures", "gpu_time", "--format", "csv", *arguments)
        return [row["test"] for row in csv.DictReader(io.StringIO(command.out))]

    assert tests() == [C, A, B]
    assert tests("--sort", "name") == [A, B, C]
    assert tests("--sort", "change") == [B, A, C]
    assert tests("--only-changed") == [A, B]
    assert tests("-k", "not test_a") == [C, B]


def test_many_unchanged_rows_are_counted_and_not_shown(history: History, command: Command) -> None:
    """A person sees the row that matters; --all and programs get all of them."""
    tests = {f"test_it.py::test_{number}": 1e-3 for number in range(120)}
    history.run(tests)
    history.run({**tests, "test_it.py::test_7": SLOW})
    assert command("compare", "1", "2") == 0
    assert [line.split()[0] for line in command.out.splitlines() if line.startswith("test_it")] == [
        "test_it.py::test_7"
    ]
    assert "1 regressed, 239 unchanged" in command.out
    assert command.err == "239 unchanged rows are not shown; --all shows them\n"
    assert command("compare", "1", "2", "--all") == 0
    assert sum(line.startswith("test_it") for line in command.out.splitlines()) == 240
    assert command("compare", "1", "2", "--format", "csv") == 0
    assert len(command.out.splitlines()) == 241


def test_formats_are_clean(history: History, command: Command) -> None:
    """Standard output holds the format and nothing else, though --fail-on speaks."""
    history.run({A: 1e-3, "test_it.py::test_x[a|b]": 1e-3})
    history.run({A: SLOW, "test_it.py::test_x[a|b]": 1e-3})
    assert command("compare", "1", "2", "--format", "json", "--fail-on", "regressed") == 1
    told: dict[str, Any] = json.loads(command.out)
    assert told["failed"] == {"regressed": 1}
    assert told["counts"] == {"regressed": 1, "unchanged": 3}
    assert told["geometric_means"][0]["change"] == pytest.approx(1.3**0.5 - 1, rel=0.01)
    (row,) = (row for row in told["rows"] if row["outcome"] == "regressed")
    assert row["before"] == pytest.approx(1e-3, rel=0.01)
    assert row["change"] == pytest.approx(0.3, abs=0.01)
    assert row["change_low"] < row["change"] < row["change_high"]
    assert command("compare", "1", "2", "--format", "markdown") == 0
    lines = [line for line in command.out.splitlines() if line.startswith("|")]
    assert "**regressed**" in lines[2]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1  # a bar in a name breaks no row
    assert command.err == ""


def test_colours_only_on_a_terminal(history: History, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What got worse is red there, and the columns still stand below each other."""
    history.run({A: 1e-3})
    history.run({A: SLOW})
    command("compare", "1", "2")
    assert "\x1b" not in command.out
    plain = command.out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("pytest_gpuprof.cli.comparing.has_colours", lambda stream: True)
    command("compare", "1", "2")
    assert "\x1b[31mregressed\x1b[0m" in command.out
    assert re.sub(r"\x1b\[\d+m", "", command.out) == plain


def test_files_can_be_compared_without_a_store(history: History, command: Command) -> None:
    """Two exports, of which one comes by standard input."""
    (history.root / "a.json").write_text(json.dumps(history.document({A: 1e-3})))
    (history.root / "b.json").write_text(json.dumps(history.document({A: SLOW})))
    assert command("compare", "a.json", "b.json", "--fail-on", "gpu_time") == 1
    assert not (history.root / ".gpuprof").exists()
    assert command("compare", "-", "-") == 2
    assert "both runs cannot come from standard input" in command.err


def test_a_file_from_before_records_had_figures(history: History, command: Command) -> None:
    """They are computed from what was measured."""
    document = history.document({A: 1e-3})
    new = json.dumps(history.document({A: SLOW}))
    for record in document["records"]:
        del record["figures"], record["conditions"]
    (history.root / "a.json").write_text(json.dumps(document))
    (history.root / "b.json").write_text(new)
    assert command("compare", "a.json", "b.json", "--fail-on", "gpu_time") == 1


def test_nothing_in_common(history: History, command: Command) -> None:
    """One sentence with a remedy, and status 3."""
    history.run({"test_x.py::test_x x": 1e-3})
    history.run({"test_y.py::test_y y": 1e-3})
    assert command("compare", "1", "2") == 3
    assert "have nothing in common to compare; name another run" in command.err
    assert command.err.count("\n") == 1


def test_a_run_is_not_compared_with_itself(history: History, command: Command) -> None:
    """The first run of a store has nothing before it."""
    history.run({A: 1e-3})
    for base in ("latest", "latest:main", "1", "0000001"):
        assert command("compare", base) == 3
        assert "are the same run, and nothing came before it" in command.err


# -- baselines --------------------------------------------------------------------------------------------------------


def test_compare_with_baselines(history: History, command: Command) -> None:
    """Accept some runs, and judge the next by them."""
    for _ in range(5):
        history.run({A: 1e-3, B: 1e-3})
    assert command("compare", "baseline") == 2
    assert "there is no gpuprof-baselines.json" in command.err
    assert command("accept", "--runs", "5") == 0
    history.run({A: 1.2e-3, B: 1e-3})
    assert command("compare", "baseline", "--fail-on", "regressed") == 1
    assert "against gpuprof-baselines.json" in command.out
    assert outcomes(command, "baseline", "--figures", "gpu_time")[(A, "gpu_time")] == "regressed"
    history.run({A: 1.2e-3}, card="H200")
    assert command("compare", "baseline") == 3
    assert "device was T4 (simulated) and is H200 (simulated)" in command.out
