"""`tod run RECIPE`: train (or search) as a recipe says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import SpecError
from tod.cli.options import Json

if TYPE_CHECKING:
    from tod.engine.settings import RunSettings


def run(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name (see tod atlas list), or a YAML file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Dotted overrides, e.g. operator.proposal.size=16.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last good checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is already there.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the resolved triple, memory and cost; train nothing."),
    ] = False,
    allow_imports: Annotated[
        bool,
        typer.Option("--allow-imports", help="Let the recipe import reward functions of yours."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; default: what the machine has free."),
    ] = None,
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
    execute(
        settings,
        resume=resume,
        overwrite=overwrite,
        allow_imports=allow_imports,
        threads=threads,
        html=html,
        json_out=json_out,
    )


def execute(
    settings: "RunSettings",
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_imports: bool = False,
    threads: int | None = None,
    html: bool = True,
    json_out: str | None = None,
) -> None:
    """Train, or search, with live progress, then report; the report's path is printed last.

    Raises:
        SpecError: ``json_out`` names a folder that is not there; before anything is done.
    """
    if json_out not in (None, "-") and not Path(str(json_out)).parent.is_dir():
        raise SpecError(f"--json {json_out}: there is no folder {Path(str(json_out)).parent}.")
    import torch
    import transformers

    from tod.engine.distributed import World
    from tod.engine.models import default_threads
    from tod.engine.search import search
    from tod.engine.train import train
    from tod.show.terminal.progress import Progress

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(default_threads() if threads is None else threads)
    world = World.join()
    with Progress(settings, quiet=not world.main or json_out == "-") as progress:
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
    if not world.main:
        return
    progress.finished(path)
    if html:
        from tod.show import write

        target = write([path], path / "report.html")
        progress.say(f"report: {target}")
    if json_out is not None:
        from tod.runs import RunDirectory
        from tod.show.output import put_json

        *_, last = RunDirectory.open(path).steps.read()
        put_json(last, json_out)
