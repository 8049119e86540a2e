"""Libraries that only some uses need: imported here, or said to be missing with their extra."""

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from typing import Any

from tod.base.errors import MissingPackage


def load(module: str) -> Any:
    """A module of a library that not everybody has.

    Raises:
        MissingPackage: It, or what it needs, is not installed; with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "tod":
            raise
        raise MissingPackage(missing(error.name)) from None


def require(library: str) -> None:
    """Nothing, if ``load`` would find the library; does not import it.

    Raises:
        MissingPackage: It is not installed.
    """
    if find_spec(library) is None:
        raise MissingPackage(missing(library))


def missing(module: str) -> str:
    """That a library is not installed, and the command that installs it.

    >>> missing("trl.trainer")
    "this needs trl, which is not installed: pip install 'tod-posttrain[trl]'"
    """
    library = module.partition(".")[0]
    extra = _extra_of(library.replace("_", "-"))
    package = library.replace("_", "-") if extra is None else f"'tod-posttrain[{extra}]'"
    return f"this needs {library}, which is not installed: pip install {package}"


def _extra_of(package: str) -> str | None:
    """The extra of this distribution that brings a package to users; None where none does.

    One that has the package's own name, before one that brings others too.
    """
    try:
        wanted = requires("tod-posttrain") or []
    except PackageNotFoundError:
        return None
    lines = (re.match(r"([\w.-]+).*extra == ['\"](?!dev)(\w+)['\"]", line) for line in wanted)
    brought = [found.groups() for found in lines if found is not None]
    own = [extra for _, extra in brought if extra == package]
    return next(iter([*own, *(extra for name, extra in brought if name == package)]), None)
