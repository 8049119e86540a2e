"""Page headers of a Parquet file, checked before the decoder trusts them.

The decoder allocates what a page header asks for and ends the process when that fails (a negative
count becomes 2^61 bytes). So every header is read here first: a few hundred small structs in
Thrift's compact protocol, whatever the size of the file. Source: the Parquet format, thrift file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tod.base import DataError

_MAGIC = b"PAR1"
_MOST_FOOTER = 256 << 20
_HEADER = 1 << 16
_DEPTH = 24
# field numbers of the structs that are read
_ROW_GROUPS, _FILE_ROWS = 4, 3
_COLUMNS, _GROUP_ROWS = 1, 3
_META = 3
_VALUES, _PACKED, _DATA_AT, _DICTIONARY_AT = 5, 7, 9, 11
_PAGE_PACKED, _PAGE_PLAIN = 3, 2
_PAGE_KINDS = (5, 7, 8)
_DICTIONARY = 7


class Damaged(ValueError):
    """What is wrong with the file."""


def check(path: Path) -> None:
    """Refuse a file whose headers contradict each other or the file's size.

    Raises:
        DataError: It is damaged, with what is wrong.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            for chunk, rows in _chunks(_footer(file, size)):
                _check_chunk(file, chunk, rows, size)
    except (Damaged, IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, Damaged) else "its metadata is not whole"
        raise DataError(
            f"{path}: cannot be read as Parquet ({why}). It is damaged or was not written to its "
            "end: copy it again, or leave it out."
        ) from None


def _footer(file: BinaryIO, size: int) -> dict[int, Any]:
    if size < 12:
        raise Damaged("too short")
    file.seek(size - 8)
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > min(size - 12, _MOST_FOOTER):
        raise Damaged("no footer at its end")
    file.seek(size - 8 - length)
    return _Thrift(file.read(length)).struct()


def _chunks(footer: dict[int, Any]) -> Iterator[tuple[dict[int, Any], int]]:
    total = 0
    for group in footer[_ROW_GROUPS]:
        rows = group[_GROUP_ROWS]
        if rows < 0:
            raise Damaged(f"a row group of {rows} rows")
        total += rows
        for column in group[_COLUMNS]:
            yield column[_META], rows
    if total != footer[_FILE_ROWS]:
        raise Damaged(f"{total} rows in row groups, {footer[_FILE_ROWS]} in the file")


def _check_chunk(file: BinaryIO, chunk: dict[int, Any], rows: int, size: int) -> None:
    """The pages of one column of one row group lie in the file and hold the values promised."""
    if rows == 0 and chunk[_VALUES] == 0:
        return
    starts = [chunk[_DATA_AT]]
    if chunk.get(_DICTIONARY_AT):
        starts.append(chunk[_DICTIONARY_AT])
    at = start = min(starts)
    end = start + chunk[_PACKED]
    if not 0 < start <= end <= size or chunk[_VALUES] < rows:
        raise Damaged("a column that does not lie in the file, or lacks values")
    values = 0
    while at < end:
        file.seek(at)
        reader = _Thrift(file.read(min(_HEADER, end - at)))
        page = reader.struct()
        at += reader.at + page[_PAGE_PACKED]
        kind = next((k for k in _PAGE_KINDS if k in page), None)
        counts = [] if kind is None else [v for v in page[kind].values() if type(v) is int]
        if page[_PAGE_PACKED] < 0 or page[_PAGE_PLAIN] < 0 or any(n < 0 for n in counts):
            raise Damaged("a page of negative size")
        if kind is not None and kind != _DICTIONARY:
            values += page[kind][1]
    if at != end or values != chunk[_VALUES]:
        raise Damaged(f"pages of {values} values where {chunk[_VALUES]} are promised")


class _Thrift:
    """A reader of Thrift's compact protocol: structs as dictionaries by field number."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """One struct, its fields by number."""
        if depth > _DEPTH:
            raise Damaged("metadata nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15, depth, inside=False)

    def _value(self, kind: int, depth: int, *, inside: bool) -> Any:
        if kind in (1, 2):
            return self._byte() == 1 if inside else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise Damaged(f"metadata with an unknown kind of field ({kind})")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self.data) - self.at:
            raise Damaged("a list longer than its file")
        return [self._value(head & 15, depth + 1, inside=True) for _ in range(count)]

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Damaged("a text longer than its file")
        self.at += count
        return self.data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise Damaged("a number that never ends")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
