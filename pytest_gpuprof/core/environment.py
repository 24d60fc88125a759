"""Where a measurement was made: devices by name, and the facts of a machine, split into identity and state.

*Identity* is what must be equal for two measurements to be comparable (the card, its power limit, the framework's
version). *State* is what happened to be the case (temperature, load) and is kept as context only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_gpuprof.core.errors import DeviceError

__all__ = ["DeviceId", "DeviceInfo", "DeviceKind", "Environment", "Fact"]

Fact = str | int | float | bool
"""What is known of a machine, as it is stored; what is not known is the text ``"unavailable: …"``."""

DeviceKind = Literal["cpu", "gpu", "stand-in"]
"""A *stand-in* is measured in place of a GPU, so that everything runs anywhere: OpenCL on the CPU, a simulation."""

_ID = re.compile(r"([a-z][a-z0-9_]*)(?::(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class DeviceId:
    """A device by type and index, written ``cpu``, ``cuda:0``, ``opencl:0``.

    >>> str(DeviceId.parse("cuda:1"))
    'cuda:1'
    >>> str(DeviceId.parse("cpu"))
    'cpu'
    """

    type: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> DeviceId:
        """Return the device that ``text`` names; ``"cuda"`` is ``"cuda:0"``.

        Raises:
            DeviceError: if the text has another form.
        """
        match = _ID.fullmatch(text.strip())
        if match is None:
            raise DeviceError(f"{text!r} does not name a device; write it as 'cuda:0', 'opencl:0' or 'cpu'")
        return cls(match[1], int(match[2] or 0))

    def __str__(self) -> str:
        return self.type if self.type == "cpu" else f"{self.type}:{self.index}"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What is known of a device without measuring on it.

    Args:
        id: its name in options and reports.
        name: the vendor's name, e.g. ``"NVIDIA H200"``; budgets given per device match it.
        kind: ``"cpu"``, ``"gpu"`` or ``"stand-in"``.
        backend: the adapter that drives it.
        uuid: the vendor's identity, ``None`` where there is none; it ties a CUDA device to its NVML readings.
        pci_bus_id: the PCI address, the second choice for that.
        memory_bytes: its total memory, ``None`` where it has none of its own or does not tell.
        why_stand_in: for a stand-in, the word that must stand wherever a figure of it is shown.
    """

    id: DeviceId
    name: str
    kind: DeviceKind
    backend: str
    uuid: str | None = None
    pci_bus_id: str | None = None
    memory_bytes: int | None = None
    why_stand_in: str | None = None

    def __post_init__(self) -> None:
        if (self.kind == "stand-in") != (self.why_stand_in is not None):
            raise ValueError("a stand-in says why it is one, and no other device does")

    @property
    def label(self) -> str:
        """The name as shown: a stand-in carries its word on every line."""
        return self.name if self.why_stand_in is None else f"{self.name} ({self.why_stand_in})"

    @property
    def is_mig(self) -> bool:
        """Whether this is a slice of a card (multi-instance GPU)."""
        return bool(self.uuid and self.uuid.startswith("MIG-")) or " MIG " in f" {self.name} "


@dataclass(frozen=True, slots=True)
class Environment:
    """The facts of a machine.

    Args:
        identity: what must be equal for two measurements to be compared: hardware, versions, and settings that somebody
            chose (a power limit, a governor, the precision of matrix products).
        state: what happened to be the case (a temperature, the load).
    """

    identity: Mapping[str, Fact] = field(default_factory=dict)
    state: Mapping[str, Fact] = field(default_factory=dict)

    def __or__(self, other: Environment) -> Environment:
        """Return the facts of both; where both know one, that of ``other``.

        >>> (Environment({"cpu": "x"}) | Environment({"gpu": "y"}, {"load": 1})).identity
        {'cpu': 'x', 'gpu': 'y'}
        """
        return Environment({**self.identity, **other.identity}, {**self.state, **other.state})
