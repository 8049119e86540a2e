"""Tests of a script: ``[ … ]`` and ``[[ … ]]``; true, false, or not decided by the script."""

from collections.abc import Callable
from dataclasses import dataclass

from tod.configurations.shell import patterns
from tod.configurations.shell.marks import ARGUMENTS, carried, certain, known, plain
from tod.configurations.shell.tree import Node, text_of, words_of
from tod.configurations.shell.words import ALWAYS, Words

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}


@dataclass
class ShellTest:
    """One test.

    Attributes:
        words: Expansion in the state where it stands.
        double: Whether brackets are double: then the right of ``==`` is a pattern.
        why: Marks of what was assumed to decide it.
    """

    words: Words
    double: bool
    why: str = ""

    def holds(self, node: Node) -> bool | None:
        """Whether it holds; None if the script does not decide it."""
        if node.type == "parenthesized_expression":
            return self.holds(node.named_children[0])
        if node.type == "unary_expression":
            return self._unary(node)
        if node.type == "binary_expression" and len(node.children) >= 3:
            return self._binary(node)
        if node.type == "ERROR":
            return None
        return _not(self._empty(self._text(text_of(node))))

    def _unary(self, node: Node) -> bool | None:
        sign = text_of(node.children[0])
        if sign == "!":
            return _not(self.holds(node.children[-1]))
        operand = " ".join(words_of(node.children[1:]))
        if sign == "-v":
            there = operand in self.words.state.variables
            return there and self.words.state.variables[operand] is not None
        if sign not in ("-z", "-n"):
            return None
        empty = self._empty(self._text(operand))
        if empty and sign == "-n" and not self.double and operand.startswith("$"):
            return True  # `[ -n ]`: a text that is not empty
        return empty if sign == "-z" else _not(empty)

    def _binary(self, node: Node) -> bool | None:
        left, sign, right = node.children[0], text_of(node.children[1]), node.children[2:]
        if sign in ("&&", "-a", "||", "-o"):
            one, other = self.holds(left), self.holds(right[-1])
            stops = sign in ("||", "-o")
            if stops in (one, other):
                return stops
            return None if None in (one, other) else not stops
        turned = left.type == "unary_expression" and text_of(left.children[0]) == "!"
        if turned:  # the grammar takes `! a == b` for `(! a) == b`
            left = left.children[-1]
        held = self._compared(sign, self._text(text_of(left)), "".join(words_of(right)))
        return _not(held) if turned else held

    def _compared(self, sign: str, first: str, second: str) -> bool | None:
        if sign in _NUMBERS:
            return self._numbers(sign, first, self._text(second))
        if sign not in ("=", "==", "!="):
            return None
        return self._equal(first, second) if sign != "!=" else _not(self._equal(first, second))

    def _numbers(self, sign: str, first: str, second: str) -> bool | None:
        values = [plain(text).strip() for text in (first, second)]
        if not all(value.lstrip("+-").isdecimal() for value in values):
            return None
        return _NUMBERS[sign](*map(int, values))

    def _equal(self, first: str, pattern: str) -> bool | None:
        second = self._text(pattern)
        if not known(first) or not known(second):
            return None
        spelled = plain(second)
        wild = self.double and any(char in pattern for char in "*?[(")
        wild |= self.double and "$" in pattern and any(char in spelled for char in "*?[")
        if wild and any(char in pattern for char in "'\"\\$"):
            return None
        same = patterns.matches(plain(first), spelled) if wild else plain(first) == spelled
        return same or (None if "nocasematch" in self.words.state.modes else same)

    def _text(self, word: str) -> str:
        """What a word comes to; a variable that is set outside alone is assumed to be unset."""
        text = self.words.text(word)
        outside = self.words.marks.outside(text)
        if outside and not ALWAYS.fullmatch(outside):
            name = ARGUMENTS if outside.startswith(ARGUMENTS) else outside
            text = self.words.marks.assumed(name)
        self.why += carried(text)
        return text

    def _empty(self, text: str) -> bool | None:
        if certain(text):
            return False
        return True if known(text) else None


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def tested(node: Node, words: Words) -> tuple[bool | None, str]:
    """Whether a ``test_command`` holds, and marks of what was assumed to decide it."""
    double = text_of(node.children[0]) == "[["
    condition = ShellTest(words, double)
    inside = node.named_children
    if len(inside) != 1:
        return None, ""
    if not double and {"-a", "-o"} & set(text_of(node).split()):
        return None, ""  # the grammar does not tell which of them joins what
    return condition.holds(inside[0]), condition.why
