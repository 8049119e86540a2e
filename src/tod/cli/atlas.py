"""`tod atlas`: named recipes as points (target, operator)."""

from typing import Annotated

import typer

atlas = typer.Typer(
    help="Named recipes as points (target, operator).",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@atlas.command("list")
def list_recipes(
    json_out: Annotated[
        str | None, typer.Option("--json", help="Write JSON to a file, or - for stdout.")
    ] = None,
) -> None:
    """Every recipe, its target family and whether its fixed point is the target.

    Example: tod atlas list --json -
    """
    from tod.atlas import RECIPES
    from tod.atlas.page import entry, schema

    if json_out is not None:
        _emit(schema(RECIPES), json_out)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("recipe", "target", "operator", "shares q*", "title"):
        table.add_column(name, no_wrap=name != "title")
    for recipe in RECIPES.values():
        row = entry(recipe)
        table.add_row(
            row["name"],
            row["target_family"],
            row["operator_family"],
            row["shares_target"].replace("_", " "),
            row["title"],
        )
    Console(highlight=False).print(table)


@atlas.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name or alias of a recipe.")],
    json_out: Annotated[
        str | None, typer.Option("--json", help="Write JSON to a file, or - for stdout.")
    ] = None,
) -> None:
    """One recipe as a triple, with what makes it aim elsewhere.

    Example: tod atlas show gspo
    """
    from tod.atlas import recipe
    from tod.atlas.page import entry, text

    found = recipe(name)
    if json_out is not None:
        _emit(entry(found), json_out)
        return
    from rich.console import Console

    Console(highlight=False).print(text(found), soft_wrap=False)


def _emit(data: object, where: str) -> None:
    import json
    from pathlib import Path

    shown = json.dumps(data, indent=2, ensure_ascii=False)
    if where == "-":
        typer.echo(shown)
    else:
        Path(where).write_text(shown + "\n", encoding="utf-8")
