"""Silence for a library that prints its panics before it raises them."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replayed_unless_raised() -> Iterator[None]:
    """What is written to the process's stderr meanwhile is shown at the end, if nothing was raised.

    A panic of polars on a damaged file arrives as an exception too; its printed backtrace is no
    news to anybody.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no stderr to guard
        yield
        return
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            raised = sys.exc_info()[0] is not None
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
        if not raised and kept.seek(0, 2):
            kept.seek(0)
            os.write(2, kept.read())
