"""`tod diagnose PATH...`: is this run healthy; if not, which contexts and why?"""

from pathlib import Path
from typing import Annotated

import typer


def diagnose_command(
    paths: Annotated[
        list[str], typer.Argument(help="Rollout files, globs, directories, or a run directory.")
    ],
    format_: Annotated[
        str, typer.Option("--format", help="auto, or a format's name (see docs/formats).")
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            help="The target: a recipe of the atlas, a YAML file, or YAML such as "
            "'{anchor: {mu: 1}, tilts: [{utility: score, eta: 2}]}'."
        ),
    ] = None,
    eta: Annotated[
        float | None, typer.Option(help="Sharpness in nats per unit of utility.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Training configuration; the target is located in it by the atlas."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Columns by role: utility=reward,context=prompt_id,log_mu=logp."
        ),
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Steps a:b, both included.")] = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="step: a prompt that comes again at another step is another context; "
            "context: one context over all steps."
        ),
    ] = "step",
    on_policy: Annotated[
        bool, typer.Option("--on-policy", help="Declare that the sampler was the policy itself.")
    ] = False,
    worst: Annotated[int, typer.Option(help="How many fragile contexts to show.", min=0)] = 5,
    ess_target: Annotated[float, typer.Option(help="ESS_rel that the feasible eta keeps.")] = 0.5,
    max_rejected: Annotated[
        float, typer.Option(help="Share of unusable rows beyond which reading fails.")
    ] = 0.01,
    clip: Annotated[
        str | None,
        typer.Option(help="Clip LOW,HIGH whose share of the recorded tokens is given: 0.2,0.28."),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(help="Operator whose trust region is read so: a recipe's name or YAML file."),
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML of bounds, as `tod study calibrate` writes it.")
    ] = None,
    below: Annotated[
        float, typer.Option(help="ESS_rel whose share of contexts below it is given.")
    ] = 0.3,
    bootstrap: Annotated[
        int, typer.Option(help="Resamples of contexts, for bootstrap intervals of ESS_rel.", min=0)
    ] = 0,
    texts: Annotated[
        bool, typer.Option("--texts", help="Read completions again: distinct-n and self-BLEU.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained report.")] = None,
    json_out: Annotated[
        str | None, typer.Option("--json", help="Write the diagnosis to a file, or - for stdout.")
    ] = None,
    per_context: Annotated[
        Path | None, typer.Option(help="Write one row per context as Parquet.")
    ] = None,
) -> None:
    """Diagnose rollouts that any framework wrote.

    Example: tod diagnose outputs/completions --config grpo.yaml --html report.html
    """
    from tod.cli.target import gate_of, parse_map, target_of, thresholds_of
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
        from tod.show.terminal.diagnosis import show

        show(found, remarks)
