"""`tod run RECIPE`: train (or search) as a recipe says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import SpecError
from tod.base.streams import is_hushed
from tod.cli.completion import recipe_names
from tod.cli.options import Json, Overrides, Overwrite, Threads

if TYPE_CHECKING:
    from tod.show.terminal.progress import Progress


def run(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name (see tod atlas list), or a YAML file.",
            autocompletion=recipe_names,
        ),
    ],
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last good checkpoint.")
    ] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the resolved triple, memory and cost; train nothing."),
    ] = False,
    allow_imports: Annotated[
        bool,
        typer.Option("--allow-imports", help="Let the recipe import reward functions of yours."),
    ] = False,
    threads: Threads = None,
    html: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    json_out: Json = None,
) -> None:
    """Run a recipe; writes a run directory and a report.

    Example: tod run quickstart train.steps=20 output=runs/mine
    """
    from tod.atlas import recipe_file
    from tod.engine.settings import RunSettings

    settings = RunSettings.load(recipe_file(recipe), tuple(overrides or ()))
    if dry_run:
        from tod.show.terminal.forecast import show_forecast

        show_forecast(settings)
        return
    if json_out not in (None, "-") and not Path(str(json_out)).parent.is_dir():
        raise SpecError(f"--json {json_out}: there is no folder {Path(str(json_out)).parent}.")
    import torch
    import transformers

    from tod.engine.distributed import World, default_threads
    from tod.engine.search.job import search
    from tod.engine.train import train
    from tod.show.terminal.progress import Progress

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(default_threads() if threads is None else threads)
    world = World.join()
    silent = not world.main or json_out == "-" or is_hushed()
    with Progress(settings, quiet=silent) as progress:
        try:
            path = (search if settings.selects else train)(
                settings,
                resume=resume,
                overwrite=overwrite,
                allow_imports=allow_imports,
                events=progress.events,
                world=world,
            )
        except KeyboardInterrupt:
            progress.interrupted()
            raise
    if world.main:
        _report(progress, path, html, json_out)


def _report(progress: "Progress", path: Path, html: bool, json_out: str | None) -> None:
    """What came of a run: lines on the terminal, then a page, then the last record.

    To a quiet command its directory alone, which a script reads.
    """
    progress.finished(path)
    if is_hushed() and json_out != "-":
        typer.echo(str(path))
    if html:
        from tod.show import write

        progress.say(f"report: {write([path], path / 'report.html')}")
    if json_out is not None:
        from tod.runs import RunDirectory
        from tod.show.output import put_json

        *_, last = RunDirectory.open(path).steps.read()
        put_json(last, json_out)
