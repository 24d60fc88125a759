"""``--gpu-profile-from``: nothing is measured; records that were measured elsewhere are judged by the tests' budgets.

So a project whose CI has no GPU has a gate: somebody measures on a GPU, and CI judges, if the sources are the same.
With the ``gpu_profile`` fixture a test's body runs, and gets the stored profile; no workload is built or called. With
``gpu_profile_device`` the body is the workload, and is not called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import __version__
from pytest_gpuprof.assembling import LEGS
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import MeasurementError, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Reading, Verdict
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.placement import ANY
from pytest_gpuprof.plugin.selection import Selection
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.use import MissingOutput
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.document import figures_by_workload, read_document
from pytest_gpuprof.storage.evidence import here, judged_again, refusals

__all__ = ["Evidence", "Stored", "StoredJob"]

_KEY = "gpuprof_evidence"
"""The key under which a controller hands the file to its workers, once it was accepted."""

_OF_WORKLOADS = frozenset(
    {"name", "backend", "cpu", "reference", "check", "flops", "bytes", "items", "precision", "reset"}
)
"""Options that are about a workload; the others are about measuring it."""

_FEW = 3


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One profile of a test, as it is called, with its record if there is one.

    Args:
        name: of the profile.
        record: ``None`` if there is none.
        plan: of the run.
        metrics: what somebody asks for, as in a job that is measured; a record has what it has.
    """

    name: str
    record: Mapping[str, Any] | None
    plan: Plan
    metrics: tuple[str, ...] | None = None


class Evidence:
    """The records of a file that was measured elsewhere, as accepted, and what is to be said of them.

    Args:
        config: of pytest.
        settings: of the run.
        selection: the tests there are.

    Raises:
        UsageError: if the file is no evidence for the sources that are here, a line for each reason.
    """

    def __init__(self, config: pytest.Config, settings: Settings, selection: Selection) -> None:
        accepted: str | None = getattr(config, "workerinput", {}).get(_KEY)
        self.name = str(settings.evidence)
        if self.name == "-":
            raise UsageError("--gpu-profile-from takes a file, not standard input; write it to one first")
        self._path = Path(accepted or config.invocation_params.dir / self.name)
        self.document = read_document(self._path)
        if accepted is None:
            paths = settings.evidence_paths
            baselines = config.rootpath / settings.baselines  # which measuring lets change too: accepting follows it
            now = here(config.rootpath, paths, self.document, [self._path, baselines])
            reasons = refusals(self.document, self.name, paths, now)
            if reasons:
                raise UsageError("\n".join(reasons))
        self.records = figures_by_workload(self.document)
        for record in self.records.values():
            profile_from(record)  # a damaged one is told now
        self._devices = settings.devices
        self._selection = selection

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker that the file is accepted; it reads it itself."""
        node.workerinput[_KEY] = str(self._path)

    @pytest.hookimpl
    def pytest_report_header(self) -> str:
        """Say what is judged, and where it was measured."""
        document, source = self.document, self.document["source"]
        legs = [record["legs"]["gpu"]["device"] or record["legs"]["cpu"]["device"] for record in self.records.values()]
        devices = list(dict.fromkeys(str(each["name"]) for each in legs if each is not None))
        count = len(self.records)
        return (
            f"gpuprof: {__version__}, judging {self.name}: measured {document['created']} at {source['commit'][:7]} on "
            f"{', '.join(devices) or 'nothing'}, {count} record{'' if count == 1 else 's'}"
        )

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which records are of tests that are no longer there."""
        tests = dict.fromkeys(test for test, _ in self.records)
        gone = [
            test
            for test in tests
            if test not in self._selection.nodeids and self._selection.covers(test.partition("::")[0])
        ]
        if gone and not terminalreporter.config.option.no_summary:
            more = f" and {len(gone) - _FEW} more" if len(gone) > _FEW else ""
            terminalreporter.write_line(
                f"gpuprof: {self.name} has records of tests that are no longer there: {', '.join(gone[:_FEW])}{more}",
                yellow=True,
            )

    def named(self, device: DeviceInfo) -> bool:
        """Whether a stand-in was named, so that it is judged; words are those of ``--gpu-profile-devices``."""
        return any(each in (ANY, device.backend, str(device.id)) for each in self._devices)

    def note(self) -> dict[str, str]:
        """Return where the figures are from, for records that are written again."""
        document = self.document
        return {"file": self.name, **{key: document[key] for key in ("id", "created", "machine")}}


class Stored:
    """In place of a profiler: what was measured of one test elsewhere.

    Args:
        evidence: the records.
        test: the node id.
        words: names of a builder's first parameter that some backend serves.
        plan: of the run; nothing is measured by it.
        before: returns what figures were in earlier runs.
    """

    def __init__(
        self,
        evidence: Evidence,
        test: str,
        words: tuple[str, ...],
        plan: Plan,
        before: Callable[[str, Profile, Sequence[str]], Mapping[str, Baseline]],
    ) -> None:
        self._evidence = evidence
        self._test = test
        self._words = words
        self._plan = plan
        self._before = before

    def jobs(self, workload: Any, **options: Any) -> list[StoredJob]:
        """Return the profiles that were measured of a workload, one per accelerator; one without a record if none."""
        about = {name: value for name, value in options.items() if name in _OF_WORKLOADS}
        name = as_workload(workload, servants=self._words, **about).name
        found = [
            StoredJob(stored, record, self._plan)
            for (test, stored), record in self._evidence.records.items()
            if test == self._test and (stored == name or stored.startswith(f"{name}@"))
        ]
        return found or [StoredJob(name, None, self._plan)]

    def measure(
        self, job: StoredJob, budgets: Sequence[Budget], *, owner: str = "", deciding: Sequence[Budget] = ()
    ) -> Profile:
        """Return what was measured, judged by these budgets.

        Raises:
            MeasurementError: if the test failed there, and no budget was why.
        """
        file = self._evidence.name
        if job.record is None:
            why = f"{file} has no record of this test: measure again"
            cpu, gpu, reference = (Measurement.absent(leg, why, cause="no device") for leg in LEGS)
            profile = Profile(job.name, cpu, gpu, reference, stop_reason=why)
        else:
            profile = self._profile(job.record)
            if job.record.get("outcome") == "failed" and not self._failed_by_a_budget():
                raise MeasurementError(
                    f"the test failed where {file} was measured, and not by a budget; see to that, and measure again"
                )
        judged, profile = self._judged(job, profile, budgets)
        output = MissingOutput(f"{file} holds figures only")
        return replace(profile.with_verdicts(judged, tuple(each.as_written for each in budgets)), output=output)

    def out_of_time(self, job: StoredJob, budgets: Sequence[Budget]) -> Profile:
        """Return the same: looking at a record takes no time."""
        return self.measure(job, budgets)

    def require(self, job: StoredJob, known: Profile, budgets: Sequence[Budget], *, owner: str = "") -> Profile:
        """Return the profile with the verdicts of further budgets; what was not measured is unavailable."""
        judged, known = self._judged(job, known, budgets)
        written = tuple(each.as_written for each in budgets)
        return known.with_verdicts((*known.verdicts, *judged), (*known.budgets, *written))

    def _judged(
        self, job: StoredJob, profile: Profile, budgets: Sequence[Budget]
    ) -> tuple[tuple[Verdict, ...], Profile]:
        figures = dict.fromkeys(each.metric for each in budgets if each.compared is not None)
        new = [each for each in figures if each not in profile.baselines]
        if new and job.record is not None:
            before = self._before(self._test, profile, new)
            profile = replace(profile, baselines={**profile.baselines, **before})
        return judged_again(job.record or {"verdicts": ()}, profile, budgets), profile

    def _failed_by_a_budget(self) -> bool:
        """Whether a budget may be why the test failed: of any of its profiles, for the outcome is that of them all."""
        records = [record for (test, _), record in self._evidence.records.items() if test == self._test]
        return any(_may_fail(verdict) for record in records for verdict in record["verdicts"])

    def _profile(self, record: Mapping[str, Any]) -> Profile:
        profile = profile_from(record)
        device, not_judged = profile.gpu.device, ""
        if device is not None and device.kind == "stand-in" and not self._evidence.named(device):
            not_judged = (
                f"{device.id} is a stand-in ({device.why_stand_in}); name it in --gpu-profile-devices to have it judged"
            )
        legs = (self._told(profile.cpu), self._told(profile.gpu), self._told(profile.reference))
        return replace(profile, cpu=legs[0], gpu=legs[1], reference=legs[2], not_judged=not_judged, baselines={})

    def _told(self, leg: Measurement) -> Measurement:
        """Return a leg that says of a figure nobody asked for that it cannot be measured now."""
        if leg.missing.cause != "not asked for":
            return leg
        why = f"it was measured elsewhere ({self._evidence.name}), where nothing asked for it: measure again"
        return replace(leg, missing=Reading.unavailable(why, cause="not asked for"))


def _may_fail(verdict: Mapping[str, Any]) -> bool:
    return bool(verdict["enforce"]) and verdict["outcome"] != "met"
