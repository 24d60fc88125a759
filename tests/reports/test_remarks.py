"""The sentences and the counts below the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gpuprof.core.results import Caution, Reading, Verdict
from pytest_gpuprof.core.scaling import Crossover, Scaling
from pytest_gpuprof.reports.remarks import counts, describe_counts, remarks
from pytest_gpuprof.reports.rows import Row

from ..budgets.profiles import CARD, leg_of, profile_of
from .rows import row


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


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict("missed", "min_speedup", "it is slow", enforce=False), "missed, not enforced: it is slow"),
        (Verdict("inconclusive", "min_speedup", "who knows", enforce=False), "inconclusive, not enforced: who knows"),
        (Verdict("not enforced", "min_speedup", "no key matches", enforce=False), "no key matches"),
    ],
)
def test_a_budget_that_fails_nothing_says_so(verdict: Verdict, told: str) -> None:
    """Or a green test with a missed budget would be a riddle; once is enough."""
    (found,) = remarks([row([1.0], [0.5], verdict)], False)
    assert found.text == f"t.py::test_a {told}"


@pytest.mark.parametrize(
    ("facts", "told"), [(["9 s", "9 s"], "and 1 more caution"), (["9 s", "8 s"], "and 1 more alike")]
)
def test_doubts_of_one_kind_are_told_once(facts: list[str], told: str) -> None:
    """By the facts of the first; that those of the others are not the same is said."""
    rows = [
        row(test=f"t.py::test_{number}", cautions=(Caution("hot", f"hot for {each}", "cool it"),))
        for number, each in enumerate(facts)
    ]
    (found,) = remarks(rows, False)
    assert told in found.text
    assert found.text.startswith("t.py::test_0 and 1 more")
    assert found.text.endswith("hot for 9 s; cool it")


def test_a_sweep_has_its_sentence() -> None:
    """Before what was missed; with the word of a stand-in."""
    scaling = Scaling("n", (), Crossover(310.0, 256.0, 390.0, 64, 4096), {})
    swept = row(test="t.py::test_a", scaling=scaling)
    stand_in = replace(CARD, kind="stand-in", why_stand_in="simulated")
    gpu = replace(swept.profile.gpu, device=stand_in)
    for name, told in (("mm[n=4096]", "mm"), ("mm[fp16][n=4096]", "mm[fp16]"), ("mm[n=4096]@cuda:1", "mm@cuda:1")):
        (found,) = remarks([replace(swept, profile=replace(swept.profile, name=name, gpu=gpu))], False)
        assert found.text == f"t.py::test_a {told} over n (simulated): the GPU wins from n = 310 (256 to 390)"


@pytest.mark.parametrize("cause", ["no device", "no reading"])
def test_a_sentence_is_one_line_and_steers_no_terminal(cause: str) -> None:
    """Whatever a name or a framework's error holds."""
    lacking = Verdict("unavailable", "min_speedup", "it: \x1b[31mno\n  GPU", cause=cause)  # type: ignore[arg-type]
    (found,) = remarks([row([1.0], None, lacking, test="t.py::test[\x07]")], False)
    assert found.text.isprintable()
    assert "\\x1b[31mno GPU" in found.text


def test_budgets_that_nobody_judged_are_counted() -> None:
    """Also those of tests that measured nothing."""
    lacking = Verdict("unavailable", "max_energy", "no")
    found = counts([row([1.0], [1.0], lacking, Verdict("met", "min_speedup", "yes"))], unjudged=2)
    assert describe_counts(found) == "budgets: 1 met, 0 missed, 0 inconclusive, 3 not enforced"
