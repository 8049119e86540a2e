"""`tod diagnose PATH...`: is this run healthy; if not, which prompts and why?"""

from pathlib import Path
from typing import Annotated

import typer

from tod.cli.options import (
    JUDGE,
    READ,
    WRITE,
    Aim,
    Bounds,
    Config,
    Eta,
    Format,
    Html,
    Json,
    Map,
    Paths,
    Steps,
)

MORE = "More measures"


def diagnose_command(
    paths: Paths,
    format_: Format = "auto",
    mapping: Map = None,
    steps: Steps = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="step: a prompt that comes again at another step is another group; context: one "
            "group over all steps.",
            rich_help_panel=READ,
        ),
    ] = "step",
    max_rejected: Annotated[
        float,
        typer.Option(
            help="Share of unusable rows beyond which reading fails.", rich_help_panel=READ
        ),
    ] = 0.01,
    target: Aim = None,
    config: Config = None,
    eta: Eta = None,
    on_policy: Annotated[
        bool,
        typer.Option(
            "--on-policy",
            help="Declare that the sampler was the policy itself.",
            rich_help_panel=JUDGE,
        ),
    ] = False,
    ess_target: Annotated[
        float,
        typer.Option(help="ESS_rel that the feasible eta keeps.", rich_help_panel=JUDGE),
    ] = 0.5,
    thresholds: Bounds = None,
    clip: Annotated[
        str | None,
        typer.Option(
            help="Clip LOW,HIGH: the share of the recorded tokens that it takes, as 0.2,0.28.",
            rich_help_panel=MORE,
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="Operator whose trust region is read so: a recipe's name or YAML file.",
            rich_help_panel=MORE,
        ),
    ] = None,
    below: Annotated[
        float,
        typer.Option(help="ESS_rel: the share of prompts below it.", rich_help_panel=MORE),
    ] = 0.3,
    bootstrap: Annotated[
        int,
        typer.Option(
            help="Resamples of prompts for bootstrap intervals of ESS_rel; 0 for none.",
            min=0,
            rich_help_panel=MORE,
        ),
    ] = 0,
    texts: Annotated[
        bool,
        typer.Option(
            "--texts",
            help="Read completions again: distinct-n and self-BLEU.",
            rich_help_panel=MORE,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show all that is known.", rich_help_panel=WRITE),
    ] = False,
    worst: Annotated[
        int,
        typer.Option(help="How many fragile prompts to show.", min=0, rich_help_panel=WRITE),
    ] = 5,
    html: Html = None,
    json_out: Json = None,
    per_context: Annotated[
        Path | None,
        typer.Option(help="Write one row per prompt as Parquet.", rich_help_panel=WRITE),
    ] = None,
) -> None:
    """Diagnose rollouts that any framework wrote.

    Example: tod diagnose outputs/completions --config grpo.yaml --html report.html
    """
    from tod.cli.options import gate_of, parse_map, target_of, thresholds_of
    from tod.diagnosis import Shown, diagnose
    from tod.formats import read
    from tod.show.output import put_json

    shown, bounds = Shown(below, bootstrap, texts), thresholds_of(thresholds)

    roles = parse_map(mapping or [])
    reading = read(
        paths,
        format_,
        steps=steps,
        mapping=roles,
        max_rejected=max_rejected,
        group_by=group_by,
        gate=gate_of(clip, operator, config if target is None else None),
    )
    reading, chosen, source, remarks = target_of(target, config, reading)
    found = diagnose(
        reading,
        chosen,
        eta=eta,
        target_source=source,
        thresholds=bounds,
        ess_target=ess_target,
        worst=worst,
        on_policy=on_policy,
        shown=shown,
    )
    if per_context is not None:
        found.write_contexts(per_context)
    if html is not None:
        from tod.show import write_diagnosis

        write_diagnosis(found, html, remarks)
    if put_json(found.to_dict(), json_out):
        from tod.show.terminal.diagnosis_screen import show

        show(found, remarks, verbose)
