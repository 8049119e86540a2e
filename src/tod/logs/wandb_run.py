"""The file that W&B keeps of a run on disk, ``run-ID.wandb``: offline, or before it is sent.

W&B's package has no reader of it (0.31), so that its two documented layers are read here: LevelDB's
log format (blocks of 32 KiB; records of CRC, length and kind; the CRC is that of zlib over kind and
data), and in its records protobuf messages ``Record`` of ``wandb_internal.proto``.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tod.base import DataError
from tod.logs.json_lines import parse
from tod.logs.rows import LogRows
from tod.logs.text_lines import whole

MAGIC = b":W&B"
_HEADER = struct.Struct("<4sHB")
_BLOCK = 32768
_RECORD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# fields of wandb_internal.proto, W&B 0.31 (unchanged since 0.12)
_HISTORY = 2  # Record.history
_ITEM, _STEP = 1, 2  # HistoryRecord.item, .step
_NUMBER = 1  # HistoryStep.num
_KEY, _NESTED, _VALUE = 1, 2, 16  # HistoryItem.key, .nested_key, .value_json


def read_run_file(path: Path, rows: LogRows) -> None:
    """Add the history of a run, a row a call of ``log``.

    Raises:
        DataError: It is not such a file.
    """
    data = memoryview(whole(path))
    if len(data) < _HEADER.size or bytes(data[:4]) != MAGIC:
        raise DataError(
            f"{path}: not a W&B run file (it starts with {bytes(data[:4])!r}, and one with "
            f"{MAGIC!r}). Export the run's history as CSV, and give that."
        )
    rows.open(path)
    for number, record in enumerate(_records(data, rows), start=1):
        try:
            for field, history in _fields(record):
                if field == _HISTORY and not isinstance(history, int):
                    rows.add(number, _row(history))
        except ValueError as error:
            rows.reject(number, "record", None, f"not a record of W&B ({error})")


def _records(data: memoryview, rows: LogRows) -> Iterator[memoryview]:
    """Records in order; a damaged one is named, and reading goes on at the next block."""
    at, number = _HEADER.size, 1
    parts: list[memoryview] = []
    while at + _RECORD.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD.size:
            at += left
            continue
        check, size, kind = _RECORD.unpack_from(data, at)
        if check == size == kind == 0:  # the rest of a block that was laid out ahead
            at += left
            continue
        start, end = at + _RECORD.size, at + _RECORD.size + size
        if end > len(data):
            break
        body = data[start:end]
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != check or not _fits(data, at):
            rows.reject(number, "record", None, "damaged (its checksum does not fit)")
            parts = []
            # its length can be believed only where a record begins after it
            at = end if _fits(data, at) and _fits(data, end) else at + left
            continue
        at = end
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(body)
        if kind in (_FULL, _LAST):
            yield parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            number += 1
            parts = []
    if at < len(data) or parts:
        rows.note("the file is cut off in a record: the run still writes, or was stopped")


def _fits(data: memoryview, at: int) -> bool:
    """Whether what stands there can be the head of a record: a known kind, inside its block."""
    left = _BLOCK - at % _BLOCK
    if left < _RECORD.size or at + _RECORD.size > len(data):
        return True  # the end of a block, or of the file
    _, size, kind = _RECORD.unpack_from(data, at)
    return kind in (_FULL, _FIRST, _MIDDLE, _LAST) and size <= left - _RECORD.size


def _row(history: memoryview) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field, value in _fields(history):
        if isinstance(value, int):
            continue
        if field == _STEP:
            row["_step"] = next((n for f, n in _fields(value) if f == _NUMBER), 0)
        elif field == _ITEM:
            item = [(f, bytes(part)) for f, part in _fields(value) if not isinstance(part, int)]
            key = "/".join(part.decode() for f, part in item if f in (_KEY, _NESTED))
            text = next((part for f, part in item if f == _VALUE), b"null")
            row[key] = parse(text) if len(text) < 4096 else None  # a number is short
    return row


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and content of the fields of a protobuf message: an int, or bytes.

    Raises:
        ValueError: It is no such message.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            number, at = _varint(message, at)
            yield field, number
            continue
        size, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), at)
        if size < 0 or at + size > len(message):
            raise ValueError("a field that does not fit")
        if wire == 2:
            yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number that does not end")
