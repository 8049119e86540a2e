"""Plain data from a pickle that may be hostile: the one pickle reader of the formats.

A small machine with a closed list of names. It builds numbers, text, bytes, lists, tuples, dicts
and sets, and calls nothing but the stand-ins for names that its caller admits. Keys are flat, so
hashing one takes no time and no recursion. Containers, work of stand-ins, nesting and the size with
shared objects written out are bounded: nobody after it can hang or recurse on what it returns.
"""

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tod.base import DataError

Names = Mapping[str, Any]
"""Admitted globals as ``module.name``, with what stands for each: a function, or a plain mark."""
MOST_DEPTH = 64
"""Deepest nesting of what a pickle returns."""
MOST_BOXES = 1 << 20
"""Most containers, and most memo entries, of a small file; a large one may have one every 32 bytes.
An empty set is one byte on disk and 216 in memory."""
_TIMES = 16
"""How much larger than the file all that its stand-ins build, and all that it shares, may be."""
_ROOM = 1 << 20
"""The same for a file of no size, items."""
_LONG = 1024
"""Longest whole number, bytes."""
_SHORT = 8
"""Longest tuple that is a key."""
_FLOATS = re.compile(rb"(?:G[\x00-\xff]{8}){8,}")
_TEXT = frozenset({str})
_MARK = object()
_U1, _U2, _U4, _U8 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


class Opaque:
    """What an admitted class stands for: its first argument if that is text, and a state."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = code if type(code) is str else ""
        self.state: Any = None


_ATOMS = frozenset({str, bool, type(None), float, Opaque})
"""Types of which hashing one takes no time; a stand-in is hashed by what it is."""
_BOXES = frozenset({list, tuple, dict, set, frozenset, Opaque})


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """An admitted global, as the machine found it: a pickle cannot make one by other means."""

    full: str
    stands_for: Any


def load(
    data: memoryview,
    names: Names,
    path: object,
    persistent: Callable[[Any], Any] | None = None,
    more_bytes: int = 0,
) -> Any:
    """The object of a pickle.

    Args:
        data: The pickle.
        names: Admitted globals.
        path: Its file, for messages.
        persistent: What to do with persistent ids (tensor storages); None refuses them.
        more_bytes: Size of what persistent ids lead to.

    Raises:
        DataError: A name that is not admitted, an opcode that is not supported, bounds that are
            exceeded, or damage.
    """
    machine = _Machine(data, names, path, persistent, len(data) + more_bytes)
    try:
        found = machine.run()
        _check_size(found, machine.most)
    except DataError:
        raise
    except _Refused as error:
        raise DataError(
            f"{path}: refused: {error}. The file may be damaged, or made to harm."
        ) from None
    except Exception as error:  # damage can fail anywhere: index, type, struct, Unicode, memory
        raise DataError(
            f"{path}: not a whole pickle (at byte {machine.at}: {type(error).__name__}: "
            f"{str(error)[:80]}). It is damaged or was not written to its end: leave it out."
        ) from None
    return found


class _Refused(Exception):
    """What no framework writes."""


def flat_key(value: Any) -> bool:
    """Whether a value may be a key: hashing it is quick whatever the file holds."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= _SHORT and all(type(x) is not tuple and flat_key(x) for x in value)
    return kind in _ATOMS or (kind is int and value.bit_length() <= 64)


def flat_keys(values: Iterable[Any]) -> list[Any]:
    """Keys of a dictionary or members of a set.

    Raises:
        TypeError: One of them is no flat key.
    """
    keys = list(values)
    if not (_TEXT.issuperset(map(type, keys)) or all(map(flat_key, keys))):
        raise TypeError("a key that is no text, number or short tuple of such")
    return keys


def dictionary(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    """A dictionary of pairs, with flat keys."""
    pairs = list(pairs.items() if type(pairs) is dict else pairs)
    return dict(zip(flat_keys(key for key, _ in pairs), (x for _, x in pairs), strict=True))


def _inside(value: Any) -> Any:
    if type(value) is dict:
        return value.values()
    return (value.state,) if type(value) is Opaque else value


def _check_size(root: Any, most: int) -> None:
    """Refuse what holds itself, is nested too deep, or is too large with shared objects repeated.

    One visit a container, without recursion.
    """
    sizes: dict[int, tuple[int, int]] = {}
    entered: set[int] = set()
    pending = [root] if type(root) in _BOXES else []
    while pending:
        value = pending[-1]
        inside = _inside(value)
        plain = _BOXES.isdisjoint(map(type, inside))
        boxes = [] if plain else [x for x in inside if type(x) in _BOXES]
        if id(value) not in entered:
            entered.add(id(value))
            if len(entered) - len(sizes) > MOST_DEPTH:  # those that are not done hold this one
                raise _Refused(f"objects nested deeper than {MOST_DEPTH}")
            fresh = [x for x in boxes if id(x) not in sizes]
            if any(id(x) in entered for x in fresh):
                raise _Refused("an object that holds itself")
            if fresh:
                pending.extend(fresh)
                continue
        pending.pop()
        if id(value) in sizes:
            continue
        items = 1 + len(inside) + sum(sizes[id(x)][0] for x in boxes)
        depth = 1 + max((sizes[id(x)][1] for x in boxes), default=0)
        if depth > MOST_DEPTH:
            raise _Refused(f"objects nested deeper than {MOST_DEPTH}")
        if items > most:
            raise _Refused(f"shared objects that stand for more than {most} items")
        sizes[id(value)] = items, depth


class _Machine:
    """The stack machine of one pickle."""

    def __init__(
        self, data: memoryview, names: Names, path: object, persistent: Any, size: int
    ) -> None:
        self.data = data
        self.names = names
        self.path = path
        self.persistent = persistent
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.boxes = 0
        self.most_boxes = MOST_BOXES + size // 32
        self.most = _ROOM + _TIMES * size
        self.built = 0

    def run(self) -> Any:
        data, steps = self.data, _STEPS
        while True:
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            step = steps.get(code)
            if step is None:
                raise _Refused(
                    f"pickle opcode {bytes([code])!r} at byte {self.at - 1} is not one that plain "
                    "data needs"
                )
            step(self)

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise EOFError(f"{count} bytes wanted, {len(self.data) - self.at} left")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: struct.Struct) -> Any:
        (value,) = form.unpack_from(self.data, self.at)
        self.at += form.size
        return value

    def line(self) -> str:
        end = self.at
        while self.data[end] != 0x0A:
            end += 1
        text = bytes(self.take(end - self.at)).decode()
        self.at += 1
        return text

    def to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError("no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def box(self, value: Any) -> Any:
        """A new container, counted."""
        self.boxes += 1
        if self.boxes > self.most_boxes:
            raise _Refused(f"more than {self.most_boxes} containers")
        return value

    def remember(self, place: int) -> None:
        if len(self.memo) > self.most_boxes:
            raise _Refused(f"more than {self.most_boxes} memo entries")
        self.memo[place] = self.stack[-1]

    def find(self, module: str, name: str) -> Name:
        full = f"{module}.{name}"
        if full not in self.names:
            raise DataError(
                f"{self.path}: refused: the pickle asks for {full!r:.200}, which is not plain data "
                f"and could run code. Only these names are admitted: "
                f"{', '.join(sorted(self.names)) or 'none'}. Do not load this file with anything "
                "else unless you trust who made it."
            )
        return Name(full, self.names[full])

    def call(self, name: Any, arguments: Any) -> Any:
        if type(name) is not Name or not callable(name.stands_for):
            raise _Refused("the pickle calls something that was not named")
        if type(arguments) is not tuple:
            raise TypeError("arguments that are no tuple")
        made = name.stands_for(*arguments)
        sized = type(made) in (list, tuple, dict, set, bytes)
        self.built += len(made) if sized else made.size if type(made) is np.ndarray else 1
        if self.built > self.most:
            raise _Refused(f"it builds more than {self.most} items, too many for its size")
        return made


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        m.stack.append(make(m))

    return step


def _proto(m: _Machine) -> None:
    m.take(1)


def _frame(m: _Machine) -> None:
    m.take(8)


def _mark(m: _Machine) -> None:
    m.stack.append(_MARK)
    floats = _FLOATS.match(m.data, m.at)
    if floats:
        m.at = floats.end()
        block = np.frombuffer(floats.group(), dtype=np.uint8).reshape(-1, 9)[:, 1:]
        m.stack.extend(np.ascontiguousarray(block).view(">f8").ravel().tolist())


def _long(m: _Machine, size: int) -> int:
    if size > _LONG:
        raise _Refused(f"a whole number of {size} bytes")
    return int.from_bytes(m.take(size), "little", signed=True)


def _text(form: struct.Struct) -> Callable[[_Machine], str]:
    return lambda m: _decoded(m.take(m.number(form)))


def _decoded(raw: memoryview) -> str:
    """UTF-8; half a pair of surrogates, which Python pickles and no screen shows, as a mark."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        return str(raw, "utf-8", "surrogatepass").encode("utf-8", "replace").decode()


def _bytes(form: struct.Struct) -> Callable[[_Machine], memoryview]:
    return lambda m: m.take(m.number(form))


def _append(m: _Machine) -> None:
    value = m.stack.pop()
    _list(m.stack[-1]).append(value)


def _appends(m: _Machine) -> None:
    items = m.to_mark()
    _list(m.stack[-1]).extend(items)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("append to something that is not a list")
    return value


def _pairs(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise TypeError("items for something that is not a dictionary")
    target.update(zip(flat_keys(items[::2]), items[1::2], strict=True))


def _setitem(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _pairs(m.stack[-1], [key, value])


def _setitems(m: _Machine) -> None:
    items = m.to_mark()
    _pairs(m.stack[-1], items)


def _dict(m: _Machine) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _pairs(made, m.to_mark())
    return made


def _additems(m: _Machine) -> None:
    items = m.to_mark()
    target = m.stack[-1]
    if type(target) is not set:
        raise TypeError("items for something that is not a set")
    target.update(flat_keys(items))


def _tuple(count: int) -> Callable[[_Machine], Any]:
    def make(m: _Machine) -> Any:
        if len(m.stack) < count:
            raise IndexError("stack is too short")
        items = tuple(m.stack[-count:])
        del m.stack[-count:]
        return m.box(items)

    return make


def _reduce(m: _Machine) -> Any:
    arguments, function = m.stack.pop(), m.stack.pop()
    return m.call(function, arguments)


def _build(m: _Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is not Opaque:
        raise TypeError("state for plain data")
    target.state = state


def _global(m: _Machine) -> Name:
    module = m.line()
    return m.find(module, m.line())


def _stack_global(m: _Machine) -> Name:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError("a global whose name is no text")
    return m.find(module, name)


def _persistent(m: _Machine) -> Any:
    if m.persistent is None:
        raise _Refused("the pickle points to data outside of it")
    return m.persistent(m.stack.pop())


def _put(form: struct.Struct) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        m.remember(m.number(form))

    return step


def _memoize(m: _Machine) -> None:
    m.remember(len(m.memo))


def _pop(m: _Machine) -> None:
    m.stack.pop()


def _pop_mark(m: _Machine) -> None:
    m.to_mark()


_STEPS: dict[int, Callable[[_Machine], None]] = {
    ord(code): step
    for code, step in {
        "\x80": _proto,
        "\x95": _frame,
        "(": _mark,
        "0": _pop,
        "1": _pop_mark,
        "2": _push(lambda m: m.stack[-1]),
        "N": _push(lambda _: None),
        "\x88": _push(lambda _: True),
        "\x89": _push(lambda _: False),
        "K": _push(lambda m: m.number(_U1)),
        "M": _push(lambda m: m.number(_U2)),
        "J": _push(lambda m: m.number(_I4)),
        "\x8a": _push(lambda m: _long(m, m.number(_U1))),
        "\x8b": _push(lambda m: _long(m, m.number(_I4))),
        "G": _push(lambda m: m.number(_F8)),
        "\x8c": _push(_text(_U1)),
        "X": _push(_text(_U4)),
        "\x8d": _push(_text(_U8)),
        "C": _push(_bytes(_U1)),
        "B": _push(_bytes(_U4)),
        "\x8e": _push(_bytes(_U8)),
        "\x96": _push(_bytes(_U8)),
        "]": _push(lambda m: m.box([])),
        "a": _append,
        "e": _appends,
        "l": _push(lambda m: m.box(m.to_mark())),
        ")": _push(lambda _: ()),
        "t": _push(lambda m: m.box(tuple(m.to_mark()))),
        "\x85": _push(_tuple(1)),
        "\x86": _push(_tuple(2)),
        "\x87": _push(_tuple(3)),
        "}": _push(lambda m: m.box({})),
        "s": _setitem,
        "u": _setitems,
        "d": _push(lambda m: m.box(_dict(m))),
        "\x8f": _push(lambda m: m.box(set())),
        "\x90": _additems,
        "\x91": _push(lambda m: m.box(frozenset(flat_keys(m.to_mark())))),
        "c": _push(_global),
        "\x93": _push(_stack_global),
        "R": _push(_reduce),
        "\x81": _push(_reduce),
        "b": _build,
        "Q": _push(_persistent),
        "q": _put(_U1),
        "r": _put(_U4),
        "h": _push(lambda m: m.memo[m.number(_U1)]),
        "j": _push(lambda m: m.memo[m.number(_U4)]),
        "\x94": _memoize,
    }.items()
}
