"""``check``: what was measured elsewhere, judged again where the sources are the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.storage.source import source_of

from .conftest import Command, History

A = "test_it.py::test_a"


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def evidence(history: History) -> dict[str, Any]:
    """A run with a budget that is met, measured from the sources that are committed here."""
    (history.root / "test_it.py").write_text("def test_a(): ...\n")
    git(history.root, "init", "-q")
    git(history.root, "add", "pytest.ini", "test_it.py")
    git(history.root, "commit", "-qm", "First")
    document = history.document({A: 1e-3}, budget="max_gpu_time")
    document["source"] = source_of(history.root)
    return document


def check(history: History, command: Command, document: dict[str, Any], *arguments: str) -> int:
    """Write the run to a file, and judge that."""
    (history.root / "run.json").write_text(json.dumps(document))
    return command("check", "run.json", *arguments)


def tightened(document: dict[str, Any], limit: float, **more: Any) -> dict[str, Any]:
    """The same run with another limit in its records."""
    for record in document["records"]:
        record["budgets"] = [{**written, "limit": limit, **more} for written in record["budgets"]]
    return document


def test_a_met_budget(history: History, command: Command, evidence: dict[str, Any]) -> None:
    """One line with its sentence, the count, status 0; the file itself is no change of the sources."""
    assert check(history, command, evidence) == 0
    verdict, counted = command.out.splitlines()
    assert verdict.startswith(f"met: {A} GPU time ")
    assert counted == "budgets: 1 met"
    assert command.err == ""


def test_a_missed_budget(history: History, command: Command, evidence: dict[str, Any]) -> None:
    """Status 1, unless it is not enforced."""
    assert check(history, command, tightened(evidence, 1e-4)) == 1
    assert command.out.startswith(f"missed: {A} ")
    assert check(history, command, tightened(evidence, 1e-4, enforce=False)) == 0
    assert command.out.startswith(f"missed, not enforced: {A} ")


def test_what_cannot_be_judged_fails_a_strict_gate(
    history: History, command: Command, evidence: dict[str, Any]
) -> None:
    """A limit within the noise of the rounds is neither met nor missed."""
    near = evidence["records"][0]["figures"]["gpu_time"]["value"]
    assert check(history, command, tightened(evidence, near)) == 0
    assert command.out.startswith(f"inconclusive: {A} ")
    assert check(history, command, tightened(evidence, near), "--strict") == 1


def test_accepted_baselines_are_no_other_sources(history: History, command: Command, evidence: dict[str, Any]) -> None:
    """They follow what was measured."""
    (history.root / "gpuprof-baselines.json").write_text("{}")
    assert check(history, command, evidence) == 0, command.err


def test_other_sources_are_refused(history: History, command: Command, evidence: dict[str, Any]) -> None:
    """Status 2 and the reason; --anyway judges all the same, and --paths may leave the change out."""
    (history.root / "test_it.py").write_text("def test_a(): pass\n")
    assert check(history, command, evidence) == 2
    assert "test_it.py changed here and is not committed" in command.err
    assert command.out == ""
    assert check(history, command, evidence, "--anyway") == 0


def test_a_test_that_failed_otherwise_is_no_evidence(
    history: History, command: Command, evidence: dict[str, Any]
) -> None:
    """Its budgets are met, and it failed."""
    evidence["records"][0]["outcome"] = "failed"
    assert check(history, command, evidence) == 1
    assert f"failed: {A} where it was measured" in command.out


def test_without_budgets_there_is_nothing_to_judge(
    history: History, command: Command, evidence: dict[str, Any]
) -> None:
    """Status 3: a gate that judged nothing is not open."""
    evidence["records"][0]["budgets"] = []
    assert check(history, command, evidence) == 3
    assert "has no budget to judge" in command.err


def test_for_programs(history: History, command: Command, evidence: dict[str, Any]) -> None:
    """Verdicts as JSON and nothing else."""
    assert check(history, command, evidence, "--format", "json") == 0
    (judged,) = json.loads(command.out)
    assert judged["test"] == A
    assert [verdict["outcome"] for verdict in judged["verdicts"]] == ["met"]


def test_a_stored_run_can_be_judged_until_its_samples_are_thinned(
    history: History, command: Command, evidence: dict[str, Any]
) -> None:
    """And then it says so."""
    history.add(evidence)
    (history.root / ".gpuprof" / ".gitignore").write_text("*\n")
    assert command("check", "latest") == 0
    history.run()
    command("prune", "--keep-samples", "1")
    assert command("check", "latest~1") == 2
    assert "cannot be judged again, because prune took its samples" in command.err
