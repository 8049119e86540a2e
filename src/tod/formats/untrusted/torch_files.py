"""What ``torch.save`` wrote, as numpy arrays and without torch: a zip of one pickle and storages.

Entries are stored, never deflated (torch does not deflate), so a file cannot unpack to more than
its size.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.formats.untrusted.pickles import Name, Names, dictionary, load

_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("bool"),
}
_MOST_AXES = 8
_MOST_EMPTY = 1 << 20
"""Most rows of a tensor without elements: it costs nothing on disk."""


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """Bytes of one storage that the archive holds; a pickle cannot make one, only name it."""

    raw: bytes
    dtype: np.dtype[Any]
    brain: bool = False

    @property
    def count(self) -> int:
        """Whole elements in it."""
        return len(self.raw) // self.dtype.itemsize


def shape_of(value: Any) -> tuple[int, ...]:
    """Sizes or strides of a tensor.

    Raises:
        ValueError: They are not a few whole numbers, at least 0.
    """
    if type(value) not in (tuple, list) or len(value) > _MOST_AXES:
        raise ValueError("a shape that is no short tuple")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in value):
        raise ValueError("a tensor of negative extent, or one that is no number")
    if 0 in value and max(value) > _MOST_EMPTY:
        raise ValueError("a tensor of many rows without elements")
    return tuple(value)


def rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *_: Any
) -> np.ndarray[Any, np.dtype[Any]]:
    """A tensor as a read-only view of its storage, checked to lie inside it.

    Only what this archive's storages hold can be looked at: an array that the pickle made before
    is no storage. The sizes are checked in whole numbers without bound, and by NumPy again.
    """
    if type(storage) is not Storage:
        raise TypeError("a tensor over something that is no storage of this file")
    shape, strides = shape_of(size), shape_of(stride)
    if type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise ValueError("a tensor of negative extent")
    if 0 in shape:
        return np.zeros(shape, dtype=np.float32 if storage.brain else storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= storage.count or math.prod(shape) > storage.count:
        raise ValueError("a tensor that reaches beyond its storage")
    width = storage.dtype.itemsize
    view: np.ndarray[Any, np.dtype[Any]] = np.ndarray(
        shape, storage.dtype, storage.raw, offset * width, [step * width for step in strides]
    )
    return (view.astype(np.uint32) << 16).view(np.float32) if storage.brain else view


NAMES: Names = {
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "collections.OrderedDict": dictionary,
    **{f"torch.{name}": name for name in _STORAGES},
}


def is_torch_file(head: bytes) -> bool:
    """Whether the first bytes are those of a zip."""
    return head.startswith(b"PK\x03\x04")


def load_torch(source: Path | memoryview, path: Path | str, more: Names | None = None) -> Any:
    """The object that ``torch.save`` wrote; tensors are read-only arrays.

    Args:
        source: A file that is not compressed, or bytes.
        path: Its name, for messages.
        more: Further names to admit, with their stand-ins.

    Raises:
        DataError: The file is damaged, deflated, or asks for a name that is not admitted.
    """
    try:
        with _Archive(source, path) as archive:
            content = memoryview(archive.pickle)
            admitted = {**NAMES, **(more or {})}
            return load(content, admitted, path, archive.storage, archive.left)
    except DataError:
        raise
    except Exception as error:  # zipfile fails in many ways on damaged files
        raise DataError(
            f"{path}: a damaged torch file ({type(error).__name__}: {str(error)[:80]}). Copy it "
            "again, or leave it out."
        ) from None


class _Archive(zipfile.ZipFile):
    """The zip of one torch file: every byte of it is read once at most, however entries overlap."""

    def __init__(self, source: Path | memoryview, path: Path | str) -> None:
        super().__init__(source if isinstance(source, Path) else io.BytesIO(source))
        self.path = path
        self.left = source.stat().st_size if isinstance(source, Path) else len(source)
        self.known: dict[str, Storage] = {}
        pickles = [name for name in self.namelist() if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"{path}: a zip without exactly one data.pkl: not a torch file.")
        self.prefix = pickles[0].removesuffix("data.pkl")
        self.pickle = self.entry(pickles[0])

    def entry(self, name: str) -> bytes:
        """The bytes of an entry, stored as they are."""
        info = self.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(f"{self.path}: {name!r:.80} is deflated, which torch never does.")
        self.left -= info.file_size
        if self.left < 0 or info.file_size != info.compress_size:
            raise DataError(f"{self.path}: its entries say that they hold more than the file.")
        return self.read(info)

    def storage(self, identity: Any) -> Storage:
        """What a persistent id ``("storage", kind, key, location, count)`` names."""
        if type(identity) is not tuple or len(identity) != 5:
            raise TypeError("a persistent id that is no storage's")
        word, kind, key, _, _ = identity
        name = kind.stands_for if type(kind) is Name else None
        if (
            type(word) is not str
            or word != "storage"
            or type(name) is not str
            or type(key) is not str
        ):
            raise DataError(f"{self.path}: refused: a kind of outside data that is not a storage.")
        held = self.known.get(key)
        if held is None:
            raw = self.entry(f"{self.prefix}data/{key}")
            held = self.known[key] = Storage(raw, _STORAGES[name], name == "BFloat16Storage")
        elif held.dtype != _STORAGES[name]:
            raise DataError(f"{self.path}: refused: one storage under two types.")
        return held
