"""Run files of W&B, written as LevelDB's page on its log format and W&B's proto file say."""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping

BLOCK = 32768


def field(number: int, content: bytes) -> bytes:
    """A field of bytes of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number in groups of seven bits, lowest first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def history(row: Mapping[str, object]) -> bytes:
    """A ``Record`` with the history of one call of ``log``."""
    items = [
        field(1, field(2, key.encode()) + field(16, json.dumps(value).encode()))
        for key, value in row.items()
    ]
    return field(2, b"".join(items))


def run_file(rows: Iterable[Mapping[str, object]]) -> bytes:
    """The file of a run; records that cross a block's end are cut in parts."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for body in map(history, rows):
        first = True
        while body or first:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                continue
            part, body = body[: left - 7], body[left - 7 :]
            kind = (2 if body else 1) if first else (3 if body else 4)
            check = zlib.crc32(part, zlib.crc32(bytes([kind])))
            out += struct.pack("<IHB", check, len(part), kind) + part
            first = False
    return bytes(out)
