"""Work in torch: counting its FLOPs, and the yardsticks that tell what a device can do at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FlopCounter", "Yardsticks"]

_PRODUCTS: Mapping[str, tuple[str, ...]] = {"cpu": ("fp64", "fp32"), "cuda": ("fp64", "fp32", "tf32", "bf16", "fp16")}
"""The precisions in which a device type is asked for matrix products; every other type for those of a CPU and bf16."""

_DTYPES = {"fp64": "float64", "fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class FlopCounter:
    """torch's own counter: from the shapes of the operators that it knows, forward and backward."""

    name = "torch's FlopCounterMode"
    knows = "matrix products, convolutions and attention"

    def count(self, function: Callable[[], Any]) -> int:
        """Return the FLOPs of one call."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            function()
        return int(counter.get_total_flops())


class Yardsticks:
    """Copies and matrix products into memory that is there already."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device
        self.precisions = _PRODUCTS.get(device.type, (*_PRODUCTS["cpu"], "bf16"))

    def copy(self, nbytes: int) -> Callable[[], object]:
        """Return what copies that many bytes within the device."""
        # Not zeros: a host maps fresh zeros to one page, which never leaves its cache.
        source = self._torch.full((nbytes,), 1, dtype=self._torch.uint8, device=self._device)
        target = self._torch.empty_like(source)
        return lambda: target.copy_(source)

    def product(self, order: int, precision: str) -> Callable[[], object]:
        """Return what multiplies two square matrices of that order."""
        torch, dtype = self._torch, getattr(self._torch, _DTYPES[precision])
        # Random numbers: products of equal ones take less power, and a card at its power limit is faster with them.
        left, right = (torch.rand(order, order).to(device=self._device, dtype=dtype) for _ in range(2))
        target = torch.empty_like(left)
        if self._device.type != "cuda" or dtype is not torch.float32:
            return lambda: torch.mm(left, right, out=target)
        settings, wanted = torch.backends.cuda.matmul, "tf32" if precision == "tf32" else "ieee"

        def multiply() -> object:
            before, settings.fp32_precision = settings.fp32_precision, wanted
            try:
                return torch.mm(left, right, out=target)
            finally:
                settings.fp32_precision = before

        return multiply
