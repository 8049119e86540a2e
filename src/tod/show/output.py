"""Documents and JSON to files, whole or not at all, and JSON to the terminal."""

import json
import re
import sys
from pathlib import Path

from tod.base import RunError
from tod.base.text import visible


def put(text: str, target: Path, kept: str, option: str = "--output") -> Path:
    """Write a document; ``kept`` says what is safe if the disk is full, ``option`` what to turn.

    Raises:
        RunError: The file cannot be written.
    """
    from tod.runs.atomic import explained, write_atomic  # which a screen does without

    try:
        with explained(str(target), lambda: kept):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, text)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror}). Name another file with `{option}`."
        ) from error
    return target


def put_json(data: object, where: str | None) -> bool:
    """JSON to a file, or to stdout for ``-``; whether stdout is still free for people.

    Raises:
        RunError: The file cannot be written.
    """
    if where == "-":
        sys.stdout.write(json_text(data) + "\n")
    elif where is not None:
        put(json_text(data) + "\n", Path(where), "nothing else", "--json")
    return where != "-"


def put_text(text: str, where: str, option: str) -> bool:
    """Text to a file, or to stdout for ``-``; whether it went to stdout.

    Raises:
        RunError: The file cannot be written.
    """
    if where == "-":
        sys.stdout.write(text)
    else:
        put(text, Path(where), "nothing else", option)
    return where == "-"


def json_text(data: object) -> str:
    r"""The data as JSON whose text is safe to print: what would steer a terminal is escaped.

    >>> print(json_text(["a\x1bb\x9b", "ü"]))
    [
      "a\u001bb\u009b",
      "ü"
    ]
    """
    from tod.runs import plain

    dumped = json.dumps(plain(data), indent=2, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e\n]", _escaped, dumped)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if visible(character) == character:
        return character
    return f"\\u{ord(character):04x}" if character < "\uffff" else json.dumps(character)[1:-1]
