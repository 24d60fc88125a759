"""What a person sees: one header line, one table, one sentence for each doubt, and the count."""

from __future__ import annotations

import re

import pytest

from .conftest import GPU, Runs, text_of

RESULTS = """
@pytest.mark.gpu_budget(min_speedup=5)
def test_b(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(max_gpu_time="1 us")
def test_a(gpu_profile):
    gpu_profile(slow, metrics=["time"])

def test_other():
    pass
"""


def table(result: pytest.RunResult) -> list[str]:
    """Return the rows of the table, without its head."""
    lines = result.stdout.lines
    (rule,) = [index for index, line in enumerate(lines) if line.startswith("---")]
    return [line for line in lines[rule + 1 :] if re.match(r"test_it\.py::\S+  ", line)]


def test_the_header_is_one_line_and_only_when_on(runs: Runs) -> None:
    """A run that measures says so in its header, and what it measures against; others say nothing."""
    shown = runs(RESULTS).stdout.lines
    assert len([line for line in shown if line.startswith("gpuprof: ")]) == 1
    assert any(" against simulated:0, 3 to 24 rounds, inconclusive: warn" in line for line in shown)
    assert not any(line.startswith("gpuprof: 0") for line in runs(RESULTS, on=False).stdout.lines)


def test_the_header_tells_exact_rounds(runs: Runs) -> None:
    """With exactly N rounds the header says N."""
    runs("", "--gpu-profile-rounds=7").stdout.fnmatch_lines(["gpuprof: *, 7 rounds, *"])


def test_one_row_per_workload(runs: Runs) -> None:
    """The table has one row per profile in the order in which they ran, and one unit per column."""
    result = runs(RESULTS)
    assert [row.split()[0] for row in table(result)] == ["test_it.py::test_b", "test_it.py::test_a"]
    result.stdout.fnmatch_lines(["test  *CPU [[]ms[]]  *GPU [[]ms[]]  *speedup (95%)*budgets*headroom*of*"])


def test_the_speedup_says_what_it_is_against(runs: Runs) -> None:
    """A line above the table tells the device (a stand-in with its word), the CPU threads, and what is not compared."""
    said = [line for line in runs(RESULTS).stdout.lines if line.startswith("on ")]
    assert len(said) == 1
    assert re.fullmatch(r"on simulated:0 \(simulated\) vs \d+ threads?, compute only", said[0])


def test_remarks_and_counts_are_below_the_table(runs: Runs) -> None:
    """A missed budget is told in one sentence, and the last line counts met, missed, inconclusive, not enforced."""
    result = runs(RESULTS)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_a missed: GPU time 2 ms * misses max_gpu_time 1 µs *",
            "budgets: 1 met, 1 missed, 0 inconclusive, 0 not enforced",
        ]
    )


def test_a_sentence_that_concerns_many_is_said_once(runs: Runs) -> None:
    """Tests with the same doubt share one line."""
    result = runs(
        """
@pytest.mark.parametrize("n", range(3))
@pytest.mark.gpu_budget(min_energy_ratio=2)
def test_it(gpu_profile, n):
    gpu_profile(fast)
""",
        "--gpu-profile-unavailable=warn",
    )
    told = [line for line in result.stdout.lines if "min_energy_ratio cannot be judged" in line]
    assert len(told) == 1
    assert told[0].startswith("test_it.py::test_it[0] and 2 more unavailable:")


@pytest.mark.parametrize(
    ("args", "head"),
    [
        (["--gpu-profile-columns=gpu,first,power,verdict"], "test GPU [ms] first call [ms] power [W] budgets ----"),
        (["--gpu-profile-columns=device"], "test GPU events ["),  # a millisecond, or 999 µs
        (["--gpu-profile-columns=headroom,verdict"], "test budgets ----"),  # without a budget there is no headroom
        (["--gpu-profile-columns=verdict"], "test budgets ----"),
        ([], "test CPU [ms] GPU [ms] speedup (95%) energy [mJ] budgets ----"),
    ],
)
def test_the_columns_can_be_chosen(runs: Runs, args: list[str], head: str) -> None:
    """Named columns are shown, also where nobody measured them; else those that have something to say."""
    result = runs.on_gpu("def test_it(gpu_profile): gpu_profile(fast, metrics=['time', 'energy'])", *args)
    assert head in text_of(result)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["test_a", "test_b"]),
        ("speedup", ["test_b", "test_a"]),
        ("time", ["test_a", "test_b"]),
        ("headroom", ["test_a", "test_b"]),
    ],
)
def test_the_rows_can_be_sorted(runs: Runs, sort: str, order: list[str]) -> None:
    """By name, by speedup (best first), by time (longest first), or by headroom (missed first)."""
    rows = table(runs(RESULTS, f"--gpu-profile-sort={sort}"))
    assert [row.split()[0].rpartition("::")[2] for row in rows] == order


@pytest.mark.parametrize(("group", "title"), [("file", "test_it.py"), ("device", "simulated:0 NVIDIA T4")])
def test_the_rows_can_be_grouped(runs: Runs, group: str, title: str) -> None:
    """One table per file or per device, each with its title."""
    result = runs.on_gpu(RESULTS, f"--gpu-profile-group-by={group}")
    assert title in result.stdout.lines


@pytest.mark.parametrize("args", [["-q"], ["-qq"], ["--tb=no"], ["--show-capture=no"], ["-p", "no:logging"]])
def test_the_table_is_shown_when_quiet(runs: Runs, args: list[str]) -> None:
    """A person who asked for measuring sees the results, however quiet pytest is."""
    result = runs(RESULTS, *args)
    assert len(table(result)) == 2
    result.stdout.fnmatch_lines(["budgets: 1 met, 1 missed*"])


def test_no_summary_shows_no_table(runs: Runs) -> None:
    """``--no-summary`` is obeyed, in a plain run too; the outcome is not changed by it."""
    result = runs(RESULTS, "--no-summary")
    result.assert_outcomes(passed=2, failed=1)
    assert "budgets:" not in result.stdout.str()
    assert "not judged" not in runs(RESULTS, "--no-summary", on=False).stdout.str()


@pytest.mark.parametrize("source", ["", "def test_it(): pass", "def test_it(gpu_profile): pass"])
def test_nothing_is_shown_where_there_is_nothing(runs: Runs, source: str) -> None:
    """Without results there is no table and no count."""
    shown = runs(source).stdout.str()
    assert "= gpuprof =" not in shown
    assert "budgets:" not in shown


def test_a_run_without_a_terminal_reporter_measures(runs: Runs) -> None:
    """``-p no:terminal`` takes the table away and nothing else."""
    result = runs(RESULTS, "-p", "no:terminal", "--gpu-profile-export=json:out.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(runs.exported()["records"]) == 2


def test_an_ascii_stream_gets_ascii(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stream cannot show µ or ±, there is a plain word for each, and no escape."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    result = runs(RESULTS, "--tb=no", "-rN", subprocess=True)
    shown = result.stdout.str()
    assert shown.isascii()
    assert "misses max_gpu_time 1 us" in shown
    assert "+-<0.1%" in shown
    assert "[!!!!!!]" in shown
    assert "\\x" not in shown
    assert "?" not in shown


def test_a_unicode_stream_gets_the_signs(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can, the signs are shown."""
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    shown = runs(RESULTS, "--tb=no", subprocess=True).stdout.str()
    assert "±<0.1%" in shown
    assert "▕!!!!!!▏" in shown
    assert "1 µs" in shown


def test_the_table_is_shown_after_an_error_of_collection(runs: Runs) -> None:
    """What was measured is shown although another file cannot be collected."""
    runs.pytester.makepyfile(test_broken="import no_such_module")
    result = runs(RESULTS, "--continue-on-collection-errors")
    assert len(table(result)) == 2


def test_a_caution_is_told_with_its_remedy(runs: Runs) -> None:
    """A doubt that no verdict mentions has a line of its own, with what to do about it."""
    conftest = GPU.replace("name='NVIDIA T4'", "name='NVIDIA T4', shared_from=0.0")
    shown = text_of(runs.on_gpu("def test_it(gpu_profile): gpu_profile(fast)", conftest=conftest))
    assert "test_it.py::test_it caution: " in shown
    assert "other process" in shown
