"""Whose trainer a Python program runs, by what it imports. Nothing is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Trainer", "trainer_of"]


@dataclass(frozen=True)
class Trainer:
    """A trainer that a program imports.

    Attributes:
        package: The outermost package; empty for a file in the folder of the program.
        name: Its class.
        changed: Whether the program derives a class from it or writes over a part of it.
    """

    package: str
    name: str
    changed: bool = False


def trainer_of(text: str) -> Trainer | None:
    """The one class called a trainer that a program imports; None if there is none, or several.

    Args:
        text: The program.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    found = set(_imported(tree))
    if len(found) != 1:
        return None
    ((package, name, called),) = found
    return Trainer(package, name, any(_changes(node, called) for node in ast.walk(tree)))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Package, class and the name that it has here of every class that is called a trainer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package = "" if node.level else (node.module or "").partition(".")[0]
            for one in node.names:
                if one.name.endswith("Trainer"):
                    yield package, one.name, one.asname or one.name


def _changes(node: ast.AST, name: str) -> bool:
    """Whether a statement derives from a class of that name, or writes one of its attributes."""
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id == name for base in node.bases)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(
        isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == name
        for target in targets
    )
