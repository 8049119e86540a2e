"""Numbers and arrays of NumPy inside a pickle, as reward functions and their notes leave them.

Numbers become plain ones. Arrays are passed over: no column that is read is one.
"""

from typing import Any

import numpy as np

from tod.formats.untrusted.pickles import Names, Opaque

_KINDS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})


def encode(text: Any, name: Any) -> bytes:
    """Bytes as protocol 2 writes them."""
    if type(text) is not str or type(name) is not str:
        raise TypeError("bytes that are made of no text")
    if name != "latin1":
        raise ValueError(f"bytes as {name!r:.40} text")
    return text.encode("latin-1")


def _scalar(kind: Any, raw: Any) -> Any:
    """The number, of a closed list of types; the state of a type is (version, byte order, …)."""
    if type(kind) is not Opaque or type(raw) not in (bytes, memoryview):
        raise TypeError("a NumPy number that is not a type and bytes")
    order = kind.state[1] if type(kind.state) is tuple and len(kind.state) > 1 else "<"
    if kind.code not in _KINDS or type(order) is not str or order not in "<|>":
        raise ValueError(f"a NumPy number of type {kind.code:.20}")
    dtype = np.dtype(kind.code).newbyteorder(">" if order == ">" else "<")
    return np.frombuffer(raw, dtype=dtype, count=1)[0].item()


NAMES: Names = {
    "numpy.dtype": Opaque,
    "numpy.ndarray": Opaque,
    "_codecs.encode": encode,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("_core", "core")},
    **{f"numpy.{core}.multiarray._reconstruct": Opaque for core in ("_core", "core")},
}
