"""Programs that only print a text made of their words or of what they read: paths, ``sed``."""

import os
import re
from collections.abc import Callable

__all__ = ["PRINTING", "printed"]

_LITERAL = re.compile(r"[\w\s/#:,=@%~;\"'!<>&-]")
_FIRST = re.compile(r"s([^\w\s\\])")


def printed(name: str, words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:
    """What a program prints, without its last line's end; None if not known.

    Args:
        name: Of the program, one of `PRINTING`.
        words: Its words, all of them known.
        folder: Where it is started, a whole path; None if not known.
        read: What it is given to read; None if not known.
    """
    return PRINTING[name](words, folder, read)


def _basename(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    words = words[1:] if words[:1] == ("--",) else words
    if not 1 <= len(words) <= 2 or words[0].startswith("-"):
        return None
    path = words[0].rstrip("/")
    name = path.rpartition("/")[2] if path else words[0][:1]
    cut = name.removesuffix(words[1]) if len(words) == 2 else name
    return cut or name


def _dirname(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    words = words[1:] if words[:1] == ("--",) else words
    if len(words) != 1 or words[0].startswith("-"):
        return None
    path = words[0].rstrip("/")
    if not path:
        return "/" if words[0] else "."
    before, slash, _ = path.rpartition("/")
    return (before.rstrip("/") or "/") if slash else "."


def _realpath(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    words = words[1:] if words[:1] and words[0] in ("--", "-m", "-e") else words
    if len(words) != 1 or words[0].startswith("-"):
        return None
    path = words[0] if words[0].startswith("/") else f"{folder}/{words[0]}" if folder else ""
    return os.path.realpath(path) if path and os.path.exists(path) else None


def _readlink(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:
    whole = len(words) == 2 and words[0] in ("-f", "-e", "-m")
    return _realpath(words[1:], folder, read) if whole else None


def _pwd(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    return folder if words in ((), ("-L",)) else None


def _cat(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    return read if words in ((), ("-",)) else None


def _sed(words: tuple[str, ...], folder: str | None, read: str | None) -> str | None:  # noqa: ARG001
    extended = words[:1] in (("-E",), ("-r",))
    rest = words[1:] if words[:1] in (("-E",), ("-r",), ("-e",)) else words
    if len(rest) != 1 or read is None:
        return None
    halves = _substitution(rest[0])
    if halves is None:
        return None
    pattern, by, every = halves
    found = _expression(pattern, extended)
    if found is None or re.search(r"[\\&]", by):
        return None
    lines = (re.sub(found, lambda _: by, one, count=0 if every else 1) for one in read.split("\n"))
    return "\n".join(lines)


def _substitution(script: str) -> tuple[str, str, bool] | None:
    """Pattern, replacement and whether every match is meant, of ``s/a/b/`` and ``s/a/b/g``."""
    sign = _FIRST.match(script)
    if sign is None:
        return None
    halves = script[2:].split(sign.group(1))
    if len(halves) != 3 or not halves[0] or halves[2] not in ("", "g"):
        return None
    return halves[0], halves[1], halves[2] == "g"


def _expression(pattern: str, extended: bool) -> str | None:
    """A pattern of sed's as Python has it; None where it holds more than a few plain signs.

    Read are literal characters, ``.``, ``^`` first and ``$`` last; extended, a group of
    literal texts of which none begins another, which every grammar matches alike.
    """
    found, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        group = re.match(r"\(([\w-]+(?:\|[\w-]+)*)\)(?![*+?{])", pattern[at:])
        if pattern.startswith(("\\.", "\\-"), at):
            found, at = found + re.escape(pattern[at + 1]), at + 2
        elif pattern[at + 1 : at + 2] in ("*", "{") or (
            extended and pattern[at + 1 : at + 2] in ("+", "?")
        ):
            return None
        elif (char == "^" and at == 0) or (char == "$" and at == len(pattern) - 1) or char == ".":
            found, at = found + char, at + 1
        elif extended and group is not None:
            texts = group.group(1).split("|")
            if any(a != b and b.startswith(a) for a in texts for b in texts):
                return None
            found, at = f"{found}(?:{'|'.join(map(re.escape, texts))})", at + len(group.group())
        elif _LITERAL.fullmatch(char):
            found, at = found + re.escape(char), at + 1
        else:
            return None
    return found.replace("$", "\\Z") if pattern.endswith("$") else found


PRINTING: dict[str, Callable[[tuple[str, ...], str | None, str | None], str | None]] = {
    "basename": _basename,
    "dirname": _dirname,
    "realpath": _realpath,
    "readlink": _readlink,
    "pwd": _pwd,
    "cat": _cat,
    "sed": _sed,
}
"""By name: what a program prints, by its words, where it is started, and what it reads."""
