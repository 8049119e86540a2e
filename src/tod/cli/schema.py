"""`tod schema NAME`: the JSON schema of a document that a command writes."""

from pathlib import Path
from typing import Annotated

import typer

from tod.base import SpecError


def schema_command(
    name: Annotated[
        str | None, typer.Argument(help="A document, such as tod.diagnosis/1 or diagnosis.")
    ] = None,
    every: Annotated[
        Path | None, typer.Option("--all", help="Write every schema to this folder.")
    ] = None,
) -> None:
    """The JSON schema of a document that tod writes or reads.

    Example: tod schema diagnosis
    """
    from tod.show.output import json_text, put
    from tod.show.schemas import RECORDS, schema

    short = {known.removeprefix("tod.").partition("/")[0]: known for known in RECORDS}
    if every is not None:
        for word, known in short.items():
            version = known.rpartition("/")[2]
            path = every / f"{word}-{version}.schema.json"
            put(json_text(schema(known)) + "\n", path, "nothing else", "--all")
        return
    if name is None:
        typer.echo("\n".join(RECORDS))
        return
    if short.get(name, name) not in RECORDS:
        raise SpecError(f"no schema {name!r}. There are: {', '.join(RECORDS)}.")
    typer.echo(json_text(schema(short.get(name, name))))
