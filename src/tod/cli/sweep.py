"""`tod sweep RECIPE path=a,b seeds=3`: which setting is better, by more than seeds explain?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import RunError
from tod.base.streams import is_hushed
from tod.base.text import counted
from tod.cli.completion import recipe_names
from tod.cli.options import Json, Where, WhereOptions

if TYPE_CHECKING:
    from tod.show.sweep import Sweep
    from tod.study.executors import On
    from tod.study.sweep.grid import SweepGrid
    from tod.study.sweep.run import SweepProgress

ROWS = 14
"""Runs that a dry run lists."""


def sweep_command(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name, a YAML file, or the folder of a sweep to show.",
            autocompletion=recipe_names,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="target.eta=1,2,4  several values: an axis. operator=grpo,gspo  the operator of "
            "named recipes. seeds=3 or seeds=0,5,7. train.steps=50  one value: for all runs.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; default: runs/ and what differs, the same each time."
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time, one core each.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every run.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most runs in this call; the next goes on.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and the hours; run nothing.")
    ] = False,
    allow_imports: Annotated[
        bool,
        typer.Option("--allow-imports", help="Let the recipe import reward functions of yours."),
    ] = False,
    on: Where = "local",
    on_option: WhereOptions = None,
    html: Annotated[bool, typer.Option(help="Write sweep.html at the end.")] = True,
    json_out: Json = None,
) -> None:
    """Which setting is better, by more than seeds? Runs all, and says.

    Every combination of the values is run at every seed, named by what differs. Call the same
    command again after Ctrl-C, a crash or a failure: runs that ended stay, one that was cut short
    goes on from its checkpoint. More values or seeds may be added to the same folder (-o). At the
    end stand the settings, the best first, each less the best with its interval over seeds, paired
    by held-out prompt, and one page. Without settings the folder of a sweep is shown again.
    With --on ray or submitit, --processes is how many runs are handed out at a time.

    Example: tod sweep quickstart target.eta=2,5 operator=grpo,gspo seeds=3 --dry-run
    """
    from tod.study.sweep.document import FILE

    if not settings and (Path(recipe) / FILE).exists():
        from tod.show.sweep import Sweep

        _show(Sweep.of(Path(recipe)), html, json_out)
        return
    if Path(recipe).is_dir():
        raise RunError(f"{recipe} holds no sweep: it has no {FILE}. Name a recipe, and settings.")
    from tod.study.executors import On
    from tod.study.sweep.grid import grid_of, parse_words

    where = On.parse(on, on_option or (), at_once=processes, threads=threads)
    grid = grid_of(recipe, parse_words(settings or ()))
    folder = output or grid.folder
    if dry_run:
        _forecast(grid, folder, processes)
        return
    made, failed = _run(grid, folder, where, limit, allow_imports)
    _show(made, html, json_out)
    if failed:
        raise typer.Exit(1)


def _run(
    grid: "SweepGrid",
    folder: Path,
    on: "On",
    limit: int | None,
    allow_imports: bool,
) -> "tuple[Sweep, list[str]]":
    """Do what is missing, with a table; what came of it, and the runs that failed, each told."""
    import transformers

    from tod.cli.runs_table import runs_table
    from tod.show.sweep import Sweep

    transformers.utils.logging.disable_progress_bar()
    if not is_hushed():
        typer.echo(f"{counted(len(grid.runs), 'run')}, writing {folder}", err=True)
    failed: list[str] = []
    try:
        with runs_table() as told:

            def note(state: "SweepProgress") -> None:
                told(state.done, state.total, state.left, state.run or "", state.tally, state.lost)
                if state.failed is not None:
                    failed.append(f"{state.run}")
                    typer.echo(f"failed: {state.run}: {state.failed}", err=True)

            made = Sweep.run(
                grid,
                folder,
                limit=limit,
                allow_imports=allow_imports,
                progress=note,
                on=on,
            )
    except KeyboardInterrupt:
        typer.echo(f"{folder} is saved. Go on with the same command.", err=True)
        raise
    return made, failed


def _show(made: "Sweep", html: bool, json_out: str | None) -> None:
    """Say what the runs say, and write it as a page and as JSON."""
    from dataclasses import asdict

    from tod.show.output import put_json
    from tod.show.screen import Screen

    page = made.page() if html else None
    if put_json(asdict(made.document), json_out):
        console = Screen()
        for line in made.lines(page):
            console.print(line, soft_wrap=True)


def _forecast(grid: "SweepGrid", folder: Path, processes: int) -> None:
    """The runs, how they stand, and the hours of those that are missing."""
    from tod.cli.runs_table import duration
    from tod.show.screen import Screen
    from tod.study.sweep.forecast import hours_of
    from tod.study.sweep.plan import plan_of
    from tod.study.sweep.run import missing_of, step_of

    document = plan_of(grid, folder)
    steps = {
        run.name: int(run.recipe["train"]["steps"]) - step_of(folder / run.name)
        for run in missing_of(grid, folder)
    }
    hours = hours_of(grid, document, folder, steps)
    there = len(grid.runs) - len(steps)
    console = Screen()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    say(f"{counted(len(grid.runs), 'run')}, {there} there, {len(steps)} to run, in {folder}")
    if steps:
        basis = "by the runs so far" if hours.measured else "at most, by their operations"
        told = f"about {duration(3600 * hours.total(1))} of one core, {basis}"
        if processes > 1:
            told += f"; {duration(3600 * hours.total(processes))} with {processes} processes"
        say(told)
    for line in grid.unequal:
        say(f"not the operators alone: {line}")
    say("")
    for run in grid.runs[:ROWS]:
        left = f"{steps[run.name]} steps" if run.name in steps else "there"
        say(f"{run.name:<60.60} {left:>12}")
    if len(grid.runs) > ROWS:
        say(f"and {len(grid.runs) - ROWS} more")
