"""`tod.run`: train, or search, as a recipe says, and hold what came of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base.displayed import Displayed
from tod.base.errors import SpecError
from tod.base.extras import load
from tod.base.frames import frame_of
from tod.diagnosis import Diagnosis, RunVerdict, verdict_of_run
from tod.findings import Findings
from tod.regimes import Regime
from tod.runs import RunDirectory
from tod.runs.figures import figures
from tod.show.page import run_data
from tod.show.page.run_data import RunView
from tod.show.report import write_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Run", "run"]


@dataclass(frozen=True, eq=False, repr=False)
class Run(Displayed):
    """A run directory and what is said of it, read when it is first asked for.

    Attributes:
        directory: Where it is; every command reads it.
    """

    directory: Path

    @cached_property
    def judged(self) -> RunVerdict:
        """The verdict as `tod diagnose` of the directory says it."""
        return verdict_of_run(self.directory)

    @property
    def regime(self) -> Regime:
        """The verdict with its reasons, of all steps since the last dated change."""
        return self.judged.regime

    @property
    def verdict(self) -> str:
        """``swap_stable``, ``transition``, ``operator_dominated`` or ``undetermined``."""
        return self.regime.verdict

    @property
    def findings(self) -> Findings | None:
        """What went wrong in it; None of a search, and where its files cannot be read."""
        return None if self.view.search is not None else self.judged.findings

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What its rollouts say; None where none are kept."""
        return self.judged.diagnosis

    @cached_property
    def view(self) -> RunView:
        """What its page shows."""
        return run_data.load(self.directory)

    def to_frame(self) -> "pl.DataFrame":
        """A row a step of ``steps.jsonl``; what is not known is null.

        Columns: ``step``, ``utility.NAME`` (mean over the candidates of the step), ``verdict`` (of
        the step), and every other number of the record by its dotted name in the schema of a step
        (docs/runs.md), such as ``ess_rel.median``, ``held_out.pass_at_1``, ``ledger.flops``.
        """
        records = RunDirectory.open(self.directory).steps.read()
        return frame_of([dict(figures(record)) for record in records])

    def report(self, path: Path | str | None = None) -> Path:
        """Write the page; ``report.html`` in the directory if nobody says where.

        Raises:
            RunError: The file cannot be written.
        """
        from tod.show.report import write

        return write([self.directory], None if path is None else Path(path))


def run(
    recipe: str | Path,
    *overrides: str | Mapping[str, Any],
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    allow_imports: bool = False,
    progress: bool = False,
) -> Run:
    """Train, or search, as a recipe says; the run with its verdict, findings and steps.

    >>> import tod
    >>> made = tod.run("quickstart", {"train.steps": 20}, output="runs/mine")  # doctest: +SKIP

    Args:
        recipe: A recipe's name, a YAML file, or with ``resume`` a run's directory.
        overrides: Settings by dotted path, ``{"train.steps": 20}``, or words of the command line,
            ``"train.steps=20"``.
        output: The run's directory; a name made by itself under ``runs/`` if None.
        resume: Go on with the run of the same settings, or the one in the directory.
        overwrite: Replace a run that is there, which needs an output.
        threads: Of torch, while it runs; as many as are free if None.
        allow_imports: Whether utilities may be imported from your own code.
        progress: Print lines, or a bar, as the command does; else nothing is printed.

    Raises:
        MissingPackage: What training needs is not installed; with the command that installs it.
        SpecError: A recipe or a setting means nothing.
        RunError: The directory cannot be used as asked; nothing in it was touched.
    """
    for library in ("torch", "transformers", "accelerate"):
        load(library)
    from tod.engine.conduct import conduct, on_threads
    from tod.engine.place import placed
    from tod.engine.which_recipe import settings_of
    from tod.show.terminal.progress import RunProgress

    words = tuple(_words(overrides))
    asked = words if output is None else (*words, f"output={json.dumps(str(output))}")
    settings = settings_of(str(recipe), asked, resume)
    with on_threads(threads) as world:
        settings = placed(settings, world, resume=resume, overwrite=overwrite, overrides=words)
        with RunProgress(settings, quiet=not (progress and world.main)) as watched:
            directory = conduct(
                settings,
                world,
                resume=resume,
                overwrite=overwrite,
                allow_imports=allow_imports,
                events=watched.events,
            )
            watched.finished(directory)
        if world.main:
            write_run(directory, html=False)
    return Run(directory)


def _words(overrides: tuple[str | Mapping[str, Any], ...]) -> Iterator[str]:
    """Overrides as words of the command line."""
    for item in overrides:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            yield from (f"{name}={json.dumps(_plain(value))}" for name, value in item.items())
        else:
            raise SpecError(
                f"override {item!r:.80} is neither text, as 'train.steps=20', nor a mapping, as "
                "{'train.steps': 20}."
            )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
