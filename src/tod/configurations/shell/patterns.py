"""Patterns of file names, as the shell matches, cuts and replaces by them."""

import re

_MOST = 10**7
"""Ways to match a text that are tried."""


def expression(pattern: str, shortest: bool = False) -> str | None:
    """A pattern as a regular expression; None where it holds what is not read here."""
    found, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            found += re.escape(pattern[at])
        elif char == "*":
            found += "(?s:.*?)" if shortest else "(?s:.*)"
        elif char == "?":
            found += "(?s:.)"
        elif char == "[":
            end = pattern.find("]", at + 2)
            if end < 0 or "[:" in pattern[at:end]:
                return None
            inside = pattern[at + 1 : end]
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            found += "[" + inside.replace("\\", "\\\\") + "]"
            at = end
        elif char in "@+!" and pattern[at + 1 : at + 2] == "(":
            return None
        else:
            found += re.escape(char)
        at += 1
    return found


def matches(text: str, pattern: str) -> bool | None:
    """Whether a whole text is of a pattern; None where that cannot be told."""
    found = None if _long(text, pattern) else expression(pattern)
    return None if found is None else re.fullmatch(found, text) is not None


def _long(text: str, pattern: str) -> bool:
    """Whether all ways to match would be too many to try."""
    return bool((len(text) + 1) ** (pattern.count("*") + 1) > _MOST)


def removed(text: str, operator: str, pattern: str) -> str | None:
    """``${X#p}``, ``${X##p}``, ``${X%p}``, ``${X%%p}``; None where that cannot be told."""
    if expression(pattern) is None or _long(text, pattern):
        return None
    starts = operator[0] == "#"
    lengths = range(len(text) + 1)
    for length in lengths if len(operator) == 1 else reversed(lengths):
        cut = text[:length] if starts else text[len(text) - length :]
        if matches(cut, pattern):
            return text[length:] if starts else text[: len(text) - length]
    return text


def replaced(text: str, operator: str, pattern: str, by: str) -> str | None:
    """``${X/p/b}`` and its kinds ``//``, ``/#``, ``/%``; None where that cannot be told."""
    found = None if _long(text, pattern) else expression(pattern)
    if found is None or not pattern or "&" in by:
        return None if pattern else text
    found = {"/#": f"\\A{found}", "/%": f"{found}\\Z"}.get(operator, found)
    return re.sub(found, lambda _: by, text, count=0 if operator == "//" else 1)
