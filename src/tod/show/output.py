"""A document to a file, whole or not at all."""

from pathlib import Path

from tod.base import RunError
from tod.runs.atomic import explained, write_atomic


def put(html: str, target: Path, kept: str, option: str = "--output") -> Path:
    """Write the document; ``kept`` says what is safe if the disk is full, ``option`` what to turn.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        with explained(str(target), kept):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, html)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror}). Name another file with `{option}`."
        ) from error
    return target
