"""Help PoCL build kernels on a processor that is newer than its LLVM.

PoCL asks LLVM for the processor's name. An LLVM that does not know the processor says ``generic``, which its own
compiler then refuses: every build fails with *unknown target CPU 'generic'* (pocl issue 1049). The name stands in
PoCL's record of the device, so it can be corrected there before the first build.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from pathlib import Path
from typing import Any

__all__ = ["name_unknown_processor"]

_RECORD_BYTES = 2048
"""How far into PoCL's device record to look; the name stood at byte 640 in PoCL 3.0."""

_LEVEL = ctypes.create_string_buffer(b"x86-64-v3")
"""The x86-64 psABI level with AVX2 and FMA, which every processor too new for LLVM 14 has. Must outlive the device."""


def name_unknown_processor(device: Any) -> bool:
    """Give ``device`` (a ``pyopencl.Device``) a processor name if it is a PoCL device that has none.

    Only a pointer whose target is exactly ``"generic"`` is replaced, so a record of another shape is left alone.

    Returns:
        Whether a name was given.
    """
    is_pocl = "PoCL" in device.version and device.version.endswith("-generic")
    if not is_pocl or platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    record = device.int_ptr
    try:
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:  # a bad address is an error, not a crash
            memory.seek(record)
            words = struct.unpack(f"<{_RECORD_BYTES // 8}Q", memory.read(_RECORD_BYTES))
            for position, word in enumerate(words):
                if _points_at_generic(memory, word):
                    ctypes.c_uint64.from_address(record + 8 * position).value = ctypes.addressof(_LEVEL)
                    return True
    except (OSError, ValueError, struct.error):
        return False
    return False


def _points_at_generic(memory: Any, address: int) -> bool:
    if not 0x1000 <= address < 1 << 47:  # user space
        return False
    try:
        memory.seek(address)
        return bool(memory.read(8) == b"generic\0")
    except OSError:
        return False
