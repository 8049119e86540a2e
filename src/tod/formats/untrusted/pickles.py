"""A pickle reader that cannot run code: a small machine with a closed list of names.

It builds plain data (numbers, text, bytes, lists, tuples, dicts, sets) and calls nothing but the
stand-ins it was given for the names it was told to admit. Every other name, and every opcode that
could reach one, is refused. The memo is a dictionary, so a damaged index costs no memory.
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tod.base import DataError

Names = Mapping[str, Callable[..., Any]]
_FLOATS = re.compile(rb"(?:G[\x00-\xff]{8}){8,}")
_MARK = object()


class Opaque:
    """What an admitted class stands for: a place to hang state on."""

    state: Any = None


def load(data: memoryview, names: Names, path: object, persistent: Any = None) -> Any:
    """The object of a pickle.

    Args:
        data: The pickle.
        names: Admitted globals as ``module.name``, with what to call instead of each.
        path: Its file, for messages.
        persistent: What to do with persistent ids (tensor storages); None refuses them.

    Raises:
        DataError: A name that is not admitted, an opcode that is not supported, or damage.
    """
    machine = _Machine(data, names, path, persistent)
    try:
        return machine.run()
    except DataError:
        raise
    except Exception as error:  # damage can fail anywhere: index, type, struct, Unicode, memory
        raise DataError(
            f"{path}: not a whole pickle (at byte {machine.at}: {type(error).__name__}: "
            f"{str(error)[:80]}). It is damaged or was not written to its end: leave it out."
        ) from None


class _Machine:
    def __init__(self, data: memoryview, names: Names, path: object, persistent: Any) -> None:
        self.data = data
        self.names = names
        self.path = path
        self.persistent = persistent
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, steps = self.data, _STEPS
        while True:
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            step = steps.get(code)
            if step is None:
                raise DataError(
                    f"{self.path}: refused: pickle opcode {bytes([code])!r} at byte {self.at - 1} "
                    "is not one that plain data needs. The file may be damaged, or made to harm."
                )
            step(self)

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise EOFError(f"{count} bytes wanted, {len(self.data) - self.at} left")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

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

    def find(self, module: str, name: str) -> Callable[..., Any]:
        full = f"{module}.{name}"
        if full not in self.names:
            raise DataError(
                f"{self.path}: refused: the pickle asks for {full!r}, which is not plain data and "
                "could run code. Only these names are admitted: "
                f"{', '.join(sorted(self.names)) or 'none'}. Do not load this file with anything "
                "else unless you trust who made it."
            )
        return self.names[full]

    def call(self, function: Any, arguments: Any) -> Any:
        if not any(function is known for known in self.names.values()):
            raise DataError(f"{self.path}: refused: the pickle calls something that was not named.")
        return function(*arguments)


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
    found = _FLOATS.match(m.data, m.at)
    if found:
        m.at = found.end()
        block = np.frombuffer(found.group(), dtype=np.uint8).reshape(-1, 9)[:, 1:]
        m.stack.extend(np.ascontiguousarray(block).view(">f8").ravel().tolist())


def _long(m: _Machine, size: int) -> int:
    return int.from_bytes(m.take(size), "little", signed=True)


def _text(form: str) -> Callable[[_Machine], str]:
    return lambda m: str(m.take(m.number(form)), "utf-8", "surrogatepass")


def _bytes(form: str) -> Callable[[_Machine], memoryview]:
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
    target.update(zip(items[::2], items[1::2], strict=True))


def _setitem(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _pairs(m.stack[-1], [key, value])


def _setitems(m: _Machine) -> None:
    items = m.to_mark()
    _pairs(m.stack[-1], items)


def _dict(m: _Machine) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    _pairs(found, m.to_mark())
    return found


def _additems(m: _Machine) -> None:
    items = m.to_mark()
    target = m.stack[-1]
    if type(target) is not set:
        raise TypeError("items for something that is not a set")
    target.update(items)


def _tuple(count: int) -> Callable[[_Machine], Any]:
    def make(m: _Machine) -> Any:
        if len(m.stack) < count:
            raise IndexError("stack is too short")
        items = tuple(m.stack[-count:])
        del m.stack[-count:]
        return items

    return make


def _reduce(m: _Machine) -> Any:
    arguments, function = m.stack.pop(), m.stack.pop()
    return m.call(function, arguments)


def _newobj(m: _Machine) -> Any:
    return _reduce(m)


def _build(m: _Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if not isinstance(target, Opaque):
        raise TypeError("state for plain data")
    target.state = state


def _global(m: _Machine) -> Any:
    module = m.line()
    return m.find(module, m.line())


def _stack_global(m: _Machine) -> Any:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError("a global whose name is no text")
    return m.find(module, name)


def _persistent(m: _Machine) -> Any:
    if m.persistent is None:
        raise DataError(f"{m.path}: refused: the pickle points to data outside of it.")
    return m.persistent(m.stack.pop())


def _put(form: str) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        m.memo[m.number(form)] = m.stack[-1]

    return step


def _memoize(m: _Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


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
        "K": _push(lambda m: m.number("<B")),
        "M": _push(lambda m: m.number("<H")),
        "J": _push(lambda m: m.number("<i")),
        "\x8a": _push(lambda m: _long(m, m.number("<B"))),
        "\x8b": _push(lambda m: _long(m, m.number("<i"))),
        "G": _push(lambda m: m.number(">d")),
        "\x8c": _push(_text("<B")),
        "X": _push(_text("<I")),
        "\x8d": _push(_text("<Q")),
        "C": _push(_bytes("<B")),
        "B": _push(_bytes("<I")),
        "\x8e": _push(_bytes("<Q")),
        "\x96": _push(_bytes("<Q")),
        "]": _push(lambda _: []),
        "a": _append,
        "e": _appends,
        "l": _push(lambda m: m.to_mark()),
        ")": _push(lambda _: ()),
        "t": _push(lambda m: tuple(m.to_mark())),
        "\x85": _push(_tuple(1)),
        "\x86": _push(_tuple(2)),
        "\x87": _push(_tuple(3)),
        "}": _push(lambda _: {}),
        "s": _setitem,
        "u": _setitems,
        "d": _push(_dict),
        "\x8f": _push(lambda _: set()),
        "\x90": _additems,
        "\x91": _push(lambda m: frozenset(m.to_mark())),
        "c": _push(_global),
        "\x93": _push(_stack_global),
        "R": _push(_reduce),
        "\x81": _push(_newobj),
        "b": _build,
        "Q": _push(_persistent),
        "q": _put("<B"),
        "r": _put("<I"),
        "h": _push(lambda m: m.memo[m.number("<B")]),
        "j": _push(lambda m: m.memo[m.number("<I")]),
        "\x94": _memoize,
    }.items()
}
