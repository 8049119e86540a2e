"""`tod atlas`: named recipes and configurations as points (target, operator)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.cli.audit import audit_command
from tod.cli.command import Commands, PanelCommand
from tod.cli.completion import recipe_names
from tod.cli.options import Framework, Json, Map, Method, Set, Version, parse_map, told_of

if TYPE_CHECKING:
    from tod.configurations import Located

atlas = typer.Typer(
    cls=Commands,
    help="Recipes and configurations as pairs of target and operator.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
atlas.command("audit", cls=PanelCommand)(audit_command)


@atlas.command("list", cls=PanelCommand)
def list_recipes(json_out: Json = None) -> None:
    """Every recipe, its families, and whether it ends at its target.

    Example: tod atlas list --json -
    """
    from tod.atlas import RECIPES
    from tod.atlas.card import entry, schema
    from tod.atlas.measured import EMBEDDED
    from tod.show.output import put_json
    from tod.show.screen import Screen
    from tod.show.screen import table as empty

    if json_out is not None:
        put_json(schema(RECIPES), json_out)
        return
    console = Screen()
    # a title needs some fifty columns beside the rest; where they lack titles come after the table
    titled, placed = console.width >= 125, console.width >= 105
    table = empty(())
    more = (*(("measured",) if placed else ()), *(("title",) if titled else ()))
    for name in ("recipe", "target", "operator", "shares q*", *more):
        table.add_column(name, no_wrap=name != "title")
    for recipe in RECIPES.values():
        row = entry(recipe)
        table.add_row(
            row["name"],
            row["target_family"],
            row["operator_family"],
            row["shares_target"].replace("_", " "),
            *((_verdict(row["measured"]),) if placed else ()),
            *((row["title"],) if titled else ()),
        )
    console.print(table)
    if placed:
        console.print(f"measured: regime of one run on {EMBEDDED}")
    if not titled:
        for recipe in RECIPES.values():
            console.print(f"{recipe.name}: {recipe.title}", soft_wrap=False)


@atlas.command("show", cls=PanelCommand)
def show(
    name: Annotated[
        str, typer.Argument(help="Name or alias of a recipe.", autocompletion=recipe_names)
    ],
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="The file that tod run reads, to start your own from.")
    ] = False,
    json_out: Json = None,
) -> None:
    """One recipe as a triple, with what makes it aim elsewhere.

    Example: tod atlas show gspo --yaml > mine.yaml
    """
    from tod.atlas import own_copy, recipe
    from tod.atlas.card import entry, text

    if as_yaml:
        typer.echo(own_copy(name), nl=False)
        return
    found = recipe(name)
    from tod.show.output import put_json
    from tod.show.screen import Screen

    if json_out is not None:
        put_json(entry(found), json_out)
        return
    Screen().print(text(found), soft_wrap=False)


@atlas.command("grid", cls=PanelCommand)
def grid_command(
    html: Annotated[Path | None, typer.Option(help="Write the grid as an HTML page.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Runs that place the cells, in place of ours.")
    ] = None,
    json_out: Json = None,
) -> None:
    """The map: target families by operator families.

    Seven by six, and what stands in every cell.

    Example: tod atlas grid --html atlas.html
    """
    from tod.atlas.grid import document, grid
    from tod.atlas.measured import EMBEDDED
    from tod.cli.evidence import positions
    from tod.show.output import put, put_json
    from tod.show.page.atlas_page import atlas_page
    from tod.show.screen import Screen
    from tod.show.terminal.atlas import grid_text

    cells = grid(None if runs is None else positions(runs))
    on = EMBEDDED if runs is None else str(runs)
    free = put_json(document(cells, on), json_out)
    if html is not None:
        path = put(atlas_page(cells, on), html, "nothing else", "--html")
        if free:
            Screen().print(str(path), soft_wrap=True)
    elif json_out is None:
        typer.echo(grid_text(cells, _width(), on))


@atlas.command("locate", cls=PanelCommand)
def locate_command(
    file: Annotated[
        Path, typer.Argument(help="Any of thirteen frameworks' files, or a recipe of ours.")
    ],
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything, in full.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write its place on the map as an HTML page.")
    ] = None,
    json_out: Json = None,
) -> None:
    """What a configuration aims at, and what changes that silently.

    It is shown as a triple.

    Reads a script's syntax, JSON, YAML, Hydra overrides or a command line; runs and imports
    nothing. Example: tod atlas locate train_grpo.py
    """
    from tod.show.output import put_json
    from tod.show.terminal.atlas import located_text

    found = told_of(framework, method, settings, version).locate(file)
    if html is not None:
        _put_on_map(found, file, html)
    if put_json(found.to_dict(), json_out):
        typer.echo(located_text(found, _width(), file=str(file), verbose=verbose))


def _put_on_map(found: "Located", file: Path, html: Path) -> None:
    """Write the page of a configuration's place on the map."""
    from tod.atlas.grid import grid
    from tod.show.output import put
    from tod.show.page.atlas_page import FilePlace, atlas_page
    from tod.show.terminal.atlas import aims_at, cell_of, located_rows

    here = FilePlace(
        cell=cell_of(found),
        title=f"{file.name}: {found.framework} {found.method}",
        aims=aims_at(found),
        said=located_rows(found, file=str(file)),
    )
    put(atlas_page(grid(), here=here), html, "nothing else", "--html")


@atlas.command("compare", cls=PanelCommand)
def compare_command(
    a: Annotated[str, typer.Argument(help="A recipe's name, or a configuration file.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    on: Annotated[
        Path | None, typer.Option(help="A run directory or rollouts that decide on a swap.")
    ] = None,
    swap: Annotated[
        bool, typer.Option(help="Say what to change in B, a file, for it to aim at A's target.")
    ] = False,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    mapping: Map = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="All differences, in full.")
    ] = False,
    json_out: Json = None,
) -> None:
    """Do two procedures share a target, and may one be swapped?

    What differs is listed; whether one may be swapped is read from data.

    What options say of a file they say of both; of one alone with `a:` or `b:` before it, as in
    --method b:dpo --set a:beta=0.1.

    Example: tod atlas compare grpo train_grpo.py --on runs/mine
    """
    from dataclasses import replace

    from tod.configurations import compare
    from tod.show.output import put_json
    from tod.show.terminal.atlas import compared_text

    said = told_of(framework, method, settings, version).of_two(a, b)
    left, right = said[0].side(a), said[1].side(b)
    found = compare(left, right)
    if on is not None:
        from tod.cli.evidence import regime_on

        regime, remark = regime_on(on, left, right, parse_map(mapping or []))
        found = compare(left, right, regime)
        found = replace(found, reasons=(*found.reasons, remark))
    data = found.to_dict()
    if swap:
        from dataclasses import asdict

        from tod.configurations.toward import toward
        from tod.show.terminal.atlas import toward_text

        change = toward(left, Path(b), said[1])
        data = {**data, "toward": asdict(change)}
        if put_json(data, json_out):
            typer.echo(toward_text(change, found, _width()))
        return
    if put_json(data, json_out):
        typer.echo(compared_text(found, _width(), verbose=verbose))


@atlas.command("translate", cls=PanelCommand)
def translate_command(
    file: Annotated[
        str, typer.Argument(help="A configuration file, or the name of a recipe of ours.")
    ],
    to: Annotated[str, typer.Option(help="Framework to write it for: trl, verl or tod.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: stdout.")
    ] = None,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    json_out: Json = None,
) -> None:
    """The same triple for another framework.

    What that one has no setting for is said.

    What is written is read again and compared: whether both aim at one target, and what is left
    apart, is what that comparison says. Models, data and rewards are yours to fill in.

    Example: tod atlas translate grpo --to verl -o grpo.sh
    """
    from dataclasses import asdict

    from tod.atlas.entries import recipe_file
    from tod.base import SpecError
    from tod.configurations.translate import translate
    from tod.show.output import put, put_json
    from tod.show.terminal.atlas import translated_text

    if to not in ("trl", "verl", "tod"):
        raise SpecError(f"--to {to}: known are trl, verl and tod.")
    path = Path(file) if Path(file).exists() else recipe_file(file)
    said = told_of(framework, method, settings, version)
    made = translate(said.locate(path), to)  # type: ignore[arg-type]
    if not put_json({"schema": "tod.translate/1", **asdict(made)}, json_out):
        return
    if output is None:
        typer.echo(made.text, nl=False)
    else:
        put(made.text, output, "nothing else", "--output")
    typer.echo(translated_text(made, _width()), err=output is None)


def _verdict(measured: dict[str, object] | None) -> str:
    """The regime that was measured."""
    return "unknown" if measured is None else str(measured["verdict"]).replace("_", "-")


def _width() -> int:
    """Columns of the terminal, between 80 and 110; 80 where there is none."""
    from shutil import get_terminal_size

    return max(80, min(110, get_terminal_size((80, 24)).columns))
