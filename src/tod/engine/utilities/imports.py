"""A reward function of one's own, at an import path or in a file."""

import importlib
import inspect
import sys
from collections.abc import Callable
from hashlib import blake2b
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from tod.base import SpecError


def load_function(path: str) -> Callable[..., Any]:
    """The function at an import path ``pkg.module:name``, or of a file ``my_rewards.py:name``.

    A file is found from the working directory, needs no PYTHONPATH, and may import its neighbours.

    Raises:
        SpecError: The module cannot be imported, or has no such function.
    """
    place, _, name = path.rpartition(":")
    module = _of_file(Path(place), path) if place.endswith(".py") else _of_path(place, path)
    function = getattr(module, name, None)
    if not callable(function):
        known = ", ".join(n for n, f in vars(module).items() if inspect.isfunction(f))
        raise SpecError(
            f"function {path!r}: {place!r} has no function {name!r}. It has: {known or 'none'}."
        )
    return function  # type: ignore[no-any-return]


def _of_path(place: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        file, name = Path(*place.split(".")).with_suffix(".py"), path.rpartition(":")[2]
        here = f"There is {file} here: write {file}:{name}." if file.is_file() else ""
        raise SpecError(
            f"function {path!r}: module {place!r} cannot be imported ({error}). "
            + (here or f"Check the name, that PYTHONPATH has it, or give its file, {file}:{name}.")
        ) from error


def _of_file(file: Path, path: str) -> ModuleType:
    """The module of a file, run once in a process."""
    file = file.expanduser().resolve()
    if not file.is_file():
        raise SpecError(f"function {path!r}: there is no file {file}. Check the path.")
    own = f"tod_rewards_{blake2b(str(file).encode(), digest_size=8).hexdigest()}"
    if own in sys.modules:
        return sys.modules[own]
    spec = spec_from_file_location(own, file)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it is a .py file
    module = module_from_spec(spec)
    sys.modules[own] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # at the end: no neighbour hides an installed library
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[own]
        raise SpecError(
            f"function {path!r}: {file} cannot be run ({type(error).__name__}: {error})."
        ) from error
    return module
