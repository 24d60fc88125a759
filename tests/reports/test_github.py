"""GitHub's surfaces: commands escaped as its toolkit does, ten of a kind, the worst first."""

from __future__ import annotations

import pytest

from pytest_gpuprof.reports.github import SUMMARY_BYTES, annotations_of, command, step_summary

from .documents import document, record, verdict

PLACE = {"file": "tests/test_a.py", "line": 7}


def test_a_command_is_escaped_as_the_toolkit_does() -> None:
    """Data keep their colons and commas; properties, which these separate, do not."""
    assert (
        command("error", "100%\r\na:b,c", file="a,b.py", line=3, title="t.py::a[50%]\n")
        == "::error file=a%2Cb.py,line=3,title=t.py%3A%3Aa[50%25]%0A::100%25%0D%0Aa:b,c"
    )
    assert command("notice", "x", file=None) == "::notice::x"


def test_a_missed_budget_is_an_error_at_the_test() -> None:
    """In the repository's terms: the project may be in a folder of it."""
    made = document(record(verdicts=[verdict("missed")], outcome="failed", location=PLACE))
    (line,) = annotations_of(made, "python/lib")
    assert line == (
        "::error file=python/lib/tests/test_a.py,line=7,title=max_gpu_time missed%3A test_a.py%3A%3Atest_a::"
        "max_gpu_time is missed"
    )
    assert "file=tests/test_a.py,line=7" in annotations_of(made)[0]


@pytest.mark.parametrize(("place", "folder"), [(None, ""), ({"file": "../x.py", "line": 1}, ""), (PLACE, None)])
def test_a_place_outside_the_repository_is_left_out(place: dict[str, object] | None, folder: str | None) -> None:
    """GitHub could not show it, and the title names the test."""
    made = document(record(verdicts=[verdict("missed")], outcome="failed", location=place))
    assert annotations_of(made, folder)[0].startswith("::error title=max_gpu_time missed%3A test_a.py")


@pytest.mark.parametrize(
    ("outcome", "enforce", "test", "settings", "level"),
    [
        ("missed", True, "failed", {}, "error"),
        ("missed", False, "passed", {}, "warning"),
        ("missed", True, "skipped", {}, "warning"),  # an expected failure
        ("inconclusive", True, "passed", {}, "warning"),
        ("inconclusive", True, "failed", {}, "warning"),  # it failed for another reason
        ("inconclusive", True, "failed", {"inconclusive": "fail"}, "error"),
        ("unavailable", True, "failed", {}, "error"),
        ("unavailable", True, "failed", {"unavailable": "warn"}, "warning"),
        ("not enforced", True, "failed", {"unavailable": "fail"}, "warning"),
        ("not enforced", True, "failed", {"strict": True}, "error"),
    ],
)
def test_what_failed_a_test_is_an_error(
    outcome: str, enforce: bool, test: str, settings: dict[str, object], level: str
) -> None:
    """All else is a warning."""
    made = document(record(verdicts=[verdict(outcome, enforce=enforce)], outcome=test), settings=settings)
    (line,) = annotations_of(made)
    assert line.startswith(f"::{level} ")


def test_a_met_budget_is_not_annotated() -> None:
    """Nor is a test without one."""
    assert annotations_of(document(record(verdicts=[verdict("met")]), record("t.py::b"))) == []


def test_at_most_ten_of_a_kind_the_worst_first() -> None:
    """GitHub drops the rest without a word, so that is said in a notice."""
    missed = [
        record(f"t.py::a[{factor}]", verdicts=[verdict("missed", observed=5e-4 * factor)], outcome="failed")
        for factor in range(2, 15)
    ]
    unsure = [record(f"t.py::b[{number}]", verdicts=[verdict("inconclusive")]) for number in range(12)]
    lines = annotations_of(document(*missed, *unsure))
    assert [line.partition(" ")[0] for line in lines] == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"]
    assert "a[14]" in lines[0]
    assert "a[5]" in lines[9]
    assert lines[-1] == "::notice title=GPU budgets::… and 5 more; the step's summary has them all"


def test_failures_that_another_plugin_tells_are_left_out() -> None:
    """What failed nothing is told all the same."""
    made = document(
        record("t.py::a", verdicts=[verdict("missed"), verdict("inconclusive")], outcome="failed"),
        record("t.py::b", verdicts=[verdict("missed", enforce=False)]),
    )
    lines = annotations_of(made, failures_are_told=True)
    assert [line.partition("::m")[0].split(" ")[0] for line in lines] == ["::warning", "::warning"]


def test_a_missing_gpu_is_said_once() -> None:
    """Ten slots are few."""
    reason = "max_gpu_time cannot be judged: no GPU was found"
    lacking = verdict("unavailable", sentence=reason, cause="no device", observed=None, interval=None)
    lines = annotations_of(
        document(*(record(f"t.py::a[{n}]", verdicts=[lacking], outcome="skipped") for n in range(30)))
    )
    assert lines == ["::warning title=GPU budgets not judged::30 budgets were not judged: no GPU was found"]


def test_a_summary_is_markdown_within_its_limit() -> None:
    """Missed budgets first; it ends in an empty line, so that the next writer begins a paragraph."""
    verdicts = [verdict("missed", sentence="Ω" * 300)]
    text = step_summary(document(*(record(f"t.py::a[{n}]", verdicts=verdicts) for n in range(2000))))
    assert SUMMARY_BYTES - 2000 < len(text.encode()) <= SUMMARY_BYTES
    assert text.startswith("### GPU budgets: 0 met, 2000 missed")
    assert "lines left out" in text
    assert text.endswith("\n\n")


@pytest.mark.parametrize(
    ("change", "settings", "level"),
    [
        ("new", {}, "warning"),
        ("new", {"missing_baseline": "fail"}, "error"),
        ("unreadable", {"missing_baseline": "fail"}, "error"),
        ("incomparable", {"missing_baseline": "fail", "strict": True}, "warning"),
    ],
)
def test_a_missing_baseline_is_an_error_where_it_fails(change: str, settings: dict[str, object], level: str) -> None:
    """What is incomparable never fails, not even under strict."""
    made = document(record(verdicts=[verdict("not enforced", change=change)], outcome="failed"), settings=settings)
    assert annotations_of(made)[0].startswith(f"::{level} ")


def test_an_improvement_that_is_doubted_has_no_distance_from_its_limit() -> None:
    """It is a negative share of a positive limit, which has no logarithm."""
    doubted = verdict("inconclusive", observed=-0.2, limit=0.05, change="improved")
    assert annotations_of(document(record(verdicts=[doubted])))[0].startswith("::warning ")


def test_the_summary_names_the_report_page() -> None:
    """Below its head, as a name that is no markup, however little room there is."""
    made = document(*(record(f"t.py::test_{number}") for number in range(500)))
    head, _, page, *_ = step_summary(made, 4096, ["out/a`<b>.html"]).splitlines()
    assert head.startswith("### GPU budgets: ")
    assert page == "Report page: `out/a'<b>.html`"
    assert len(step_summary(made, 4096, ["out/page.html"]).encode()) <= 4096
    assert "Report page" not in step_summary(made)
