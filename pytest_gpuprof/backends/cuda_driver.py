"""What the CUDA driver tells of a device, for frameworks that do not pass it on.

By ctypes: the library is the driver's own, loaded already by whatever drives the device, and nothing has to be
installed for it.
"""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ["identity_of"]

_LIBRARY = "libcuda.so.1"


def identity_of(ordinal: int, library: str = _LIBRARY) -> tuple[str | None, str | None, int | None]:
    """Return a device's UUID and PCI address as NVML writes them, and its bytes of memory; ``None`` if not told.

    Args:
        ordinal: as CUDA counts, after ``CUDA_VISIBLE_DEVICES``.
        library: the driver.
    """
    try:
        driver: Any = ctypes.CDLL(library)
        device = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), ordinal):
            return None, None, None
        raw, pci, memory = (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(32), ctypes.c_size_t()
        # The second version knows the instances of a divided card (MIG), where the first names the whole card.
        uuid = None if driver.cuDeviceGetUuid_v2(raw, device) else _uuid_text(bytes(raw).hex())
        address = None if driver.cuDeviceGetPCIBusId(pci, len(pci), device) else _pci_text(pci.value.decode())
        told = driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device) == 0
    except (OSError, AttributeError):  # no driver, or one without these functions
        return None, None, None
    return uuid, address, memory.value if told else None


def _uuid_text(digits: str) -> str:
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _pci_text(address: str) -> str:
    """Return the address with eight digits of domain, as NVML writes it; the driver gives four."""
    domain, _, rest = address.partition(":")
    return f"{domain:>08}:{rest}".upper()
