"""What ``torch.save`` wrote, as numpy arrays and without torch: a zip of one pickle and storages.

Entries are stored, never deflated (torch does not deflate), so a file cannot unpack to more than
its size.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.formats.untrusted.pickles import Names, load

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


class _Kind:
    """A storage class by name; never called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> Any:
        raise DataError(f"refused: the pickle builds a {self.name} by itself.")


def rebuild_tensor(
    storage: Any, offset: int, size: Any, stride: Any, *_: Any
) -> np.ndarray[Any, np.dtype[Any]]:
    """A tensor as a view of its storage, checked to lie inside it."""
    array, name = storage
    shape, strides = tuple(map(int, size)), tuple(map(int, stride))
    if offset < 0 or any(s < 0 for s in (*shape, *strides)) or len(shape) != len(strides):
        raise ValueError("a tensor of negative extent")
    if math.prod(shape) > max(len(array), 1):
        raise ValueError("a tensor larger than its storage")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, dtype=np.float64)
    if last >= len(array):
        raise ValueError("a tensor that reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(
        array[offset:], shape, [step * array.itemsize for step in strides], writeable=False
    )
    if name == "BFloat16Storage":
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view


def _ordered(*items: Any) -> dict[Any, Any]:
    return dict(*items)


NAMES: Names = {
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "collections.OrderedDict": _ordered,
    **{f"torch.{name}": _Kind(name) for name in _STORAGES},
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
        archive = zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source))
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"{path}: a zip without exactly one data.pkl: not a torch file.")
        prefix = pickles[0].removesuffix("data.pkl")
        content = _entry(archive, pickles[0], path)
        admitted = {**NAMES, **(more or {})}
        return load(memoryview(content), admitted, path, _Storages(archive, prefix, path))
    except DataError:
        raise
    except Exception as error:  # zipfile fails in many ways on damaged files
        raise DataError(
            f"{path}: a damaged torch file ({type(error).__name__}: {str(error)[:80]}). Copy it "
            "again, or leave it out."
        ) from None


class _Storages:
    """Persistent ids: ``("storage", kind, key, location, count)``."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, path: Path | str) -> None:
        self.archive = archive
        self.prefix = prefix
        self.path = path
        self.known: dict[str, Any] = {}

    def __call__(self, identity: Any) -> Any:
        word, kind, key, _, _ = identity
        if word != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str):
            raise DataError(f"{self.path}: refused: a kind of outside data that is not a storage.")
        if key not in self.known:
            raw = _entry(self.archive, f"{self.prefix}data/{key}", self.path)
            dtype = _STORAGES[kind.name]
            usable = len(raw) - len(raw) % dtype.itemsize
            self.known[key] = (np.frombuffer(raw[:usable], dtype=dtype), kind.name)
        return self.known[key]


def _entry(archive: zipfile.ZipFile, name: str, path: Path | str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise DataError(f"{path}: {name} is deflated, which torch never does: refused.")
    return archive.read(info)
