"""GitHub Actions: the step's summary and the annotations, from the process that talks to the person."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.reports.github import SUMMARY_BYTES, annotations_of, step_summary
from pytest_gpuprof.reports.text import encoded

__all__ = ["GitHub"]

_ANNOTATES_FAILURES = "pytest_github_actions_annotate_failures"
"""A plugin that annotates every test that fails."""

_STEP_BYTES = 1024 * 1024
"""What GitHub takes of all summaries of a step together."""

_LEAST_BYTES = 4096
"""Less room than this is not worth a summary: not even its head and a few sentences would fit."""


class GitHub:
    """Tells GitHub Actions of a run.

    Args:
        document: what gives the document of the run.
        pages: what gives the report pages that it wrote.
        root: the project's folder.
        variables: the environment variables.
    """

    def __init__(
        self,
        document: Callable[[], Mapping[str, Any]],
        pages: Callable[[], Sequence[str]],
        root: Path,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        self._document = document
        self._pages = pages
        self._root = root
        self._summary = variables.get("GITHUB_STEP_SUMMARY")
        self._workspace = variables.get("GITHUB_WORKSPACE")
        self._told: Mapping[str, Any] = {"records": []}
        self._problem: str | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Append to the step's summary, after the exports were written."""
        self._told = self._document()
        if self._summary is None or not (self._told["records"] or any(self._told["counts"].values())):
            return
        try:
            self._append(Path(self._summary))
        except OSError as error:  # in a container it may not be mounted; that is no reason to fail a test
            self._problem = (
                f"gpuprof: the step's summary {self._summary} could not be written ({error.strerror or error}), so "
                "GitHub shows none; mount it into the container, or say --gpu-profile-github=off"
            )

    def _append(self, path: Path) -> None:
        there = path.stat().st_size if path.exists() else 0
        room = min(SUMMARY_BYTES, _STEP_BYTES - there - 1)
        if room < _LEAST_BYTES:
            self._problem = (
                f"gpuprof: the step's summary is full ({there} bytes are there, and GitHub shows no more than "
                f"{_STEP_BYTES}); run pytest in a step of its own"
            )
            return
        with path.open("ab") as file:
            file.write(encoded(step_summary(self._told, room, self._pages())))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the annotations, each at the start of a line, and what went wrong with the summary."""
        told = terminalreporter.config.pluginmanager.hasplugin(_ANNOTATES_FAILURES)
        terminalreporter.ensure_newline()
        for line in annotations_of(self._told, self._folder(), failures_are_told=told):
            terminalreporter.write_line(line)
        if self._problem is not None:
            terminalreporter.write_line(self._problem, yellow=True)

    def _folder(self) -> str | None:
        """Return the project's folder as seen from the repository, which need not be the same."""
        if self._workspace is None:
            return ""
        try:
            folder = self._root.resolve().relative_to(Path(self._workspace).resolve()).as_posix()
        except ValueError:
            return None
        return "" if folder == "." else folder
