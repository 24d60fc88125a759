"""This run: its id, when it began, and what it measured, told once and the same everywhere."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import pytest

from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.storage.document import new_document
from pytest_gpuprof.storage.source import machine_hash, source_of

__all__ = ["Run"]

_KEY = "gpuprof_run"
"""The key under which the controller hands the head of its run to an xdist worker."""


class Run:
    """The head of the run's document, for exports, the store and journals; xdist workers have their controller's.

    Args:
        config: of this process.
        settings: of the run.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._root = config.rootpath
        self._base = config.invocation_params.dir
        self._settings = settings
        self._given: Mapping[str, Any] | None = getattr(config, "workerinput", {}).get(_KEY)
        self._began_s = time.time()

    @property
    def id(self) -> str:
        """32 hexadecimal digits that no other run has."""
        return str(self.head["id"])

    @cached_property
    def head(self) -> Mapping[str, Any]:
        """The document without records, as it is when the run begins; git is asked the first time."""
        if self._given is not None:
            return self._given
        settings = self._settings
        written = [self._base / export.path for export in settings.exports]  # by this run or the one before
        written.append(self._root / settings.baselines)
        return new_document(
            [],
            run_id=uuid.uuid4().hex,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began_s)),
            duration_s=0.0,
            source=source_of(self._root, settings.evidence_paths or (".",), ignoring=written),
            machine=machine_hash(),
            settings={
                "devices": settings.devices,
                "strict": settings.strict,
                "inconclusive": settings.inconclusive,
                "unavailable": settings.unavailable,
                "missing_baseline": settings.missing_baseline,
                "compare": settings.compare,
                "workers": settings.workers,
            },
            counts={},
        )

    def document(
        self,
        records: Iterable[Mapping[str, Any]],
        counts: Mapping[str, int],
        comparison: Mapping[str, Any] | None = None,
        spared: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Return the document as it is now.

        Args:
            records: with the outcome of their tests.
            counts: budgets by outcome.
            comparison: of the run with what was before.
            spared: of the budgets that were judged, those that fail nothing; ``None`` to count them in the records.
        """
        head = self.head
        return new_document(
            records,
            run_id=head["id"],
            created=head["created"],
            duration_s=time.time() - self._began_s,
            source=head["source"],
            machine=head["machine"],
            settings=head["settings"],
            counts=counts,
            comparison=comparison,
            spared=spared,
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Ask git now: tests may change files."""
        self.head  # noqa: B018

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker the head."""
        node.workerinput[_KEY] = dict(self.head)
