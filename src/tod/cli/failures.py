"""What a person is told when a command fails, and the code that it exits with."""

import re
import sys
from types import TracebackType

from tod.base.errors import TodError
from tod.base.extras import missing

BAD_INPUT, FAULT, INTERRUPTED = 2, 1, 130


LONGEST_WORD, LONGEST = 1000, 8000
"""Characters of one word of a message, and of all of it: a name of a million says no more."""


def told(error: BaseException) -> tuple[str, int]:
    """The message of an error, without a traceback, and the exit code; see `_of`.

    What was given is repeated in it, and may be of any length: the middle of it is left out.
    """
    message, code = _of(error)
    words = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _ends(word[0], 200), message)
    return _ends(words, LONGEST // 2), code


def _ends(text: str, each: int) -> str:
    """A text of bounded length by its two ends."""
    return text if len(text) <= 2 * each else f"{text[:each]}…{text[-each:]}"


def _of(error: BaseException) -> tuple[str, int]:
    """What a person is told, and the exit code.

    A missing library names the extra that brings it. A library's error keeps its own words under
    the library's name. What remains is a fault of this package, and is called one.
    """
    if isinstance(error, TodError):
        return str(error), BAD_INPUT
    if isinstance(error, KeyboardInterrupt):
        return "interrupted.", INTERRUPTED
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("tod."):
        return missing(error.name), BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions.", BAD_INPUT
    if isinstance(error, MemoryError):
        return "not enough memory. Read fewer files or steps, or make the batch smaller.", BAD_INPUT
    said = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    library = _raised_by(error.__traceback__)
    if library is not None:
        hint = "Add --debug to see where."
        return f"{library} failed ({said}). {hint}", BAD_INPUT
    return f"this is a fault in tod ({said}). Add --debug and report what it prints.", FAULT


def _raised_by(traceback: TracebackType | None) -> str | None:
    """The library whose code raised; None where our own or Python's did."""
    name = ""
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        name = name if module in sys.stdlib_module_names else module
        traceback = traceback.tb_next
    return None if name in ("", "tod", "__main__") else name
