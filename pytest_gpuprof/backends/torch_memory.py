"""Memory of torch's caching allocators."""

from __future__ import annotations

from typing import Any

__all__ = ["UNCACHED", "Memory"]

UNCACHED = ("PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_NO_HIP_MEMORY_CACHING")
"""With one of these in the environment, whatever its value, torch asks the driver for each tensor, uncounted."""


class Memory:
    """The caching allocator: *allocated* is live tensors and repeats exactly, *reserved* is what it keeps.

    Both are told by CUDA's own ``cudaMallocAsync`` too, which counts nothing else: zeros stand there for no figure.
    """

    def __init__(self, torch: Any, kind: str, index: int) -> None:
        self._api = torch.accelerator
        self._index = index
        self._counts_events = kind != "cuda" or torch.cuda.memory.get_allocator_backend() == "native"

    def live_bytes(self) -> int:
        """Return the bytes of live tensors."""
        return int(self._api.memory_allocated(self._index))

    def reset_peak(self) -> None:
        """Begin a new peak, with an empty cache."""
        # Only an empty cache makes a figure repeat: a block that is found in it may be up to 1 MiB larger than needed.
        self._api.empty_cache()
        self._api.reset_peak_memory_stats(self._index)

    def peak_bytes(self) -> int:
        """Return the most bytes that were live since :meth:`reset_peak`."""
        return int(self._api.max_memory_allocated(self._index))

    def reserved_bytes(self) -> int | None:
        """Return what it keeps from the driver."""
        return int(self._api.memory_reserved(self._index))

    def free_bytes(self) -> int | None:
        """Return what the driver has left, ``None`` where torch or the driver does not tell."""
        if not hasattr(self._api, "get_memory_info"):  # torch 2.9
            return None
        try:
            return int(self._api.get_memory_info(self._index)[0])
        except (RuntimeError, NotImplementedError):  # an accelerator whose driver does not tell
            return None

    def flushes(self) -> int | None:
        """Return how often it gave its cache back because the device was full, ``None`` where it does not count."""
        count = self._api.memory_stats(self._index).get("num_alloc_retries") if self._counts_events else None
        return None if count is None else int(count)
