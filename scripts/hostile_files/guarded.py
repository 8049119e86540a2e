"""Memory between pages that nobody may touch: reading past a buffer ends the process."""

import ctypes
import mmap
from typing import Any

import numpy as np

CANARY = 0xCB
_LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Copies of buffers, each flush with a page that cannot be read, canary bytes before it."""

    def __init__(self) -> None:
        self.held: list[tuple[mmap.mmap, int, int]] = []

    def copy(self, raw: bytes) -> memoryview:
        """The same bytes, guarded."""
        page = mmap.PAGESIZE
        inner = max(-(-len(raw) // page), 1) * page
        region = mmap.mmap(-1, inner + 2 * page)
        start = page + inner - len(raw)
        region[page:start] = bytes([CANARY]) * (start - page)
        region[start : start + len(raw)] = raw
        anchor = ctypes.c_char.from_buffer(region)
        base = ctypes.addressof(anchor)
        del anchor
        for at in (base, base + page + inner):
            if _LIBC.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(page), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.held.append((region, base + start, len(raw)))
        return memoryview(region)[start : start + len(raw)].toreadonly()

    def owns(self, array: "np.ndarray[Any, Any]") -> bool:
        """Whether an array lies in one of the buffers, or in memory of its own."""
        base: Any = array
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        low, high = np.lib.array_utils.byte_bounds(array)
        if isinstance(base, np.ndarray):  # memory that NumPy made
            first, last = np.lib.array_utils.byte_bounds(base)
            return first <= low and high <= last
        return any(at <= low and high <= at + size for _, at, size in self.held)
