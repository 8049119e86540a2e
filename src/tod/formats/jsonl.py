"""Typed JSON lines: only the needed fields are decoded, and a bad line says which field is bad."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tod.formats.columns import Rows
from tod.formats.files import MAX_LINE, Chunk, chunks

Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A step, a place or a token id: what a double and eight bytes hold exactly."""
Count = Annotated[int, msgspec.Meta(ge=-(2**31) + 1, le=2**31 - 1)]
"""A length or a policy version: four bytes."""
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""A length, or versions behind: four bytes, never below 0."""
_SMALL = 1 << 15
"""Bytes of a chunk where the first lines tell."""
_FEW = 16
"""Lines that a small chunk holds."""
_LOOKED_AT = 16
"""Small chunks that are looked at for an object."""
NOT_UTF8 = "not UTF-8 text"
_WHERE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_LACKS = re.compile(r"missing required field `(.*?)`")
_TYPES = re.compile(r"Expected ([\w |]+), got (\w+)")
_JSON = {"float": "a number", "int": "a whole number", "str": "text", "array": "a list"}
_JSON |= {"object": "an object", "bool": "true or false", "null": "null"}
_ODD = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_HALF = re.compile(r"[\ud800-\udfff]")


def field_of(error: Exception) -> tuple[str, str]:
    """The field that a decoding error complains about, and the complaint."""
    match = _WHERE.match(str(error))
    why, place = (match[1], match[2] or "") if match else (str(error), "")
    lacks = _LACKS.search(why)
    if lacks:
        return ".".join(part for part in (place, lacks[1]) if part), "missing"
    return place or "line", _plainly(why.replace("`", ""))


def _plainly(why: str) -> str:
    """What is there and what is wanted, where the decoder says it in names of types.

    >>> _plainly("Expected bool | float | null, got array")
    'a list where a number is wanted'
    """
    said = _TYPES.fullmatch(why)
    if said is None:
        return why
    wanted = [name for name in said[1].split(" | ") if name != "null"]
    if set(wanted) <= {"bool", "int", "float"}:
        wanted = ["int"] if wanted == ["int"] else ["float"]
    known = {name: _JSON.get(name, name) for name in (*wanted, said[2])}
    return f"{known[said[2]]} where {' or '.join(known[name] for name in wanted)} is wanted"


class Lines:
    """A decoder of lines as rows of one type."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        decoder = msgspec.json.Decoder(kind)
        self.decode: Callable[[bytes], Any] = decoder.decode
        self.decode_lines: Callable[[bytes], list[Any]] = decoder.decode_lines

    def convert(self, loose: Any) -> Any:
        """A line that the standard library decoded."""
        return msgspec.convert(_nameable(loose), self.kind, strict=True)


class ColumnLines(Lines):
    """The same for columns whose names are data: rows have the attributes c0, c1, … of their type.

    A name with a quote, a backslash, a control character or half of a surrogate pair is legal JSON,
    and msgspec has no struct for it: such lines are decoded whole, and their columns picked.
    """

    def __init__(self, fields: Sequence[tuple[str, Any, bool]]) -> None:
        """Columns, each with its type and whether a row must have it."""
        self.columns = {f"c{place}": column for place, (column, _, _) in enumerate(fields)}
        typed = [
            (f"c{place}", kind) if needed else (f"c{place}", kind, None)
            for place, (_, kind, needed) in enumerate(fields)
        ]
        self.raw = {field[0] for field in typed if field[1] is msgspec.Raw}
        self.odd = any(_ODD.search(column) for column in self.columns.values())
        rename = {} if self.odd else self.columns
        super().__init__(
            msgspec.defstruct("Row", sorted(typed, key=len), rename=rename, kw_only=True, gc=False)
        )
        if self.odd:
            self._fields = self.decode
            self._whole = msgspec.json.Decoder(dict[str, msgspec.Raw])
            self.decode = lambda line: self._picked(self._whole.decode(line))
            self.decode_lines = lambda data: [*map(self._picked, self._whole.decode_lines(data))]

    def _picked(self, row: Mapping[str, msgspec.Raw]) -> Any:
        known = {c: row[name] for c, name in self.columns.items() if name in row}
        line = b",".join(b'"%s":%s' % (c.encode(), bytes(raw)) for c, raw in known.items())
        try:
            return self._fields(b"{%s}" % line)
        except msgspec.ValidationError as error:
            raise self._named(error) from None

    def convert(self, loose: Any) -> Any:
        """A line that the standard library decoded."""
        if not isinstance(loose, dict):
            return super().convert(loose)
        known = {}
        for c, name in self.columns.items():
            if name in loose:
                value = loose[name]
                raw = msgspec.Raw(json.dumps(value).encode()) if c in self.raw else value
                known[c if self.odd else name] = raw
        try:
            return super().convert(known)
        except msgspec.ValidationError as error:
            raise self._named(error) from None

    def _named(self, error: msgspec.ValidationError) -> msgspec.ValidationError:
        """The same complaint with the file's own name of the column."""
        place, why = field_of(error)
        first, *rest = re.split(r"(?=[.\[])", place, maxsplit=1)
        named = self.columns.get(first, first) + "".join(rest)
        return msgspec.ValidationError(f"{why} - at `$.{named}`")


def decode_blocks(
    path: Path, kind: Any, rows: Rows, wide: Lines | None = None
) -> Iterator[tuple[Sequence[int], list[Any]]]:
    """Line numbers and decoded rows of the type ``kind``, or of ``Lines``, a block at a time.

    A block in which every line is good is decoded in one call; otherwise line by line, and bad
    lines are rejected by field. A line that is not strict JSON is read once more the way Python
    writes it: NaN and Infinity in fields that nobody needs are no reason to lose the row. Blocks
    that ``wide`` can decode, which asks for more fields, are of its type: what is wrong with the
    further fields is no reason either.

    A DataError says: the file is not text, or its compression is damaged.
    """
    decoder = kind if isinstance(kind, Lines) else Lines(kind)
    for chunk in chunks(path):
        if chunk.overlong:
            rows.reject(path, chunk.first, "line", None, f"longer than {MAX_LINE >> 20} MiB")
            continue
        yield _of_chunk(path, chunk, decoder, rows, wide)


def _of_chunk(
    path: Path, chunk: Chunk, decoder: Lines, rows: Rows, wide: Lines | None = None
) -> tuple[Sequence[int], list[Any]]:
    count = chunk.breaks + chunk.torn
    for lines in (decoder,) if wide is None else (wide, decoder):
        try:
            items = lines.decode_lines(chunk.data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            continue
        if len(items) == count:
            return range(chunk.first, chunk.first + count), items
    return _line_by_line(path, chunk, decoder, rows)


def first_rows(path: Path, kind: Any, count: int) -> list[Any]:
    """The first good rows of a file, decoded; what is wrong with others is not told."""
    decoder, unseen = Lines(kind), Rows()
    read = (_of_chunk(path, chunk, decoder, unseen)[1] for chunk in chunks(path, _SMALL))
    return [*islice(chain.from_iterable(read), count)]


def decode_lines(path: Path, kind: Any, rows: Rows) -> Iterator[tuple[int, Any]]:
    """The same one row at a time, for formats whose rows are large."""
    for numbers, items in decode_blocks(path, kind, rows):
        yield from zip(numbers, items, strict=True)


def _line_by_line(
    path: Path, chunk: Chunk, decoder: Lines, rows: Rows
) -> tuple[list[int], list[Any]]:
    numbers: list[int] = []
    items: list[Any] = []
    for number, line, whole in chunk.lines():
        value: object = None
        try:
            items.append(decoder.decode(line))
            numbers.append(number)
            continue
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            problem: Exception = error
        try:
            loose = _loosely(line)
            items.append(decoder.convert(loose))
            numbers.append(number)
            continue
        except msgspec.ValidationError as error:
            problem, value = error, _value_at(loose, field_of(error)[0])
        except (ValueError, RecursionError):
            pass
        _refuse(path, number, line, problem, value, whole, rows)
    return numbers, items


def _refuse(
    path: Path, number: int, line: bytes, problem: Exception, value: object, whole: bool, rows: Rows
) -> None:
    if isinstance(problem, msgspec.ValidationError):
        name, why = field_of(problem)
        rows.reject(path, number, name, value, why)
    elif not whole:
        rows.torn += 1
        rows.reject(path, number, "line", None, "torn last line: the writer was stopped in it")
    elif isinstance(problem, RecursionError):
        rows.reject(path, number, "line", None, "nested too deep")
    elif isinstance(problem, UnicodeDecodeError):
        rows.reject(path, number, "line", _not_utf8(line), NOT_UTF8)
    else:
        rows.reject(path, number, "line", None, f"not JSON ({str(problem)[:80]})")


def _not_utf8(line: bytes) -> bytes:
    """The bytes around the first that is not UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return line[max(error.start - 12, 0) : error.start + 12]
    return line[:24]


def _loosely(line: bytes) -> Any:
    """JSON as Python writes it, with NaN and Infinity."""
    if len(line) > MAX_LINE // 8:
        raise ValueError("too long for the slow path")
    return json.loads(line)


def _nameable(loose: Any) -> Any:
    """An object without the names that hold half of a surrogate pair, which no type can have."""
    if not isinstance(loose, dict) or not any(map(_ODD.search, loose)):
        return loose
    return {name: value for name, value in loose.items() if not _HALF.search(name)}


def _value_at(data: Any, path: str) -> object:
    """The value at a dotted path of an error, ``rewards[...]`` included; names may hold dots."""
    if isinstance(data, dict) and path in data:
        return data[path]
    parts = path.replace("[...]", ".0").replace("[", ".").replace("]", "").split(".")
    while parts and data is not None:
        used = 1
        if isinstance(data, dict):
            ends = (n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in data)
            used = next(ends, 1)
            data = data.get(".".join(parts[:used]))
        elif isinstance(data, list):
            at = parts[0]
            data = data[int(at)] if at.isdigit() and int(at) < len(data) else None
        parts = parts[used:]
    return data


def first_object(path: Path) -> dict[str, msgspec.Raw] | None:
    """The top level of the first line that is a JSON object, values undecoded; None without."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    for chunk in islice(chunks(path, _SMALL), _LOOKED_AT):
        for _, line, _ in chunk.lines():
            try:
                return decode(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                loose = _first_loose(line)
            if loose is not None:
                return loose
    return None


def why_no_object(path: Path) -> str:
    """What the first line holds in the place of an object, for people."""
    chunk = next(iter(chunks(path)), None)
    if chunk is not None and chunk.overlong:
        return (
            f"{path}: line {chunk.first} is longer than {MAX_LINE >> 20} MiB, more than any format "
            "writes for one rollout. Were the newlines lost?"
        )
    number, line, _ = next(chunk.lines(), (0, b"", True)) if chunk is not None else (0, b"", True)
    if not number:
        return f"{path}: nothing but blank lines."
    try:
        held = _loosely(line)
    except RecursionError:
        return f"{path}: line {number} is nested too deep to be a rollout."
    except UnicodeDecodeError:
        return f"{path}: line {number} is not UTF-8 text. Convert it, for instance with `iconv`."
    except ValueError as error:
        return f"{path}: line {number} is not JSON ({error}). One object a line is expected."
    if isinstance(held, list):
        return (
            f"{path}: line {number} is a JSON array; one object a line is expected. For an array "
            "of objects: `jq -c '.[]' FILE > FILE.jsonl`."
        )
    return f"{path}: line {number} is {str(held)[:40]!r}; one JSON object a line is expected."


def first_keys(path: Path, most: int = 1000) -> list[str]:
    """Names in the first objects of a file: a row may lack what others have."""
    found: dict[str, None] = {}
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    read = chunks(path, _SMALL) if most < _FEW else chunks(path)
    for tried, (_, line, _) in enumerate(line for chunk in read for line in chunk.lines()):
        try:
            found.update(dict.fromkeys(decode(line)))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            found.update(dict.fromkeys(_first_loose(line) or ()))
        if tried + 1 >= most:
            break
    return list(found)


def _first_loose(line: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        loose = _loosely(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loose, dict):
        return None
    return {key: msgspec.Raw(json.dumps(value).encode()) for key, value in loose.items()}


def texts_of(
    prompt: str, completion: str, shown: Callable[[Any], str] | None = None
) -> Callable[[Path, Sequence[int]], Iterator[tuple[int, str, str]]]:
    """Reads two columns again: row, prompt and completion of some rows, in a second pass.

    Args:
        prompt: Column of prompts.
        completion: Column of completions.
        shown: A value as text; strings and conversations by themselves.
    """
    fields = [("prompt", Any, None), ("completion", Any, None)]
    names = {"prompt": prompt, "completion": completion}
    kind, text = msgspec.defstruct("Texts", fields, rename=names), shown or plain_text

    def read(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        for number, item in chosen_lines(path, wanted, kind):
            yield number, text(item.prompt), text(item.completion)

    return read


def chosen_lines(path: Path, wanted: Iterable[int], kind: Any) -> Iterator[tuple[int, Any]]:
    """Some lines by their numbers, decoded as a type or by ``Lines``; it stops at the last."""
    left = set(wanted)
    lines = kind if isinstance(kind, Lines) else Lines(kind)
    for chunk in chunks(path):
        if not left:
            return
        numbers = range(chunk.first, chunk.first + chunk.breaks + 1)
        if left.isdisjoint(numbers):
            continue
        items = _all_lines(chunk, lines) if left.issuperset(numbers[:-1]) else None
        if items is not None:
            left.difference_update(numbers[:-1])
            yield from zip(numbers, items, strict=False)
            continue
        every = chunk.data.split(b"\n")
        for number in sorted(left.intersection(numbers)):
            line = every[number - chunk.first]
            if not line.strip():
                continue
            left.discard(number)
            try:
                yield number, lines.decode(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                yield number, lines.convert(_loosely(line))


def _all_lines(chunk: Chunk, lines: Lines) -> list[Any] | None:
    """All lines of a chunk decoded in one call; None where one of them is bad, blank or torn."""
    if chunk.overlong or chunk.torn:
        return None
    try:
        items = lines.decode_lines(chunk.data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return items if len(items) == chunk.breaks else None


def plain_text(value: Any) -> str:
    """A prompt or completion as text: strings as they are, conversations by their messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(plain_text(item) for item in value)
    if isinstance(value, dict) and "content" in value:
        role = f"{value['role']}: " if "role" in value else ""
        return role + plain_text(value["content"])
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return str(value["text"])
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
