"""What is written between the braces of ``${…}``, and how its operators change a text."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tod.configurations.shell import patterns
from tod.configurations.shell.braces import closing

_HEAD = re.compile(r"(#|!)?([A-Za-z_]\w*|\d+|[@*#?$!-])")
_OPERATOR = re.compile(r":[-=+?]|[-=+?]|##?|%%?|/[/#%]?|\^\^?|,,?|:|@")
CHANGING = {
    "^": lambda text: text[:1].upper() + text[1:],
    "^^": str.upper,
    ",": lambda text: text[:1].lower() + text[1:],
    ",,": str.lower,
}
"""Operators that change the case of a text."""


@dataclass(frozen=True)
class Parameter:
    """One ``${…}``.

    Attributes:
        name: Of the variable.
        index: Between its brackets, if there are any.
        prefix: ``#``: its length is meant; ``!``: what it names.
        operator: Behind the name, or nothing.
        operand: Behind that.
    """

    name: str
    index: str | None = None
    prefix: str = ""
    operator: str = ""
    operand: str = ""

    @property
    def every(self) -> bool:
        """Whether all items are meant."""
        return self.name in "@*" or self.index in ("@", "*")

    @property
    def spread(self) -> bool:
        """Whether they stay words of their own in double quotes."""
        return self.name == "@" or self.index == "@"


def parameter(content: str) -> Parameter | None:
    """What stands between the braces; None where it is nothing known here."""
    if content in ("#", "!", "#@", "#*"):
        return Parameter("@", None, "#") if content != "!" else Parameter("!")
    head = _HEAD.match(content)
    if head is None:
        return None
    prefix, name, rest, index = head.group(1) or "", head.group(2), content[head.end() :], None
    if rest.startswith("["):
        end = closing(rest, 1, "]")
        index, rest = rest[1:end], rest[end + 1 :]
    if not rest:
        return Parameter(name, index, prefix)
    found = _OPERATOR.match(rest)
    if found is None or prefix:
        return None
    return Parameter(name, index, "", found.group(), rest[found.end() :])


def changed(
    text: str,
    of: Parameter,
    expand: Callable[[str], str | None],
    number: Callable[[str], int | None],
) -> str | None:
    """A text after an operator that cuts, replaces or changes its case; None if not known.

    Args:
        text: The variable's.
        of: The operator with its operand.
        expand: What an operand comes to, None if not known.
        number: The number that an operand comes to, likewise.
    """
    if of.operator in CHANGING and not of.operand:
        return str(CHANGING[of.operator](text))
    if of.operator == ":":
        return _cut(text, of.operand, number)
    if of.operator[0] in "#%":
        pattern = expand(of.operand)
        return None if pattern is None else patterns.removed(text, of.operator, pattern)
    if of.operator[0] == "/":
        first, _, second = _halves(of.operand)
        pattern, by = expand(first), expand(second)
        if pattern is None or by is None:
            return None
        return patterns.replaced(text, of.operator, pattern, by)
    return None


def _halves(operand: str) -> tuple[str, str, str]:
    """Pattern and replacement; a slash behind a backslash is the pattern's."""
    found = re.match(r"((?:\\.|[^/\\])*)(/?)(.*)", operand, re.DOTALL)
    return found.groups() if found else (operand, "", "")  # type: ignore[return-value]


def _cut(text: str, operand: str, number: Callable[[str], int | None]) -> str | None:
    start, _, length = operand.partition(":")
    first = number(start)
    count = number(length) if length else len(text)
    if first is None or count is None:
        return None
    first = max(0, len(text) + first) if first < 0 else first
    return text[first:count] if count < 0 else text[first : first + count]
