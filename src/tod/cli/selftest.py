"""`tod selftest`: every detector asked of runs whose faults are known."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.cli.options import Json

if TYPE_CHECKING:
    from tod.findings.planted import OutcomeSummary, PlantedOutcome, ScenarioTally

SCHEMA = "tod.selftest/1"
SEEDS, FULL = 5, 50
"""Runs of every scenario, and with ``--full``."""
FIRST = 1_000_000
"""First seed: neither one that bounds were tuned on nor one of the published figures."""


def selftest_command(
    full: Annotated[
        bool, typer.Option("--full", help=f"{FULL} runs of every scenario instead of {SEEDS}.")
    ] = False,
    first_seed: Annotated[int, typer.Option(help="First seed.", min=0, max=2**40)] = FIRST,
    only: Annotated[
        str | None, typer.Option(help="Scenarios with this in their name, such as length.")
    ] = None,
    json_out: Json = None,
) -> None:
    """Plant faults in simulated runs and count how they are named.

    Each fault is planted in runs of many sizes; beside it stand healthy runs of many kinds, in
    which nothing may be called a fault. A bound is missed where
    counts as bad as these have a probability below 1/1000 if it holds; then the exit code is 1.
    Bounds and figures: docs/results/findings.md.

    Example: tod selftest --only length
    """
    from tod.findings.planted import summary
    from tod.show.output import put_json

    seeds = range(first_seed, first_seed + (FULL if full else SEEDS))
    chosen = _chosen(only)
    said = summary(chosen, _outcomes(chosen, seeds))
    if put_json(_plain(said, seeds), json_out):
        _show(said)
    if not said.passed:
        raise typer.Exit(1)


def _chosen(only: str | None) -> Any:
    """The scenarios with a word in their name.

    Raises:
        SpecError: There is none.
    """
    from tod.base import SpecError
    from tod.findings.planted import FAULTS, HEALTHY

    chosen = tuple(s for s in FAULTS + HEALTHY if only is None or only in s.name)
    if not chosen:
        raise SpecError(
            f"--only {only!r}: no scenario has this in its name. Without it `tod selftest` plants "
            "all of them and lists their names."
        )
    return chosen


def _outcomes(chosen: Any, seeds: range) -> "list[PlantedOutcome]":
    """All runs, with progress on a terminal."""
    from rich.progress import track

    from tod.findings.planted import outcome
    from tod.show.screen import Screen

    console = Screen(stderr=True)
    runs = [(scenario, seed) for scenario in chosen for seed in seeds]
    shown = track(
        runs, "planting runs", console=console, transient=True, disable=not console.is_terminal
    )
    return [outcome(scenario, seed) for scenario, seed in shown]


def _plain(said: "OutcomeSummary", seeds: range) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "first_seed": seeds.start,
        "runs_per_scenario": len(seeds),
        **said.to_dict(),
    }


def _show(said: "OutcomeSummary") -> None:
    from tod.show.screen import Screen
    from tod.show.screen import table as empty

    console = Screen()
    if said.faults:
        numbers = ("named", "first", "onset within", "interval")
        table = empty(("planted fault",), numbers)
        for tally in said.faults:
            table.add_row(
                tally.scenario.name, *_cells(tally), style="bold" if tally.missed else None
            )
        console.print(table)
    if said.healthy:
        table = empty(("healthy run",), ("with a fault", "critical"))
        for tally in said.healthy:
            runs = tally.runs
            style = "bold" if tally.faults else None
            row = (f"{tally.faults} of {runs}", f"{tally.critical} of {runs}")
            table.add_row(tally.scenario.name, *row, style=style)
        console.print(table)
    for line in said.lines:
        console.print(line)
    for line in said.missed:
        console.print(f"below its bound: {line}", style="bold")


def _cells(tally: "ScenarioTally") -> tuple[str, str, str, str]:
    """Counts of a planted fault; nothing where no onset is asked."""
    dated, steps = tally.dated, tally.scenario.bounds.within
    within = f"±{steps}: {tally.within} of {dated}" if dated else ""
    covered = f"{tally.covered} of {dated}" if dated else ""
    return f"{tally.named} of {tally.runs}", f"{tally.first} of {tally.runs}", within, covered
