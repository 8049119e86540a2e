"""Numbers and arrays of numpy inside a pickle, as reward functions and their notes leave them.

Numbers become plain ones. Arrays are passed over: no column that is read is one.
"""

from typing import Any

import numpy as np

from tod.formats.untrusted.pickles import Names, Opaque

_KINDS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})


class _Type(Opaque):
    """A data type by its code; its state is (version, byte order, …)."""

    def __init__(self, code: str) -> None:
        self.code = code


def _dtype(code: Any, *_: Any) -> _Type:
    return _Type(str(code))


def _encode(text: str, name: str) -> bytes:
    if name != "latin1":
        raise ValueError(f"bytes as {name!r} text")
    return text.encode("latin-1")


def _scalar(kind: Any, raw: Any) -> Any:
    """The number, of a closed list of types; little-endian, as all who write these files are."""
    order = kind.state[1] if kind.state else "<"
    if kind.code not in _KINDS or order not in ("<", "|"):
        raise ValueError(f"a number of type {order}{kind.code}")
    return np.frombuffer(raw, dtype=np.dtype(kind.code).newbyteorder("<"), count=1)[0].item()


def _array(*_: Any) -> Opaque:
    return Opaque()


NAMES: Names = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": _array,
    "_codecs.encode": _encode,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("_core", "core")},
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("_core", "core")},
}
