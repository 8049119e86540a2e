"""`tod schema NAME`: the JSON schema of a document that a command writes."""

from pathlib import Path
from typing import Annotated

import typer

from tod.base import SpecError

RECIPE = "tod.recipe/1"
"""What a person writes, where the others are written by commands."""


def schema_command(
    name: Annotated[
        str | None, typer.Argument(help="A document, such as tod.diagnosis/1 or diagnosis; recipe.")
    ] = None,
    every: Annotated[
        Path | None, typer.Option("--all", help="Write every schema to this folder.")
    ] = None,
) -> None:
    """The JSON schema of a document that tod writes or reads.

    Without a name, what there is. `tod schema recipe` is what editors check recipes by.

    Example: tod schema diagnosis
    """
    from tod.show.output import json_text, put
    from tod.show.schemas import RECORDS, schema

    short = {known.removeprefix("tod.").partition("/")[0]: known for known in (*RECORDS, RECIPE)}
    if every is not None:
        for word, known in short.items():
            if known == RECIPE:  # it lies with the recipes, where editors look
                continue
            version = known.rpartition("/")[2]
            path = every / f"{word}-{version}.schema.json"
            put(json_text(schema(known)) + "\n", path, "nothing else", "--all")
        return
    if name is None:
        typer.echo("\n".join(short.values()))
        return
    known = short.get(name, name)
    if known not in short.values():
        raise SpecError(f"no schema {name!r}. There are: {', '.join(short.values())}.")
    typer.echo(json_text(_of_recipes() if known == RECIPE else schema(known)))


def _of_recipes() -> object:
    from tod.engine.recipe_schema import recipe_schema

    return recipe_schema()
