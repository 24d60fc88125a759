"""Which tests there are that concern us, before any is deselected, so that a list that names others is called stale.

Only where the run looked for them: who names one file on the command line has not shown that the others are gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.plugin.markers import concerns_us, without_group

__all__ = ["Selection"]

_KEY = "gpuprof_selection"
"""The key under which a worker hands the tests it collected to the controller, which collects none."""


class Selection:
    """The node ids of all tests that concern us, in the process that talks to the person."""

    def __init__(self, config: pytest.Config) -> None:
        self.nodeids: set[str] = set()
        self._config = config
        self._complete = False
        self._failed = False

    def covers(self, path: str) -> bool:
        """Whether every test in a file or folder was collected, if there is any.

        Args:
            path: relative to the root; empty for all of it.
        """
        config = self._config
        narrowed = any(config.getoption(name, None) for name in ("lf", "ignore", "ignore_glob", "pyargs"))
        if narrowed or self._failed or not self._complete:
            return False
        if config.args_source is not config.ArgsSource.ARGS:
            return True
        asked = [Path(config.invocation_params.dir, each) for each in config.args if "::" not in each]
        return any(Path(config.rootpath, path).is_relative_to(each.resolve()) for each in asked)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note the tests before ``-k`` and others leave some out."""
        self.nodeids |= {without_group(item.nodeid) for item in items if concerns_us(item)}
        self._complete = True

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that a file could not be collected, and nobody knows what is in it."""
        self._failed = self._failed or report.failed

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In an xdist worker, hand the tests to the controller."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = sorted(self.nodeids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the tests of a worker; one that died tells none, and the others have collected the same."""
        told = (getattr(node, "workeroutput", None) or {}).get(_KEY)
        if told is not None:
            self.nodeids |= set(told)
            self._complete = True
