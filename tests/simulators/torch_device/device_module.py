"""The module that becomes ``torch.simgpu``, as ``torch.cuda`` is the module of CUDA devices.

torch looks for these functions by name: for ``torch.accelerator``, ``torch.manual_seed``, ``torch.random.fork_rng``,
``torch.load`` and ``torch.utils.checkpoint``. It can be imported once the device is registered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch.accelerator import (
    empty_cache,
    get_memory_info,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_peak_memory_stats,
    set_stream,
    synchronize,
)

__all__ = [
    "Event",
    "Stream",
    "current_device",
    "current_stream",
    "default_generators",
    "device",
    "device_count",
    "empty_cache",
    "get_amp_supported_dtype",
    "get_device_name",
    "get_memory_info",
    "get_rng_state",
    "get_rng_state_all",
    "initial_seed",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_device",
    "set_rng_state",
    "set_rng_state_all",
    "set_stream",
    "synchronize",
]

DeviceLike: TypeAlias = "torch.device | str | int"

_initialized = True  # Asked by torch.utils.checkpoint, to know that there is a random state to keep.

Event = torch.Event
Stream = torch.Stream

DEVICE_COUNT = 2
CLOCK_HZ = 1.5e9
default_generators: tuple[torch.Generator, ...] = tuple(
    torch.ops.simgpu.default_generator(index) for index in range(DEVICE_COUNT)
)


def is_available() -> bool:
    """Whether there is a device: always, once the simulator is loaded."""
    return True


def is_initialized() -> bool:
    """Whether the device can be used without further preparation: always."""
    return True


def _is_in_bad_fork() -> bool:
    """Whether a fork broke the device: never, a forked process has a device of its own in the parent's state."""
    return False


def device_count() -> int:
    """Number of simulated devices."""
    return DEVICE_COUNT


def current_device() -> int:
    """Index of this thread's device."""
    return int(torch.accelerator.current_device_index())


def set_device(device: DeviceLike) -> None:
    """Make ``device`` this thread's device."""
    torch.accelerator.set_device_index(_index(device))


@contextlib.contextmanager
def device(device: DeviceLike | None) -> Iterator[None]:
    """Make ``device`` this thread's device for a while; None leaves it as it is."""
    with torch.accelerator.device_index(None if device is None else _index(device)):
        yield


def current_stream(device: DeviceLike | None = None) -> torch.Stream:
    """This thread's stream on ``device``, or on its current device."""
    return torch.accelerator.current_stream(None if device is None else _index(device))


def get_device_name(device: DeviceLike | None = None) -> str:
    """Name that tells a reader of a report that no GPU was measured."""
    return "Simulated GPU"


def _sleep(cycles: int) -> None:
    """Keep the current stream busy for so many cycles of its clock, as ``torch.cuda._sleep`` does."""
    torch.ops.simgpu.busy(cycles / CLOCK_HZ, current_device(), current_stream().stream_id)


def get_amp_supported_dtype() -> list[torch.dtype]:
    """Types that ``torch.autocast("simgpu")`` may compute in: none, so that it warns and changes nothing."""
    return []


def manual_seed(seed: int) -> None:
    """Seed the current device's default generator."""
    default_generators[current_device()].manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed every device's default generator; ``torch.manual_seed`` calls this."""
    for generator in default_generators:
        generator.manual_seed(seed)


def initial_seed() -> int:
    """Seed of the current device's default generator."""
    return int(default_generators[current_device()].initial_seed())


def get_rng_state(device: DeviceLike = "simgpu") -> torch.Tensor:
    """State of the default generator of ``device``."""
    return default_generators[_index(device)].get_state()


def set_rng_state(new_state: torch.Tensor, device: DeviceLike = "simgpu") -> None:
    """Restore what ``get_rng_state`` returned."""
    default_generators[_index(device)].set_state(new_state)


def get_rng_state_all() -> list[torch.Tensor]:
    """State of the default generator of every device."""
    return [generator.get_state() for generator in default_generators]


def set_rng_state_all(new_states: list[torch.Tensor]) -> None:
    """Restore what ``get_rng_state_all`` returned."""
    for generator, state in zip(default_generators, new_states, strict=True):
        generator.set_state(state)


def _index(device: DeviceLike) -> int:
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return current_device() if index is None else index
