"""Recipes: named pairs of a target and an operator, each a YAML file of ``recipes/``.

A file is a whole run, as ``tod run`` reads it. Its block ``atlas`` says what is known of the
method; a file without that block can be run by name and is no entry of the atlas. To add a recipe,
add a file.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from os.path import isfile
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from tod.base import Spec, SpecError, read_packaged
from tod.base.brief import WIDTH, first_lines
from tod.operators import Operator
from tod.procedure import Procedure
from tod.targets import TargetSpec

__all__ = [
    "Entry",
    "Recipe",
    "SharesTarget",
    "own_copy",
    "recipe",
    "recipe_file",
    "recipes",
]

FOLDER = Path(__file__).parent / "recipes"
"""Where the files are; ``configs`` of the repository is a link to it."""

SCHEMA = FOLDER / "recipe-1.schema.json"
"""Every key of a recipe for editors, as `tod.engine.recipe_schema` makes it."""
EDITOR = "# yaml-language-server: $schema="
"""Begins the line that names the schema to an editor."""

OperatorFamily = Literal[
    "supervised",
    "preference_surrogate",
    "proximal_rl",
    "verifier_rl",
    "on_policy_distillation",
    "test_time",
]
"""The six operator families of the framework's Table 2."""

SharesTarget = Literal["yes", "on_policy", "one_update", "no"]
"""Whether the fixed point is q*: always; only while μ tracks π; only for one update; never."""


def _word(value: object) -> object:
    """YAML reads a bare ``yes`` or ``no`` as a boolean."""
    return ("no", "yes")[value] if isinstance(value, bool) else value


class Entry(Spec):
    """What is known of a named method: the block ``atlas`` of its file."""

    title: str
    """One line for people."""
    family: OperatorFamily
    """Row of Table 2."""
    shares_target: Annotated[
        SharesTarget, BeforeValidator(_word, json_schema_input_type=SharesTarget | bool)
    ]
    """Whether its fixed point is q*."""
    differs: tuple[str, ...] = ()
    """What makes it aim elsewhere, if it does, each a setting and its effect."""
    papers: tuple[str, ...] = ()
    """arXiv identifiers or citations."""
    aliases: tuple[str, ...] = ()
    """Other names it goes by."""


class Recipe(Entry):
    """A named method as a triple; the diagnostics D are the same for all.

    Two recipes are the same method when their target and operator are equal, whatever their names.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """What the command line calls it."""
    target: TargetSpec
    """q*."""
    operator: Operator
    """(μ, A)."""

    @property
    def procedure(self) -> Procedure:
        """The triple without its name."""
        return Procedure(target=self.target, operator=self.operator)


class Recipes(dict[str, Recipe]):
    """Recipes by name; its repr is their names."""

    def __repr__(self) -> str:
        names = fill(", ".join(self), WIDTH, initial_indent="  ", subsequent_indent="  ")
        return "\n".join(first_lines([f"{len(self)} recipes by name:", *names.splitlines()]))


@cache
def recipes() -> Recipes:
    """The atlas: every recipe by name, by family and then by name; read once."""
    entries = []
    for path in FOLDER.glob("*.yaml"):
        data: dict[str, Any] = read_packaged(path)
        if "atlas" in data:
            triple = {key: data[key] for key in ("name", "target", "operator")}
            entries.append(Recipe.parse({**triple, **data["atlas"]}, str(path)))
    families = get_args(OperatorFamily)
    entries.sort(key=lambda entry: (families.index(entry.family), entry.name))
    return Recipes((entry.name, entry) for entry in entries)


def recipe(name: str) -> Recipe:
    """The recipe of that name or alias.

    Raises:
        SpecError: There is none; the nearest name is given.
    """
    known = {alias: entry for entry in recipes().values() for alias in (entry.name, *entry.aliases)}
    _require(name, known)
    return known[name]


def recipe_file(name: str) -> Path:
    """The file of a recipe: the path itself, or the package's file of a name or alias.

    Whatever is a file here, ends as a YAML file does, or names a folder, is a path.

    Raises:
        SpecError: It is no path and no name; the nearest name is given.
    """
    path = Path(name)
    if isfile(name) or path.suffix in (".yaml", ".yml", ".json") or path.name != name:
        return path
    known = {file.stem: file for file in FOLDER.glob("*.yaml")}
    if name not in known:
        known |= {alias: known[r.name] for r in recipes().values() for alias in r.aliases}
    _require(name, known)
    return known[name]


def editor_line(folder: Path) -> str:
    """The comment by which an editor finds the schema, for a file in a folder."""
    there, here = SCHEMA.resolve(), folder.resolve()
    path = there.relative_to(here) if there.is_relative_to(here) else there
    return f"{EDITOR}{path}"


def own_copy(name: str) -> str:
    """The text of a recipe's file without the block ``atlas``, which speaks of the named method.

    It is for a file in the working directory.

    Raises:
        SpecError: There is no such recipe; the nearest name is given.
    """
    text = recipe_file(name).read_text(encoding="utf-8")
    text = re.sub(r"^atlas:\n(?: .*\n)*", "", text, flags=re.MULTILINE)
    line = editor_line(Path.cwd())
    return re.sub(rf"^{re.escape(EDITOR)}.*$", lambda _: line, text, flags=re.MULTILINE)


def _require(name: str, known: Collection[str]) -> None:
    if name not in known:
        close = get_close_matches(name, known, n=1)
        way = f"Did you mean {close[0]!r}? " if close else ""
        raise SpecError(f"no recipe {name!r} in the atlas. {way}`tod atlas list` has all of them.")
