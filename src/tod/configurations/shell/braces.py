"""Braces that spell several words: ``{a,b}``, ``{1..3}``."""

import re
from functools import lru_cache
from itertools import pairwise

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_MOST = 1000


def spread(word: str) -> list[str]:
    """The words that one with braces spells; itself where it has none.

    Quotes and what `$` begins are left as they are. A word that would spell more than a thousand,
    or braces in braces that are a range, stays whole.
    """
    return list(_spread(word))


@lru_cache(maxsize=4096)  # what follows a brace is spread once for each brace before it
def _spread(word: str) -> tuple[str, ...]:
    at = 0
    while at < len(word):
        if word[at] == "{":
            end, commas = _end(word, at)
            inside = (
                [] if end is None else _inside(word[at + 1 : end], [c - at - 1 for c in commas])
            )
            if inside and end is not None:
                tails = _spread(word[end + 1 :])
                heads = [word[:at] + one for text in inside for one in _spread(text)]
                if len(heads) * len(tails) <= _MOST:
                    return tuple(head + tail for head in heads for tail in tails)
        at = skipped(word, at)
    return (word,)


def _inside(text: str, commas: list[int]) -> list[str]:
    if commas:
        edges = [-1, *commas, len(text)]
        return [text[a + 1 : b] for a, b in pairwise(edges)]
    found = _RANGE.fullmatch(text)
    if found is None or any(
        part.lstrip("-").startswith("0") and len(part.lstrip("-")) > 1
        for part in found.groups()
        if part
    ):
        return []
    first, last = int(found.group(1)), int(found.group(2))
    step = abs(int(found.group(3) or 1)) or 1
    if abs(last - first) // step > _MOST:
        return []
    return [
        str(n)
        for n in range(first, last + (1 if last >= first else -1), step if last >= first else -step)
    ]


def _end(word: str, start: int) -> tuple[int | None, list[int]]:
    """Where the brace that opens at a place closes, and its own commas."""
    commas: list[int] = []
    depth, at = 0, start
    while at < len(word):
        if word[at] == "{":
            depth += 1
        elif word[at] == "}":
            depth -= 1
            if depth == 0:
                return at, commas
        elif word[at] == "," and depth == 1:
            commas.append(at)
        at = skipped(word, at) if word[at] != "{" else at + 1
    return None, []


def skipped(text: str, at: int) -> int:
    """The place after one character, or after all of a quotation or an expansion there."""
    char = text[at]
    if char == "\\":
        return at + 2
    if char == "'":
        end = text.find("'", at + 1)
        return len(text) if end < 0 else end + 1
    if char == '"':
        return closing(text, at + 1, '"') + 1
    if char == "`":
        end = text.find("`", at + 1)
        return len(text) if end < 0 else end + 1
    if text.startswith("${", at):
        return closing(text, at + 2, "}") + 1
    if text.startswith(("$(", "<(", ">("), at):
        return closing(text, at + 2, ")") + 1
    if text.startswith("$'", at):
        return _ansi_end(text, at + 2)
    return at + 1


def _ansi_end(text: str, at: int) -> int:
    while at < len(text) and text[at] != "'":
        at += 2 if text[at] == "\\" else 1
    return at + 1


def closing(text: str, at: int, sign: str) -> int:
    """Where what opened before a place closes; the text's end if it does not."""
    depth = 0
    while at < len(text):
        if text[at] == sign and depth == 0:
            return at
        if sign == ")" and text[at] in "()":
            depth += 1 if text[at] == "(" else -1
        quoted = sign == '"' and text[at] in "'<>{"
        at = at + 1 if quoted else skipped(text, at)
    return len(text)
