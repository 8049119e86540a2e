"""Whole numbers that a shell works out: ``$((…))``, ``((…))``, ``let``."""

import operator
import re
from collections.abc import Callable

from tod.configurations.shell.marks import carried, known, plain
from tod.configurations.shell.state import ShellState

_TOKEN = re.compile(
    r"\s*(?:(0[xX][0-9a-fA-F]+|\d+)|([A-Za-z_]\w*)|"
    r"(<<=|>>=|\*\*|\+\+|--|&&|\|\||[-+*/%&|^]=|[<>=!]=|<<|>>|[-+*/%<>=!&|^~?:(),]))"
)
_LEVELS = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", ">", "<=", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
_LARGEST = 2**63
_NAME = re.compile(r"[A-Za-z_]\w*")


def _quotient(a: int, b: int) -> int:
    """Division towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "|": operator.or_,
    "^": operator.xor,
    "&": operator.and_,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "%": lambda a, b: a - b * _quotient(a, b),
    "||": lambda a, b: bool(a) or bool(b),
    "&&": lambda a, b: bool(a) and bool(b),
}


class NotKnownError(Exception):
    """A number that the script does not say, or that is not worked out here."""


class Arithmetic:
    """One expression; assignments in it change the state's variables.

    Attributes:
        carried: Marks of what was assumed for the numbers used.
    """

    def __init__(self, text: str, state: ShellState, depth: int = 0) -> None:
        self.state, self.depth, self.carried = state, depth, carried(text)
        self.tokens: list[str] = []
        at, text = 0, plain(text).strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise NotKnownError
            self.tokens.append(found.group().strip())
            at = found.end()

    def value(self) -> int:
        """What it comes to; an empty one is 0.

        Raises:
            NotKnownError: That cannot be told.
        """
        if not self.tokens:
            return 0
        number = self._list()
        if self.tokens:
            raise NotKnownError
        return number

    def _list(self) -> int:
        number = self._assignment()
        while self._take(","):
            number = self._assignment()
        return number

    def _assignment(self) -> int:
        named = len(self.tokens) > 1 and _NAME.fullmatch(self.tokens[0]) is not None
        sign = self.tokens[1] if named else ""
        if sign == "=" or (sign.endswith("=") and sign[:-1] in _OPERATIONS):
            name = self.tokens.pop(0)
            self.tokens.pop(0)
            number = self._assignment()
            if sign != "=":
                number = self._worked_out(sign[:-1], self._of(name), number)
            self._put(name, number)
            return number
        return self._choice()

    def _choice(self) -> int:
        asked = self._level(0)
        if not self._take("?"):
            return asked
        if {"=", "++", "--"} & set(self.tokens):
            raise NotKnownError
        first = self._assignment()
        if not self._take(":"):
            raise NotKnownError
        second = self._assignment()
        return first if asked else second

    def _level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._power()
        left = self._level(level + 1)
        while self.tokens and self.tokens[0] in _LEVELS[level]:
            sign = self.tokens.pop(0)
            if sign in ("&&", "||") and {"=", "++", "--"} & set(self.tokens):
                raise NotKnownError
            left = self._worked_out(sign, left, self._level(level + 1))
        return left

    def _power(self) -> int:
        base = self._unary()
        if not self._take("**"):
            return base
        exponent = self._power()
        if not 0 <= exponent <= 64:
            raise NotKnownError
        return self._limited(base**exponent)

    def _unary(self) -> int:
        if not self.tokens:
            raise NotKnownError
        sign = self.tokens.pop(0)
        if sign in ("-", "+", "!", "~"):
            number = self._unary()
            return {"-": -number, "+": number, "!": int(not number), "~": ~number}[sign]
        if sign in ("++", "--") and self.tokens:
            name = self.tokens.pop(0)
            self._put(name, self._of(name) + (1 if sign == "++" else -1))
            return self._of(name)
        if sign == "(":
            number = self._list()
            if not self._take(")"):
                raise NotKnownError
            return number
        if sign[0].isdigit():
            return _literal(sign)
        number = self._of(sign)
        if self.tokens and self.tokens[0] in ("++", "--"):
            self._put(sign, number + (1 if self.tokens.pop(0) == "++" else -1))
        return number

    def _of(self, name: str) -> int:
        """The number that a variable holds; one that holds an expression is worked out."""
        if _NAME.fullmatch(name) is None or name not in self.state.variables or self.depth > 8:
            raise NotKnownError
        if name in self.state.loose:
            raise NotKnownError
        value = self.state.variables[name]
        value = "" if value is None else value
        if isinstance(value, tuple):
            value = value[0] if value else ""
        if not known(value):
            raise NotKnownError
        inner = Arithmetic(value, self.state, self.depth + 1)
        self.carried += inner.carried
        number = inner.value()
        self.carried += inner.carried
        return number

    def _put(self, name: str, number: int) -> None:
        if _NAME.fullmatch(name) is None:
            raise NotKnownError
        self.state.set(name, str(number) + self.carried)

    def _worked_out(self, sign: str, left: int, right: int) -> int:
        shifted = sign in ("<<", ">>") and not 0 <= right < 64
        if shifted or (sign in ("/", "%") and right == 0):
            raise NotKnownError
        return self._limited(int(_OPERATIONS[sign](left, right)))

    def _limited(self, number: int) -> int:
        if not -_LARGEST <= number < _LARGEST:
            raise NotKnownError
        return number

    def _take(self, sign: str) -> bool:
        there = bool(self.tokens) and self.tokens[0] == sign
        if there:
            self.tokens.pop(0)
        return there


def _literal(text: str) -> int:
    """A number as it is written: a leading 0 is octal."""
    try:
        octal = text[0] == "0" and text.isdigit()
        return int(text, 8) if octal else int(text, 0)
    except ValueError:
        raise NotKnownError from None
