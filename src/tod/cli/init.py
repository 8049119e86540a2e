"""`tod init`: a recipe of one's own to start from."""

from pathlib import Path
from typing import Annotated

import typer

from tod.base import SpecError
from tod.cli.completion import recipe_names


def init_command(
    recipe: Annotated[
        str,
        typer.Argument(help="The recipe to start from.", autocompletion=recipe_names),
    ] = "quickstart",
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, or - for stdout; default: RECIPE.yaml."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is already there.")
    ] = False,
) -> None:
    """Write a recipe of your own to start from, with comments.

    Every setting stands there with what it means, those left out as comments with their defaults.
    Its first line names the JSON schema, so that an editor completes keys and marks mistakes.

    Example: tod init gspo -o mine.yaml
    """
    import sys

    from tod.atlas.annotated import annotated
    from tod.show.output import put

    if output == "-":
        sys.stdout.write(annotated(recipe, Path(recipe).stem, Path.cwd()))
        return
    path = Path(output if output is not None else f"{Path(recipe).stem}.yaml")
    text = annotated(recipe, path.stem, path.parent)
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise SpecError(
            f"{path} is there already; it is not written over. Name another file with `-o`, or "
            "replace it with `--overwrite`."
        )
    put(text, path, "nothing else")
    typer.echo(f"{path}: {recipe}, to make your own of.")
    typer.echo(f"Check it: tod run {path} --dry-run")
