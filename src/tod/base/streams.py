"""The standard streams of a command: nothing that came from a file steers the terminal.

`guarded` replaces ``sys.stdout`` and ``sys.stderr``, so that whatever any code prints, a library's
warning or an error message, goes through `tod.base.text.visible`. Colour needs the stream behind
the guard, and whoever writes there must make text visible first: `tod.show.screen` alone does.
"""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tod.base.text import visible

_QUIET = ContextVar("quiet", default=False)


@contextmanager
def hushed(on: bool = True) -> Iterator[None]:
    """Leave out progress and warnings, where ``on``; may be nested."""
    before = _QUIET.set(on or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(before)


def is_hushed() -> bool:
    """Whether only results are to be printed."""
    return _QUIET.get()


class Guarded(io.TextIOBase):
    """A text stream in which control characters are made visible; ``raw`` is the stream itself."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str, /) -> int:
        """Write the text with control characters made visible."""
        if not isinstance(text, str):
            raise TypeError(f"this stream takes text, not {type(text).__name__}")
        self.raw.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.raw.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream."""
        return self.raw.fileno()

    def writable(self) -> bool:
        """Whether text can be written: yes."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How the stream encodes text."""
        return self.raw.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the stream does with text that it cannot encode."""
        return self.raw.errors


@contextmanager
def guarded() -> Iterator[None]:
    """Make everything that is printed visible text, on stdout and stderr; may be nested."""
    before = sys.stdout, sys.stderr, warnings.formatwarning
    for stream in before[:2]:
        _never_refusing(stream)
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, Guarded) else Guarded(stream)
        for stream in before[:2]
    )
    warnings.formatwarning = _warning
    try:
        with warnings.catch_warnings():
            # what is too large or unknown is said in words of the figure; "overflow encountered in
            # reduce" tells nobody which one
            warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
            if is_hushed():
                warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout, sys.stderr, warnings.formatwarning = before


def _never_refusing(stream: Any) -> None:
    """Let a terminal of few characters show ``?`` for others, where it would refuse the line."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="replace")


def _warning(message: Any, *_: Any, **__: Any) -> str:
    """A warning as one line, without the line of code that gave it."""
    return f"warning: {message}\n"
