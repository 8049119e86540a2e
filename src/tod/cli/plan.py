"""`tod plan PATH...`: what sharpness, K and staleness can I afford?"""

from pathlib import Path
from typing import Annotated

import typer


def plan_command(
    paths: Annotated[
        list[str], typer.Argument(help="Rollouts of a pilot batch: files, globs, a run directory.")
    ],
    target_ess: Annotated[
        float, typer.Option("--target-ess", help="ESS_rel to keep, between 0 and 1.")
    ] = 0.5,
    utility: Annotated[
        str | None, typer.Option(help="Plan for this utility alone, at the target's anchor.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Candidates per context that are planned, of those drawn."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Training configuration; the target is located in it.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The target: a recipe's name, a YAML file, or YAML.")
    ] = None,
    eta: Annotated[
        float | None, typer.Option(help="Sharpness in nats per unit of utility.")
    ] = None,
    count: Annotated[
        float, typer.Option(help="Effective candidates wanted per context.", min=1.0)
    ] = 8.0,
    error: Annotated[
        float, typer.Option(help="Error wanted, for statistics bounded by 1.", min=1e-6)
    ] = 0.25,
    format_: Annotated[str, typer.Option("--format", help="auto, or a format's name.")] = "auto",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="Columns by role, as in tod diagnose.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML of bounds, as `tod study calibrate` writes it.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Steps a:b, both included.")] = None,
    json_out: Annotated[
        str | None, typer.Option("--json", help="Write the plan to a file, or - for stdout.")
    ] = None,
) -> None:
    """Plan a run from a pilot batch: feasible sharpness, needed K, affordable staleness.

    Example: tod plan pilot/ --target-ess 0.5 --json plan.json
    """
    from tod.cli.target import parse_map, target_of, thresholds_of
    from tod.diagnosis import plan
    from tod.formats import read
    from tod.show.output import put_json

    bounds = thresholds_of(thresholds)
    reading = read(paths, format_, steps=steps, mapping=parse_map(mapping or []))
    reading, chosen, source, remarks = target_of(target, config, reading)
    found = plan(
        reading,
        chosen,
        eta=eta,
        target_source=source,
        ess_target=target_ess,
        utility=utility,
        k=k,
        count=count,
        error=error,
        thresholds=bounds,
    )
    data = found.to_dict()
    if put_json(data, json_out):
        from tod.show.terminal.planned import show

        show(data, remarks)
