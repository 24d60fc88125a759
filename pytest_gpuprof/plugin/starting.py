"""The parts of a run that measures, put together: which there are, in which process, and what cannot go together."""

from __future__ import annotations

import pytest

from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin.collecting import Collected
from pytest_gpuprof.plugin.comparing import Comparing, Comparison
from pytest_gpuprof.plugin.quarantine import Quarantine, today
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.selection import Selection
from pytest_gpuprof.plugin.session import Session
from pytest_gpuprof.plugin.settings import Settings, check_exports
from pytest_gpuprof.plugin.skips import NoSkips
from pytest_gpuprof.plugin.switch import BUILTIN, SESSION, TALLY
from pytest_gpuprof.plugin.tally import NOT_UNDER_XDIST, Tally
from pytest_gpuprof.plugin.termination import Termination
from pytest_gpuprof.storage.address import NOWHERE

__all__ = ["start"]


def start(config: pytest.Config) -> None:
    """Register what measures, what shows what would be measured, or what judges what was measured elsewhere.

    Three kinds of process come here: one that does everything, and with xdist a controller, which talks to the person,
    and workers, which measure.

    Raises:
        UsageError: if a setting cannot be meant.
    """
    settings = Settings.of(config)
    _refuse_what_excludes_each_other(settings)
    register = config.pluginmanager.register
    register(Builtin(), BUILTIN)
    register(Termination(), "gpuprof-termination")
    extensions = Extensions(config.hook)
    run = Run(config, settings)
    comparing = Comparing(settings, config.rootpath, extensions.kinds, run)
    config.add_cleanup(comparing.close)
    selection = Selection(config)
    register(selection, "gpuprof-selection")
    evidence = None
    if settings.evidence:
        from pytest_gpuprof.plugin.evidence import Evidence

        evidence = Evidence(config, settings, selection)
        register(evidence, "gpuprof-evidence")
    session = Session(config, settings, extensions, run, comparing, evidence)
    measures = not (settings.workers and settings.xdist == "off") and evidence is None
    if settings.changed_since and measures:
        from pytest_gpuprof.plugin.changed import Changed

        register(Changed(config, settings.changed_since, session.measuring), "gpuprof-changed")
    if settings.plan_only:
        from pytest_gpuprof.plugin.planning import Planning

        register(Planning(settings, extensions), "gpuprof-planning")
        return
    if settings.quarantine:
        register(Quarantine(settings.quarantine, selection, today()), "gpuprof-quarantine")
    if settings.worker is None:
        comparison = Comparison(comparing, selection) if comparing.check() else None
        _register_what_tells(config, settings, extensions, run, measures, comparison)
    if not measures and evidence is None:  # the fixtures find no session, and run each workload once
        if settings.is_controller:
            register(Tally(NOT_UNDER_XDIST), TALLY)
        return
    if settings.is_controller:
        return
    register(session, SESSION)
    if settings.worker is None and measures:
        from pytest_gpuprof.plugin.planning import EnergyNotice

        register(EnergyNotice(settings, extensions), "gpuprof-energy-notice")
    if settings.strict:
        register(NoSkips(), "gpuprof-no-skips")


def _refuse_what_excludes_each_other(settings: Settings) -> None:
    if settings.strict and settings.workers and not settings.evidence:
        raise UsageError(
            "--gpu-profile-strict is for a gate, and xdist workers load the CPU that is being measured; "
            "run the gate with -n0"
        )
    if settings.plan_only and settings.workers:
        raise UsageError("--gpu-profile-plan shows the tests of one process; run it with -n0")
    if settings.evidence and (settings.plan_only or settings.changed_since):
        other = "--gpu-profile-plan" if settings.plan_only else "--gpu-profile-changed-since"
        raise UsageError(
            f"--gpu-profile-from measures nothing, so there is nothing for {other} to choose; leave one out"
        )


def _register_what_tells(
    config: pytest.Config,
    settings: Settings,
    extensions: Extensions,
    run: Run,
    measures: bool,
    comparison: Comparison | None,
) -> None:
    """Register what only the process needs that talks to the person."""
    register = config.pluginmanager.register
    check_exports(settings.exports, tuple(extensions.reports), config.invocation_params.dir)
    collected = Collected(settings, extensions, config, run, comparison.told if comparison else lambda: None)
    if settings.store != NOWHERE and measures:  # what was measured elsewhere is no run of ours
        from pytest_gpuprof.plugin.storing import Storing

        # before what collects, so that it comes after it: the last registered is the first called
        register(Storing(config, settings, run, collected), "gpuprof-storing")
    register(collected, "gpuprof-collected")
    if config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) > 0:
        from pytest_gpuprof.plugin.status import Status

        register(Status(), "gpuprof-status")
    if settings.github:
        from pytest_gpuprof.plugin.github import GitHub

        register(GitHub(collected.document, collected.pages, config.rootpath), "gpuprof-github")
    register(run, "gpuprof-run")
    if comparison is not None:
        register(comparison, "gpuprof-comparison")
