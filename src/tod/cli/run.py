"""`tod run RECIPE`: train (or search) as a recipe says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import SpecError
from tod.base.streams import is_hushed
from tod.cli.completion import recipe_names
from tod.cli.options import Json, Overrides, Overwrite, Threads

if TYPE_CHECKING:
    from tod.engine.settings import RunSettings
    from tod.show.terminal.progress import RunProgress


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name, a YAML file, or with --resume a run's directory.",
            autocompletion=recipe_names,
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a run; with train.steps=N make it longer."),
    ] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the resolved triple, memory and cost; train nothing. With -v every setting.",
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Of a dry run: the whole recipe as YAML.")
    ] = False,
    processes: Annotated[
        int,
        typer.Option("--processes", min=1, help="Of a dry run: how many torchrun will start."),
    ] = 1,
    allow_imports: Annotated[
        bool,
        typer.Option("--allow-imports", help="Let the recipe import reward functions of yours."),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            "--track", help="Trackers: tensorboard,trackio,wandb,mlflow.", metavar="NAMES"
        ),
    ] = None,
    threads: Threads = None,
    html: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    json_out: Json = None,
) -> None:
    """Run a recipe, or list those that there are.

    Writes a run directory and a report. The directory is named by itself, such as
    runs/gspo-steps20-k7qm, unless output=... names it. --resume finds the run of the same settings
    that is not done, or takes its directory; train.steps=N makes a run longer where the steps that
    are done stay what they were: under a decaying schedule, up to train.schedule_steps.

    Example: tod run quickstart train.steps=20 output=runs/mine
    """
    from tod.engine.which_recipe import settings_of

    if recipe is None:
        from tod.show.terminal.recipe_list import recipe_list

        typer.echo(recipe_list())
        return
    words = (*(overrides or ()), *([] if track is None else [f"track=[{track}]"]))
    settings = settings_of(recipe, words, resume)
    if dry_run:
        from tod.show.terminal.forecast import show_forecast

        show_forecast(settings, verbose, processes)
        return
    if processes > 1:
        raise SpecError(
            f"--processes {processes} is for --dry-run. Start them by torchrun --nproc-per-node "
            f"{processes} -m tod run … (docs/scale.md)."
        )
    if json_out not in (None, "-") and not Path(str(json_out)).parent.is_dir():
        raise SpecError(f"--json {json_out}: there is no folder {Path(str(json_out)).parent}.")
    progress, path = carried_out(
        settings,
        words,
        json_out,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        allow_imports=allow_imports,
    )
    if progress is not None:
        _report(progress, path, html, json_out)


def carried_out(
    settings: "RunSettings",
    words: tuple[str, ...],
    json_out: str | None,
    *,
    threads: int | None,
    resume: bool,
    overwrite: bool,
    allow_imports: bool,
) -> "tuple[RunProgress | None, Path]":
    """The run, and who watched it; None in a process that is not the main one."""
    from tod.engine.conduct import conduct, on_threads
    from tod.engine.place import placed
    from tod.show.terminal.progress import RunProgress

    with on_threads(threads) as world:
        settings = placed(settings, world, resume=resume, overwrite=overwrite, overrides=words)
        silent = not world.main or json_out == "-" or is_hushed()
        with RunProgress(settings, quiet=silent) as progress:
            try:
                path = conduct(
                    settings,
                    world,
                    resume=resume,
                    overwrite=overwrite,
                    allow_imports=allow_imports,
                    events=progress.events,
                )
            except KeyboardInterrupt:
                progress.interrupted()
                raise
        return progress if world.main else None, path


def _report(progress: "RunProgress", path: Path, html: bool, json_out: str | None) -> None:
    """What came of a run: lines on the terminal, then a page, then the last record.

    To a quiet command its directory alone, which a script reads.
    """
    progress.finished(path)
    if is_hushed() and json_out != "-":
        typer.echo(str(path))
    from tod.show.report import write_run

    page = write_run(path, html=html)
    if page is not None:
        progress.say(f"report: {page}")
    if json_out is not None:
        from tod.runs import RunDirectory
        from tod.show.output import put_json

        *_, last = RunDirectory.open(path).steps.read()
        put_json(last, json_out)
