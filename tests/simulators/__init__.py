"""Stand-ins for hardware and drivers, so that the whole project can be tested on a machine without a GPU."""

from __future__ import annotations

__all__ = ["SimulatorUnavailable"]


class SimulatorUnavailable(RuntimeError):
    """A simulator cannot be built or loaded on this machine; the message says what is missing."""
