"""`tod swap STUDY`: are operators of one target interchangeable, and what would have told?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import SpecError
from tod.base.text import counted
from tod.cli.options import Json, Where, WhereOptions

if TYPE_CHECKING:
    from tod.study.executors import On
    from tod.study.swap import Condition
    from tod.study.swap.checks import Flag
    from tod.study.swap.spec import SwapSpec

KINDS = ("exact", "language_model", "runs")
APART = {"exact": 0.1, "language_model": 0.02, "runs": 0.02}
"""E above which operators are apart: small models move less in a study than exact worlds do."""
ROWS = 10
"""Conditions that the screen shows, those whose operators end furthest apart first."""


def swap_command(
    study: Annotated[
        Path, typer.Argument(help="The study: a YAML file, such as studies/quick.yaml.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the results; default: runs/NAME."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time, one core each.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most runs in this call; the next goes on.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run what matches alone, such as 'sums, η 5*' (may be repeated)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and how long; run nothing.")
    ] = False,
    partial: Annotated[
        bool, typer.Option(help="Compare what is there, though runs are missing.")
    ] = False,
    on: Where = "local",
    on_option: WhereOptions = None,
    json_out: Json = None,
) -> None:
    """Are operators of one target interchangeable? Runs them and says.

    Operators share the target, the prompts, the random numbers and the compute. How far apart they
    end is told less what seeds alone explain; utilities are paired by held-out prompt; every
    diagnostic is asked how well it would have told. A finished run is one file in OUTPUT/arms:
    Ctrl-C, or a crash, loses the runs under way, and the same command goes on, on another machine
    too if the folder is copied. With --on ray or submitit, --processes is how many runs are handed
    out at a time.

    Example: tod swap studies/quick.yaml --dry-run
    """
    from tod.base import read_mapping
    from tod.study.executors import On

    where = On.parse(on, on_option or (), at_once=processes)
    if not study.exists():
        raise SpecError(f"{study}: no such file. docs/swap.md shows how a study is written.")
    kind = read_mapping(study, "A study is a mapping; see docs/swap.md.").get("kind")
    if kind not in KINDS:
        raise SpecError(f"{study}: kind {kind!r} is none of {', '.join(KINDS)}. See docs/swap.md.")
    flags: list[Flag] = []
    failed: dict[str, str] = {}
    folder = output or Path("runs") / study.stem
    if kind == "runs":
        conditions = _of_runs(study, dry_run)
    elif kind == "exact":
        conditions = _exact(study, folder, where, dry_run)
    else:
        conditions, flags, failed = _trained(
            study, folder, where, limit, tuple(only or ()), dry_run, partial
        )
    for name, why in failed.items():
        typer.echo(f"failed: {name}: {why}", err=True)
    if conditions:
        _conclude(conditions, flags, study, folder, json_out, APART[kind])
    if failed:
        raise typer.Exit(1)


def _of_runs(study: Path, dry_run: bool) -> "list[Condition]":
    """Runs that are there."""
    from tod.study.swap.existing import RunsSpec, compare_runs

    spec = RunsSpec.load(study)
    if dry_run:
        count = sum(len(paths) for paths in spec.runs.values())
        typer.echo(
            f"{study}: {counted(count, 'run')} of {len(spec.runs)} operators are compared, none "
            "trained"
        )
        return []
    return [compare_runs(spec, study.parent)]


def _exact(study: Path, folder: Path, on: "On", dry_run: bool) -> "list[Condition]":
    """A study in exact worlds, with a table on a terminal."""
    from tod.cli.runs_table import runs_table
    from tod.study.executors import Tally
    from tod.study.swap.exact_run import run_exact, tasks
    from tod.study.swap.exact_spec import read_exact

    spec = read_exact(study)
    if dry_run:
        count = len(tasks(spec, spec.numbers))
        typer.echo(
            f"{study}: {count} tasks of {len(spec.operators)} operators at {spec.seeds} seeds in "
            f"{spec.worlds} worlds from {spec.first_world} on"
        )
        return []
    tally = Tally()
    at = [0, 1]
    with runs_table() as told:

        def note(done: int, total: int, name: str) -> None:
            at[:] = done, total
            told(done, total, None, name, tally)

        return run_exact(
            spec,
            None,
            folder,
            told=note,
            on=on,
            tally=tally,
            again=lambda name, why: told(*at, None, name, tally, why),
        )


def _trained(
    study: Path,
    folder: Path,
    on: "On",
    limit: int | None,
    only: tuple[str, ...],
    dry_run: bool,
    partial: bool,
) -> "tuple[list[Condition], list[Flag], dict[str, str]]":
    """A study that trains language models: conditions, what does not hold, why runs failed."""
    from tod.cli.runs_table import runs_table
    from tod.study.swap.arm_facts import check_study
    from tod.study.swap.assemble import conditions_of
    from tod.study.swap.run import run_study
    from tod.study.swap.spec import SwapSpec

    spec = SwapSpec.load(study)
    if dry_run:
        _forecast(spec, folder)
        return [], [], {}
    with runs_table() as told:
        failed = run_study(
            spec,
            folder,
            study.parent,
            on=on,
            limit=limit,
            only=only,
            progress=lambda state: told(
                state.done,
                state.total,
                state.left,
                state.arm.slug if state.arm else "",
                state.tally,
                state.lost,
            ),
        )
    conditions = conditions_of(spec, folder, complete=not partial)
    if not conditions:
        typer.echo(
            f"{folder}: no condition has all of its runs yet, so nothing is compared. Run the same "
            "command again, or pass --partial for the seeds that every operator has."
        )
    return conditions, check_study(spec, folder, conditions), failed


def _forecast(spec: "SwapSpec", folder: Path) -> None:
    """The runs by task and condition, those that are there, and the time of the rest."""
    from collections import Counter

    from tod.show.screen import Screen
    from tod.show.screen import table as empty
    from tod.study.swap.arms import outcome_path
    from tod.study.swap.outcomes import Outcome

    console = Screen()
    arms = list(spec.arms())
    there = {arm.slug for arm in arms if outcome_path(folder, arm).exists()}
    seconds = [
        float(Outcome.load(outcome_path(folder, arm)).facts["seconds"])
        for arm in arms
        if arm.slug in there
    ]
    missing = len(arms) - len(there)
    console.print(f"{spec.name}: {counted(len(arms), 'run')}, {len(there)} there, {missing} to run")
    if seconds and missing:
        each = sum(seconds) / len(seconds)
        hours = each * missing / 3600
        console.print(f"about {hours:.1f} hours of one core: {each:.0f} s a run so far")
    elif missing:
        console.print("time left: not known before the first run; --limit 2 tells")
    console.print("")
    table = empty(("condition",), (*spec.tasks, "operators"))
    counts = Counter((arm.condition, arm.task) for arm in arms)
    for condition in spec.conditions:
        row = [str(counts[condition.name, task] or "") for task in spec.tasks]
        names = {n for task in spec.tasks_of(condition) for n in spec.operators_of(condition, task)}
        table.add_row(condition.name, *row, str(len(names)))
    console.print(table)


def _conclude(
    conditions: "list[Condition]",
    flags: "list[Flag]",
    study: Path,
    folder: Path,
    json_out: str | None,
    limit: float,
) -> None:
    """Say what came of it on a screen, and write all of it as Markdown and JSON."""
    import json

    from tod.show.output import put, put_json
    from tod.show.screen import Screen
    from tod.show.screen import table as empty
    from tod.study.swap.report import report_of

    made = report_of(conditions, flags, limit=limit)
    data = made.to_dict()
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.md"
    put(made.markdown(study.stem, f"tod swap {study}"), page, "the study")
    put(json.dumps(data, indent=1, ensure_ascii=False) + "\n", folder / "report.json", "the study")
    if not put_json(data, json_out):
        return
    console = Screen()
    console.print(made.said.answer)
    table = empty(("condition", ""), ("E",))
    furthest = sorted(made.said.conditions, key=lambda v: -v.excess.value)
    for one in furthest[:ROWS]:
        table.add_row(f"{one.cluster}, {one.condition}", one.word, f"{one.excess.value:+.3f}")
    console.print(table)
    if len(furthest) > ROWS:
        console.print(f"and {len(furthest) - ROWS} conditions more")
    for reading in (made.predictors or ())[:3]:
        auroc = "unknown" if reading.auroc.value is None else f"{reading.auroc.value:.2f}"
        console.print(f"foretells it: {reading.name}, AUROC {auroc}")
    for flag in made.said.flags[:3]:
        console.print(f"does not hold: {flag.name} {flag.said}")
    console.print(f"all of it: {page}")
