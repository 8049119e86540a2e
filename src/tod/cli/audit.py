"""`tod atlas audit`: what a recipe truly aims at, on an exact finite world."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.base import SpecError, read_mapping
from tod.cli.options import Json

if TYPE_CHECKING:
    from tod.atlas import Recipe
    from tod.procedure import Procedure
    from tod.study.audit import Audit
    from tod.study.selection_audit import SelectionAudit


def audit_command(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(help="Names of the atlas, or recipes as YAML.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every recipe of the atlas.")] = False,
    eta: Annotated[float, typer.Option(help="Sharpness at which the target is audited.")] = 1.5,
    shared: Annotated[
        bool, typer.Option("--shared", help="Train a network in place of the table.")
    ] = False,
    ragged: Annotated[
        bool, typer.Option("--ragged", help="Sequences of unequal lengths, ended by a symbol.")
    ] = False,
    sizes: Annotated[
        str | None,
        typer.Option("--k", help="Also with groups of so many rollouts, such as 2,4,8,16,64."),
    ] = None,
    json_out: Json = None,
) -> None:
    """What a recipe truly aims at, on exact small worlds.

    Its fixed point is found on every sequence of a small language. Exit code 3: a claim is refuted.

    Prints TV to the declared target, the sharpness that fits best, and what is left. A recipe of
    the atlas passes when its claim is what was found; a YAML file, which claims nothing, when it
    shares its target at least while mu follows the policy. A selection at test time has no
    fixed point: the law of what it puts out is drawn and compared, by the number of candidates.

    Example: tod atlas audit grpo sir --k 2,16
    """
    from tod.show.output import put_json
    from tod.show.screen import Screen
    from tod.show.terminal.audit import sentence, tables

    found = _audited(_asked(recipes or [], every), eta, shared, ragged, _whole(sizes))
    data: Any = [item.to_dict() for item in found]
    data = data[0] if len(data) == 1 else {"schema": "tod.audit/1", "audits": data}
    if put_json(data, json_out):
        console = Screen()
        for table in tables(found):
            console.print(table)
        for item in found:
            console.print(sentence(item), style=None if item.passed else "bold")
    if not all(item.passed for item in found):
        raise typer.Exit(3)


def _asked(names: list[str], every: bool) -> "dict[str, Recipe | Procedure]":
    """Recipes by name.

    Raises:
        SpecError: Nothing is asked, or a name or file is unknown.
    """
    from tod.atlas import RECIPES, recipe

    chosen: dict[str, Recipe | Procedure] = {}
    if every:
        for entry in RECIPES.values():
            chosen[entry.name] = entry
    for name in names:
        if name.endswith((".yaml", ".yml")):
            chosen[name] = _from_file(Path(name))
        else:
            chosen[name] = recipe(name)
    if not chosen:
        raise SpecError("nothing to audit: give a name of the atlas, a YAML file, or --all.")
    return chosen


def _from_file(path: Path) -> "Procedure":
    """The triple of a recipe file; what is needed to run it is not read.

    Raises:
        SpecError: It is not a recipe.
    """
    from tod.configurations.own import triple_of

    needed = "A recipe is a mapping with `target` and `operator`."
    return triple_of(read_mapping(path, needed), str(path))


def _audited(
    asked: "dict[str, Recipe | Procedure]",
    eta: float,
    shared: bool,
    ragged: bool,
    sizes: tuple[int, ...],
) -> "list[Audit | SelectionAudit]":
    """Each of them, with progress on a terminal."""
    from rich.progress import track

    from tod.show.screen import Screen
    from tod.study.audit import audit, audit_world

    if not 0.0 < eta < 20.0:
        raise SpecError(f"eta = {eta}: an audit needs a sharpness between 0 and 20.")
    console = Screen(stderr=True)
    shown = track(
        asked.items(), "auditing", console=console, transient=True, disable=not console.is_terminal
    )
    world = audit_world(ends=ragged)
    return [
        audit(item, world=world, eta=eta, shared=shared, name=name, sizes=sizes)
        for name, item in shown
    ]


def _whole(text: str | None) -> tuple[int, ...]:
    """Candidates of a group, ascending.

    Raises:
        SpecError: One of them is no whole number of at least 2.
    """
    words = [] if text is None else text.replace(",", " ").split()
    if not all(word.isdigit() and 2 <= int(word) <= 4096 for word in words):
        raise SpecError(f"--k {text}: groups of 2 to 4096 rollouts, as in 2,4,16.")
    return tuple(sorted({int(word) for word in words}))
