"""Faults planted into whatever runs inside a person's training, found by introspection."""

import errno
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tod.live.guard import harmless

MODULES = (
    "tod.live.export",
    "tod.live.trl.callback",
    "tod.live.findings",
    "tod.live.trl.generated",
    "tod.live.trl.hooks",
    "tod.live.step",
    "tod.live.trl.trainer",
    "tod.procedure.procedure",
    "tod.runs.atomic",
    "tod.runs.directory",
    "tod.runs.json_lines",
    "tod.runs.lock",
    "tod.runs.table_parts",
    "tod.runs.records",
)
WRAPPED = ("Hooks._generate", "Hooks._rewards", "Hooks._forward")
"""The trainer's own methods as we wrap them: what they call may fail, they may not."""


class Unprintable(Exception):
    """An error that fails again when it is printed."""

    def __str__(self) -> str:
        raise ValueError("no text either")


KINDS: dict[str, Callable[[], BaseException]] = {
    "fault": lambda: RuntimeError("planted"),
    "full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "denied": lambda: PermissionError(errno.EACCES, "Permission denied"),
    "memory": lambda: MemoryError(),
    "unprintable": lambda: Unprintable(),
    "interrupt": lambda: KeyboardInterrupt(),
}


def places(modules: tuple[str, ...] = MODULES) -> list[str]:
    """``module:name`` and ``module:Class.method`` of every function that our modules define."""
    found = []
    for name in modules:
        module = importlib.import_module(name)
        for item, value in vars(module).items():
            if getattr(value, "__module__", None) != name:
                continue
            if inspect.isfunction(value):
                found.append(f"{name}:{item}")
            elif inspect.isclass(value):
                found += [
                    f"{name}:{item}.{method}"
                    for method, body in vars(value).items()
                    if inspect.isfunction(inspect.unwrap(getattr(body, "__func__", body)))
                    and not method.startswith("__")
                    and f"{item}.{method}" not in WRAPPED
                ]
    return sorted(found)


@contextmanager
def planted(place: str, kind: str) -> Iterator[list[int]]:
    """The function fails whenever it is called; how often that was is counted in the list."""
    module_name, _, path = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    before = vars(owner)[name]
    calls: list[int] = []

    def fails(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise KINDS[kind]()

    doing = getattr(before, "doing", None)
    new: Any = fails if doing is None else harmless(doing)(fails)
    if isinstance(before, staticmethod | classmethod):
        new = staticmethod(new)
    elif isinstance(before, property):
        new = property(new)
    spots = [(owner, name)]
    if not classes:  # whoever imported the name
        spots += [
            (importlib.import_module(other), name)
            for other in (*MODULES, "tod.live.verl", "tod.live.openrlhf")
            if getattr(importlib.import_module(other), name, None) is before
        ]
    for spot, item in spots:
        setattr(spot, item, new)
    try:
        yield calls
    finally:
        for spot, item in spots:
            setattr(spot, item, before)
