"""What a leg of torch works on: tensors and modules of its own, and the random numbers in them."""

from __future__ import annotations

import copy
from typing import Any

from pytest_gpuprof.backends.host import HostRandom, precision_of

__all__ = ["Arrays", "Random"]


class Arrays:
    """Tensors and modules, moved by copying."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device

    def place(self, value: Any) -> Any:
        """Return a copy on the device, so that no leg sees what another writes; other values as they are."""
        if isinstance(value, self._torch.nn.Module):
            return copy.deepcopy(value).to(self._device)  # .to() would move the caller's own module
        if isinstance(value, self._torch.Tensor):
            # Each leg gets its own copy: a callable may write into its inputs.
            moved = value.detach().to(self._device, copy=True)
            return moved.requires_grad_(value.requires_grad)
        return value

    def download(self, value: Any) -> Any:
        """Return a tensor in the host's memory."""
        return value.detach().to("cpu", copy=True) if isinstance(value, self._torch.Tensor) else value

    def host(self, value: Any) -> Any:
        """Return a tensor as a NumPy array, in a type that NumPy has."""
        if not isinstance(value, self._torch.Tensor):
            return value
        value = value.detach().to("cpu")
        if value.layout is not self._torch.strided:
            value = value.to_dense()
        if value.is_floating_point() and value.element_size() < 4:
            value = value.float()  # NumPy has no bfloat16 and no float8; `precision` remembers what it was
        return value.resolve_conj().resolve_neg().numpy()

    def precision(self, value: Any) -> float | None:
        """Return the machine epsilon of a floating-point tensor."""
        if isinstance(value, self._torch.Tensor) and (value.is_floating_point() or value.is_complex()):
            return float(self._torch.finfo(value.dtype).eps)
        return precision_of(value)  # a callable may end with .numpy()


class Random(HostRandom):
    """torch's CPU generator and the device's, besides Python's and NumPy's."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._index = None if device is None else device.index
        self._module = None if device is None else torch.get_device_module(device.type)

    def save(self) -> Any:
        """Return the state of all generators."""
        on_device = None
        if self._module is not None and hasattr(self._module, "get_rng_state"):
            on_device = self._module.get_rng_state(self._index)
        return super().save(), self._torch.get_rng_state(), on_device

    def restore(self, state: Any) -> None:
        """Go back to a state."""
        elsewhere, on_cpu, on_device = state
        super().restore(elsewhere)
        self._torch.set_rng_state(on_cpu)
        if on_device is not None and self._module is not None:
            self._module.set_rng_state(on_device, self._index)
