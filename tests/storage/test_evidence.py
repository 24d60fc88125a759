"""Evidence, judged without pytest: which document is about which sources, and its records judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Round
from pytest_gpuprof.storage.codec import record_of
from pytest_gpuprof.storage.document import new_document
from pytest_gpuprof.storage.evidence import Here, check_document, here, refusals

GPU = DeviceInfo(DeviceId("cuda", 0), "NVIDIA T4", "gpu", "torch")
TREE, OTHER, COMMIT = "a" * 40, "b" * 40, "c" * 40
SOURCE: Mapping[str, Any] = {
    "commit": COMMIT,
    "branch": "main",
    "dirty": False,
    "commit_time": "2026-11-28T07:00:00Z",
    "project": "kernels",
    "trees": {".": TREE, "src": TREE},
    "dirty_paths": [],
}
NOW = Here("kernels", {".": TREE, "src": TREE})


def record(*budgets: Budget, test: str = "test_it.py::test_it", **more: Any) -> dict[str, Any]:
    """Return a record of 2 ms per call, judged."""
    rounds = tuple(Round(index, 0, 1, {"wall_time": (2e-3 * (1 + index / 1000),)}) for index in range(6))
    absent = (Measurement.absent(leg, "not run") for leg in ("cpu", "reference"))
    cpu, reference = absent
    profile = Profile("it", cpu, Measurement("gpu", GPU, rounds), reference, backend="torch")
    verdicts = tuple(judge(profile, budget) for budget in budgets)
    judged = profile.with_verdicts(verdicts, tuple(budget.as_written for budget in budgets))
    return {**record_of(judged, test=test), "outcome": "passed", **more}


def document(*records: dict[str, Any], source: Mapping[str, Any] = SOURCE, duration_s: float = 1.0) -> dict[str, Any]:
    return new_document(
        records or [record()], run_id="d" * 32, created="2026-11-28T07:00:00Z", duration_s=duration_s, source=source,
        machine="e" * 12, settings={}, counts={},
    )  # fmt: skip


def test_the_same_trees_are_evidence() -> None:
    """Whatever the commit; and only those of the paths that count."""
    assert refusals(document(), "run.json", (), replace(NOW, has_commit=False)) == []
    changed = replace(NOW, trees={".": OTHER, "src": TREE})
    assert refusals(document(), "run.json", ("src",), changed) == []


@pytest.mark.parametrize(
    ("source", "now", "paths", "told"),
    [
        ({}, {"changes": ("a", "b", "c", "d", "e")}, (), ["a, b, c and 2 more changed here and are not committed"]),
        (
            {"dirty": True, "dirty_paths": ["src"]},
            {"trees": {"src": OTHER}, "differing": {"src": ["src/a.py"]}, "changes": ("src/b.py",)},
            ("src",),
            ["with uncommitted changes in src", "src/b.py changed here", "src changed since run.json was measured"],
        ),
        ({"dirty": True, "dirty_paths": ["docs"]}, {}, ("src",), []),
        ({}, {"trees": {"gone": None}}, ("gone",), ["names 'gone', which git does not have here"]),
        ({}, {"trees": {"new": TREE}}, ("new",), ["does not tell what new was"]),
        ({}, {"trees": {".": OTHER}}, (), []),  # only what may change differs
        ({}, {"trees": {".": OTHER}, "differing": {".": None}}, (), ["at ccccccc, which this clone does not have"]),
        ({}, {"unavailable": "git is not installed"}, (), ["because git is not installed; judge it in a git checkout"]),
    ],
)
def test_every_reason_is_told(
    source: dict[str, Any], now: dict[str, Any], paths: tuple[str, ...], told: list[str]
) -> None:
    """Each in a sentence of its own."""
    found = refusals(document(source={**SOURCE, **source}), "run.json", paths, replace(NOW, **now))
    assert len(found) == len(told)
    assert [part for part, sentence in zip(told, found, strict=True) if part not in sentence] == []


def test_where_git_cannot_tell_nobody_can(tmp_path: Path) -> None:
    """A folder that is in no repository."""
    assert here(tmp_path, (), document()).unavailable == "the project is not in a git repository"


def outcomes(*records: dict[str, Any], **how: Any) -> list[list[tuple[str, bool]]]:
    found = check_document(document(*records), Path(), anyway=True, **how)
    return [[(verdict.outcome, verdict.enforce) for verdict in verdicts] for _, verdicts in found]


def test_records_are_judged_again_by_their_own_budgets() -> None:
    """All of them, with what they say of being enforced; a record without a budget has no verdict."""
    judged = record(Budget("max_gpu_time", "3 ms"), Budget("max_gpu_time", "1 ms", enforce=False))
    assert outcomes(judged, record(test="test_b")) == [[("met", True), ("missed", False)], []]


def test_the_last_attempt_counts() -> None:
    """Of a test that was run again."""
    first = record(Budget("max_gpu_time", "1 ms"))
    again = record(Budget("max_gpu_time", "3 ms"), attempt=2)
    assert outcomes(first, again) == [[("met", True)]]


def test_a_miss_that_was_not_confirmed_is_none() -> None:
    """Only of the very same budget, as far as the record tells."""
    noisy = record(Budget("max_gpu_time", "1 ms"))
    noisy["verdicts"][0]["outcome"] = "inconclusive"
    assert outcomes(noisy) == [[("inconclusive", True)]]
    noisy["budgets"][0]["confidence"] = 0.9
    assert outcomes(noisy) == [[("inconclusive", True)]]  # the stored budget is the one that is asked
    noisy["verdicts"][0]["outcome"] = "met"
    assert outcomes(noisy) == [[("missed", True)]]


@pytest.mark.parametrize(("day", "enforced"), [(date(2026, 12, 24), False), (date(2026, 12, 25), True)])
def test_a_quarantine_ends_on_its_day_here_too(day: date, enforced: bool) -> None:
    """A record that is judged after it fails."""
    held = record(Budget("max_gpu_time", "1 ms"), quarantine={"reason": "noisy", "until": "2026-12-24"})
    assert outcomes(held, day=day) == [[("missed", enforced)]]


def test_what_is_no_evidence_is_refused(tmp_path: Path) -> None:
    """Unless somebody wants it anyway; what is incomplete is refused all the same."""
    with pytest.raises(UsageError, match=r"nobody can tell whether run\.json is about these sources"):
        check_document(document(), tmp_path, name="run.json")
    assert len(check_document(document(), tmp_path, anyway=True)) == 1
    for broken, told in ((document(duration_s=0.0), "is incomplete"), ({**document(), "records": []}, "no records")):
        with pytest.raises(UsageError, match=told):
            check_document(broken, tmp_path, anyway=True)
