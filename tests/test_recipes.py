"""The recipes in docs/ are real: valid YAML, and nothing in them that this package does not have."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.cli.command import parser
from pytest_gpuprof.plugin.hooks import OPTIONS

from .conftest import has

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("ci.md", "formats.md")
TEXTS = {name: (DOCS / name).read_text(encoding="utf-8") for name in PAGES}

COMMANDS = frozenset(
    ("list", "show", "compare", "accept", "history", "export", "check", "prune", "import", "doctor", "calibrate")
)
"""What ``pytest-gpuprof`` can be told to do."""

WORKFLOWS = re.findall(r"```yaml\n(.*?)```", TEXTS["ci.md"], re.DOTALL)


def loaded(text: str) -> Any:
    """Return what YAML means."""
    if not has("yaml"):
        pytest.skip("NOT TESTED: PyYAML is not installed to read the recipes")
    import yaml

    return yaml.safe_load(text)


def scripts(value: Any, key: str = "") -> Iterator[str]:
    """Yield every command of a workflow, of GitHub or GitLab."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from scripts(each, str(name))
    elif isinstance(value, list):
        for each in value:
            yield from scripts(each, key)
    elif key in ("run", "script") and isinstance(value, str):
        yield value


@pytest.mark.parametrize("text", WORKFLOWS, ids=lambda text: text.splitlines()[0])
def test_every_recipe_is_yaml_with_commands(text: str) -> None:
    """It can be read, and does something with this package or its files."""
    found = " ".join(scripts(loaded(text)))
    assert "gpu" in found


def test_there_are_the_recipes_that_are_promised() -> None:
    """For GitHub: gate, baselines, nightly, comment, evidence; for GitLab: metrics and JUnit."""
    named = {read["name"]: read for text in WORKFLOWS if "name" in (read := loaded(text))}
    assert set(named) == {"GPU gate", "GPU baselines", "GPU nightly", "GPU comment", "GPU evidence"}
    for workflow in named.values():
        assert workflow[True]  # "on" is true in YAML 1.1; GitHub reads it as the word
        assert all(job["runs-on"] and job["steps"] for job in workflow["jobs"].values())
        assert workflow["permissions"]
    (gitlab,) = [read for text in WORKFLOWS if "gpu-gate" in (read := loaded(text))]
    assert gitlab["gpu-gate"]["artifacts"]["reports"] == {"junit": "junit.xml", "metrics": "metrics.txt"}


def test_a_job_that_writes_runs_no_code_of_a_pull_request() -> None:
    """A token that may write is for code of the project alone."""
    for text in WORKFLOWS:
        workflow = loaded(text)
        if "write" in workflow.get("permissions", {}).values():
            assert "pull_request" not in str(workflow[True]).replace("pull_requests", "")
            assert not (workflow["name"] == "GPU comment" and "checkout" in text)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_exists(page: str) -> None:
    """As pytest knows it, on the command line and in the ini."""
    known = {f"--gpu-profile-{name}" for name, *_ in OPTIONS} | {"--gpu-profile", "--no-gpu-profile"}
    named = set(re.findall(r"--(?:no-)?gpu-profile[a-z-]*", TEXTS[page]))
    assert named
    assert named <= known
    inis = {f"gpu_profile_{name.replace('-', '_')}" for name, *_ in OPTIONS}
    inis |= {"gpu_profile", "gpu_profile_budgets", "gpu_profile_quarantine", "gpu_profile_evidence_paths"}
    assert set(re.findall(r"\bgpu_profile\w*", TEXTS[page])) <= inis


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    """Of ``pytest-gpuprof``, where it is called."""
    named = set(re.findall(r"(?<![\w<])pytest-gpuprof ([a-z][\w-]*)", TEXTS[page]))
    assert named
    assert named <= COMMANDS


def test_every_call_of_the_command_can_be_meant() -> None:
    """With its arguments, as the command itself reads them."""
    whole = parser()
    (commands,) = [action.choices for action in whole._actions if isinstance(action, argparse._SubParsersAction)]
    lines = [line.strip() for text in WORKFLOWS for script in scripts(loaded(text)) for line in script.splitlines()]
    calls = [shlex.split(line)[1:] for line in lines if line.startswith("pytest-gpuprof ")]
    assert len(calls) > 4
    for call in calls:
        if call[0] in commands:
            whole.parse_args(call)


@pytest.mark.parametrize("page", PAGES)
def test_every_format_exists(page: str) -> None:
    """Of the exports."""
    named = set(re.findall(r"--gpu-profile-export=([a-z-]+):", TEXTS[page]))
    assert named
    assert named <= set(Builtin().pytest_gpuprof_reports())


def test_every_format_is_described() -> None:
    """In the table of formats."""
    described = re.findall(r"^\| `([a-z-]+)` \|", TEXTS["formats.md"], re.MULTILINE)
    assert sorted(described) == sorted(Builtin().pytest_gpuprof_reports())


def test_every_link_leads_somewhere() -> None:
    """Inside the repository."""
    for text in TEXTS.values():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (DOCS / target).exists(), target


def test_every_strict_run_is_alone() -> None:
    """A gate refuses xdist's workers, so no recipe asks for them."""
    for text in WORKFLOWS:
        for script in scripts(loaded(text)):
            assert not re.search(r"pytest .*\s-n\s?\w", script)
