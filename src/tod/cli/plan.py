"""`tod plan PATH...`: what sharpness, K and staleness can I afford?"""

from typing import Annotated

from tod.cli.configured import configured
from tod.cli.options import (
    Aim,
    Bounds,
    Config,
    Eta,
    Format,
    Framework,
    Json,
    Map,
    Method,
    Paths,
    Ranges,
    Set,
    Steps,
    Version,
    panel,
    parse_map,
    parse_ranges,
    target_of,
    thresholds_of,
    told_of,
)

to_plan = panel("What is wanted")


def plan_command(
    paths: Paths,
    format_: Format = "auto",
    mapping: Map = None,
    steps: Steps = None,
    target: Aim = None,
    config: Config = None,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    eta: Eta = None,
    target_ess: Annotated[
        float, to_plan("--target-ess", help="ESS_rel to keep, between 0 and 1.")
    ] = 0.5,
    utility: Annotated[
        str | None, to_plan(help="Plan for this reward alone, at the target's anchor.")
    ] = None,
    k: Annotated[
        int | None, to_plan("--k", help="Read the figures at your K off so many of those drawn.")
    ] = None,
    count: Annotated[float, to_plan(help="Effective rollouts wanted per prompt.", min=1.0)] = 8.0,
    error: Annotated[
        float, to_plan(help="Error wanted, for statistics bounded by 1.", min=1e-6)
    ] = 0.25,
    reward_range: Ranges = None,
    thresholds: Bounds = None,
    json_out: Json = None,
) -> None:
    """What sharpness, K and staleness a pilot batch affords.

    Example: tod plan pilot/ --target-ess 0.5 --json plan.json
    """
    from tod.diagnosis import plan
    from tod.formats import read
    from tod.show.output import put_json

    bounds = thresholds_of(thresholds)
    reading = read(paths, format_, steps=steps, mapping=parse_map(mapping or []))
    file = configured(config, told_of(framework, method, settings, version))
    reading, chosen, source, remarks = target_of(target, file, reading)
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
        reward_range=parse_ranges(reward_range or []),
    )
    data = found.to_dict()
    if put_json(data, json_out):
        from tod.show.terminal.planned import show

        show(data, remarks)
