"""What every export reads: the workloads of a run document, each with its figures and the words these carry.

A word (*simulated*, *derived*, *OpenCL on the CPU*) is part of a figure: no format may drop it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.budgets.figures import Figure, figures_of, kinds_by_figure
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement
from pytest_gpuprof.reports.rows import Row
from pytest_gpuprof.storage.codec import profile_from

__all__ = ["ShownFigure", "Workload", "measurement_of", "stand_in_of", "test_of", "workloads"]

_GROUP = re.compile(r"@[^\]@:]*$")
"""What xdist's loadgroup appends to a node id: the same test without xdist does not have it."""


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """A figure with all that must be told beside it.

    Args:
        name: as its budget without ``min_`` or ``max_``.
        unit: its base unit; empty for a figure that a hook brought.
        leg: the leg it is of, ``None`` for a ratio.
        figure: value, interval, rounds and quality.
        stand_in: why its device is no GPU, empty where it is one.
        device: the device's id.
        device_name: the device's name.
    """

    name: str
    unit: str
    leg: str | None
    figure: Figure
    stand_in: str
    device: str
    device_name: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words that must stand beside it, each once."""
        quality = () if self.figure.quality == "measured" else (str(self.figure.quality),)
        return tuple(dict.fromkeys((*quality, *filter(None, [self.stand_in]))))


@dataclass(frozen=True, slots=True)
class Workload:
    """One profile of one test.

    Args:
        test: node id, without what xdist appends.
        record: as it is in the document.
        profile: the same, readable.
        many: whether the test has several profiles, so that its name must say which.
    """

    test: str
    record: Mapping[str, Any]
    profile: Profile
    many: bool

    @property
    def outcome(self) -> str:
        """Outcome of the test, empty outside pytest."""
        return str(self.record.get("outcome", ""))

    @property
    def row(self) -> Row:
        """The same for the table."""
        return Row(self.test or self.profile.name, self.outcome, self.profile, self.many and bool(self.test))

    @property
    def figures(self) -> Sequence[ShownFigure]:
        """Every figure that was measured."""
        return list(self._figures())

    def _figures(self) -> Iterator[ShownFigure]:
        stored = self.record.get("figures")
        found = figures_of(self.profile) if stored is None else {name: _figure(each) for name, each in stored.items()}
        kinds = kinds_by_figure()
        for name, figure in found.items():
            kind = kinds.get(name)
            leg = None if kind is None else kind.leg
            device = measurement_of(self.profile, leg).device
            yield ShownFigure(
                name,
                "" if kind is None else kind.unit,
                leg,
                figure,
                stand_in_of(device),
                "" if device is None else str(device.id),
                "" if device is None else device.name,
            )


def measurement_of(profile: Profile, leg: str | None) -> Measurement:
    """Return a leg of a profile; a ratio is about the accelerator."""
    return {"cpu": profile.cpu, "reference": profile.reference}.get(leg or "gpu", profile.gpu)


def stand_in_of(device: DeviceInfo | None) -> str:
    """Return the word that a device's figures carry; the CPU of a simulated machine is as simulated as its GPU."""
    if device is None:
        return ""
    return device.why_stand_in or ("simulated" if device.backend == "simulated" else "")


def _figure(stored: Mapping[str, Any]) -> Figure:
    interval = stored.get("interval")
    return Figure(
        float(stored["value"]),
        None if interval is None or None in interval else (float(interval[0]), float(interval[1])),
        int(stored.get("rounds", 0)),
        stored.get("quality", "measured"),
    )


def test_of(node_id: str) -> str:
    """Return a test's node id without what xdist appends.

    >>> test_of("test_a.py::test_a[1]@slow")
    'test_a.py::test_a[1]'
    """
    return _GROUP.sub("", node_id)


def workloads(document: Mapping[str, Any]) -> list[Workload]:
    """Return the workloads of a run in their order; of a test that was repeated, what its last attempt measured.

    Raises:
        UsageError: for a record of another schema, or a damaged one.
    """
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for record in document["records"]:
        key = test_of(record["test"]), record["name"]
        if key not in last or record["attempt"] >= last[key]["attempt"]:
            last[key] = record
    tests = [test for test, _ in last]
    several = {test for test in set(tests) if tests.count(test) > 1} if len(set(tests)) < len(tests) else set()
    return [Workload(test, record, profile_from(record), test in several) for (test, _), record in last.items()]
