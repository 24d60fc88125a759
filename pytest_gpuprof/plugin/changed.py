"""``--gpu-profile-changed-since``: only tests whose files changed are measured, for a quick answer in a pull request.

A test's files are its own, the ``conftest.py`` above it, and what of the project these import, directly or through
others. The file that configures pytest belongs to every test. Changed means: committed since the branches parted,
staged, edited, new, or gone.

The other tests run once, as in a run without ``--gpu-profile``, and their budgets are not judged. Under
``--gpu-profile-strict`` that is allowed, for it was asked for by name: a session that judged nothing because nothing
changed passes, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.plugin.imports import ImportGraph
from pytest_gpuprof.plugin.markers import STATE, concerns_us
from pytest_gpuprof.plugin.off import Once, skipping_what_is_missing
from pytest_gpuprof.plugin.use import INSTEAD
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.storage.changes import Changes, changes_since

__all__ = ["Changed"]

_KEY = "gpuprof_changed"
"""The key under which a controller hands the changes to its workers: what they write must not count as new files."""


class Changed:
    """Leaves tests unmeasured whose files did not change, and tells how many.

    Args:
        config: of pytest.
        since: the revision.
        profiler: makes the profiler of the run; nothing is asked for it before a test needs it.

    Raises:
        UsageError: if git cannot tell what changed.
    """

    def __init__(self, config: pytest.Config, since: str, profiler: Callable[[], Profiler]) -> None:
        self._root = config.rootpath.resolve()
        handed: Mapping[str, Any] | None = getattr(config, "workerinput", {}).get(_KEY)
        if handed is None:
            self._changes = changes_since(config.rootpath, since)
        else:
            files = frozenset(os.path.normpath(self._root / each) for each in handed["files"])
            self._changes = Changes(since, handed["base"], files)
        self._ini = config.inipath
        why = f"none of the test's files changed since {since}: leave out --gpu-profile-changed-since to measure it"
        self._once = Once(profiler, why, self._count)
        self._unjudged: dict[str, int] = {}
        self._told: dict[str, int] = {}

    @property
    def _everything(self) -> bool:
        """Whether how the tests are run changed."""
        return self._ini is not None and str(self._ini.resolve()) in self._changes.files

    def _count(self, item: pytest.Item, budgets: int) -> None:
        self._unjudged[item.nodeid] = self._unjudged.get(item.nodeid, 0) + budgets

    # -- in the process that runs the tests ---------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand the changes to an xdist worker, relative to the root: its copy may lie elsewhere."""
        files = [os.path.relpath(each, self._root) for each in sorted(self._changes.files)]
        node.workerinput[_KEY] = {"base": self._changes.base, "files": files}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Find out which tests are measured; by now ``sys.path`` is as the tests will find it."""
        if self._everything:
            return
        graph = ImportGraph(self._root, self._changes.files)
        touched: dict[Path, bool] = {}
        for item in items:
            if concerns_us(item):
                if item.path not in touched:
                    touched[item.path] = graph.touched(item.path)
                if not touched[item.path]:
                    item.stash[INSTEAD] = self._once

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test that is not measured as one without ``--gpu-profile`` does."""
        __tracebackhide__ = True
        return (yield from skipping_what_is_missing()) if INSTEAD in item.stash else (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Call the body of a test that is not measured with a device, and what it returns once."""
        return (INSTEAD in pyfuncitem.stash and self._once.runs_body_of(pyfuncitem)) or None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell in the report how many budgets of the test were not judged, those of its body too."""
        report = yield
        carried: dict[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is not None and INSTEAD in item.stash:
            carried["unchanged"] = True
            carried["unjudged"] = self._unjudged.pop(item.nodeid, 0) or len(item.stash[STATE].budgets)
        return report

    # -- in the process that talks to the person ----------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was not measured."""
        carried: Mapping[str, Any] = getattr(report, "gpuprof", {})
        if carried.get("unchanged"):
            self._told[report.nodeid] = carried["unjudged"]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was not measured, and why."""
        if terminalreporter.config.option.no_summary:
            return
        since = f"{self._changes.since} ({self._changes.base[:7]})"
        if self._everything and self._ini is not None:
            terminalreporter.write_line(f"gpuprof: {self._ini.name} changed since {since}, so every test was measured")
        elif self._told:
            tests, budgets = len(self._told), sum(self._told.values())
            was, their = ("was", "its") if tests == 1 else ("were", "their")
            terminalreporter.write_line(
                f"gpuprof: {_plural(tests, 'test')} with {_plural(budgets, 'budget')} {was} not measured, because none "
                f"of {their} files changed since {since}; leave out --gpu-profile-changed-since to measure everything",
                yellow=True,
            )


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
