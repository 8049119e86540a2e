"""`tod.sweep`: run a sweep, or read one that is there, and hold what came of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base.displayed import Displayed
from tod.show.terminal.sweep_screen import sweep_lines
from tod.study.sweep.compare import Comparison
from tod.study.sweep.document import FILE, SweepDocument, read

if TYPE_CHECKING:
    import polars as pl

    from tod.study.executors import On
    from tod.study.sweep.grid import SweepGrid
    from tod.study.sweep.run import SweepProgress

__all__ = ["PAGE", "Sweep", "sweep"]

PAGE = "sweep.html"


@dataclass(frozen=True, repr=False)
class Sweep(Displayed):
    """What came of a sweep.

    Attributes:
        folder: Where its runs lie, each a directory that every command reads.
        document: What was asked, how the runs stand, what they say: ``sweep.json``.
        found: The comparison behind it.
    """

    folder: Path
    document: SweepDocument
    found: Comparison

    @classmethod
    def of(cls, folder: Path | str) -> "Sweep":
        """The sweep of a folder, as its runs stand now.

        Raises:
            RunError: The folder holds none.
        """
        folder = Path(folder)
        asked = read(folder)
        found = asked.compared(folder)
        return cls(folder, asked.concluded(found), found)

    @classmethod
    def run(
        cls,
        grid: "SweepGrid",
        folder: Path,
        *,
        processes: int = 1,
        limit: int | None = None,
        threads: int = 1,
        allow_imports: bool = False,
        progress: "Callable[[SweepProgress], None] | None" = None,
        on: "On | None" = None,
    ) -> "Sweep":
        """Do what is missing of a grid, as `tod.sweep` says.

        Raises:
            RunError: The folder holds another sweep.
        """
        from tod.study.sweep.run import run_sweep

        document, found = run_sweep(
            grid,
            folder,
            processes=processes,
            limit=limit,
            threads=threads,
            allow_imports=allow_imports,
            progress=progress or (lambda _: None),
            on=on,
        )
        return cls(folder, document, found)

    @property
    def answer(self) -> str:
        """Which setting ended best, and whether by more than seeds explain."""
        return self.document.answer

    @property
    def runs(self) -> list[Path]:
        """Directories of the runs that ended."""
        done = [run for run in self.document.runs if run.state == "done"]
        return [self.folder / run.name for run in done]

    def to_frame(self) -> "pl.DataFrame":
        """A row a run: its settings, seed, state, figures, verdict."""
        import polars as pl

        names = [axis.name for axis in self.document.axes]
        rows = [
            {
                "run": run.name,
                **{name: _cell(x) for name, x in zip(names, run.values, strict=True)},
                "seed": run.seed,
                "state": run.state,
                "step": run.step,
                "start": run.start,
                "end": run.end,
                "standard_error": run.standard_error,
                "verdict": run.verdict,
                "seconds": run.seconds,
            }
            for run in self.document.runs
        ]
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)

    def page(self, path: Path | str | None = None) -> Path:
        """Write the page; ``sweep.html`` in the folder if nobody says where.

        Raises:
            RunError: The file cannot be written.
        """
        from tod.show.page.sweep_page import write_sweep_page

        return write_sweep_page(self.document, self.found, Path(path or self.folder / PAGE))

    def lines(self, page: Path | None = None) -> list[str]:
        """The screen of `tod sweep`, at most 24 lines."""
        return sweep_lines(self.document, self.found, self.folder, page)


def sweep(
    recipe: str | Path,
    settings: Mapping[str, Any] | Sequence[str] = (),
    *,
    seeds: int | Sequence[int] | None = None,
    output: Path | str | None = None,
    processes: int = 1,
    limit: int | None = None,
    threads: int = 1,
    allow_imports: bool = False,
    progress: "Callable[[SweepProgress], None] | None" = None,
    on: str = "local",
    on_options: Mapping[str, Any] | None = None,
) -> Sweep:
    """Run a recipe at every combination of some settings, or read a sweep that is there.

    Runs that are there stay, and those that were cut short go on, so that the same call may be
    repeated at any time. More than one process needs a script's main part under
    ``if __name__ == "__main__":``.

    Args:
        recipe: A recipe's name, a YAML file, or the folder of a sweep, which is read alone.
        settings: Values by dotted path, ``{"target.eta": [1, 2], "train.steps": 50}``, or words of
            the command line, ``["target.eta=1,2"]``. A list as one value stands in a list.
        seeds: How many, or which.
        output: Folder; a name made of the recipe and what differs if None.
        processes: Runs at a time.
        limit: Most runs of this call.
        threads: Threads of every run.
        allow_imports: Whether utilities may be imported from your own code.
        progress: Told at every step.
        on: ``local``, ``ray`` or ``submitit``: where, ``processes`` runs at a time.
        on_options: Of Ray or submitit, ``{"cluster": "slurm", "slurm_partition": "a"}``.

    Raises:
        SpecError: A recipe, a setting, a combination or an option is impossible.
        MissingPackage: Ray or submitit is not installed.
        RunError: The folder holds another sweep.
    """
    if (Path(recipe) / FILE).exists() and not settings:
        return Sweep.of(Path(recipe))
    from tod.study.executors import On
    from tod.study.sweep.grid import grid_of, parse_words

    if isinstance(settings, Mapping):
        asked = {
            path: tuple(value) if isinstance(value, list | tuple) else (value,)
            for path, value in settings.items()
        }
    else:
        asked = parse_words(settings)
    if seeds is not None:
        named = "seeds" if isinstance(seeds, int) else "train.seed"
        asked[named] = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    grid = grid_of(str(recipe), asked)
    return Sweep.run(
        grid,
        grid.folder if output is None else Path(output),
        processes=processes,
        limit=limit,
        threads=threads,
        allow_imports=allow_imports,
        progress=progress,
        on=On.of(on, on_options or {}, at_once=processes, threads=threads),
    )


def _cell(value: Any) -> Any:
    """A value that a column holds: a number or text."""
    from tod.runs.differing import in_words

    return value if isinstance(value, int | float | str) else in_words(value)
