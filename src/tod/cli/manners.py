"""What every command takes anywhere on its line: --quiet and --no-color."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from tod.base.streams import hushed

QUIET, NO_COLOR = "--quiet", "--no-color"


@contextmanager
def manners(words: Sequence[str]) -> Iterator[list[str]]:
    """The words without ``--quiet`` and ``--no-color``, which hold while the command runs.

    What stands behind ``--`` is left as it is.
    """
    end = words.index("--") if "--" in words else len(words)
    asked = {word for word in words[:end] if word in (QUIET, NO_COLOR)}
    rest = [*(word for word in words[:end] if word not in asked), *words[end:]]
    before = os.environ.get("NO_COLOR")
    if NO_COLOR in asked:
        os.environ["NO_COLOR"] = "1"
    try:
        with hushed(QUIET in asked):
            yield rest
    finally:
        if NO_COLOR in asked:
            del os.environ["NO_COLOR"]
            if before is not None:
                os.environ["NO_COLOR"] = before


def versions() -> str:
    """This package, Python, numpy and torch with their versions, read without importing them."""
    import platform

    said = [f"tod {_version('tod-posttrain')}", f"python {platform.python_version()}"]
    return ", ".join([*said, *(f"{name} {_version(name)}" for name in ("numpy", "torch"))])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
