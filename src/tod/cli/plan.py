"""`tod plan PATH...`: what sharpness, K and staleness can I afford?"""

from typing import Annotated

import typer

from tod.cli.options import Aim, Bounds, Config, Eta, Format, Json, Map, Paths, Steps

WANTED = "What is wanted"


def plan_command(
    paths: Paths,
    format_: Format = "auto",
    mapping: Map = None,
    steps: Steps = None,
    target: Aim = None,
    config: Config = None,
    eta: Eta = None,
    target_ess: Annotated[
        float,
        typer.Option(
            "--target-ess", help="ESS_rel to keep, between 0 and 1.", rich_help_panel=WANTED
        ),
    ] = 0.5,
    utility: Annotated[
        str | None,
        typer.Option(
            help="Plan for this reward alone, at the target's anchor.", rich_help_panel=WANTED
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            help="Rollouts per prompt that are planned, of those drawn.",
            rich_help_panel=WANTED,
        ),
    ] = None,
    count: Annotated[
        float,
        typer.Option(help="Effective rollouts wanted per prompt.", min=1.0, rich_help_panel=WANTED),
    ] = 8.0,
    error: Annotated[
        float,
        typer.Option(
            help="Error wanted, for statistics bounded by 1.", min=1e-6, rich_help_panel=WANTED
        ),
    ] = 0.25,
    thresholds: Bounds = None,
    json_out: Json = None,
) -> None:
    """Plan a run from a pilot batch: feasible sharpness, needed K, affordable staleness.

    Example: tod plan pilot/ --target-ess 0.5 --json plan.json
    """
    from tod.cli.options import parse_map, target_of, thresholds_of
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
