"""`tod diagnose PATH...`: is this run healthy; if not, which prompts and why?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tod.cli.configured import configured, expected_by, unreadable_target
from tod.cli.evidence_of_run import sorted_out
from tod.cli.options import (
    Aim,
    Bounds,
    Config,
    Eta,
    Format,
    Framework,
    Html,
    Json,
    Map,
    Method,
    Paths,
    Ranges,
    Set,
    Steps,
    Version,
    gate_of,
    one_target,
    panel,
    parse_map,
    parse_ranges,
    target_of,
    thresholds_of,
    to_judge,
    to_read,
    to_write,
    told_of,
)

if TYPE_CHECKING:
    from tod.findings import Findings
    from tod.findings.against import Against

to_measure = panel("More measures")
EXITS = {None: 0, "note": 0, "warning": 3, "critical": 4}
"""Exit codes by severity; 2 stays bad input."""


def diagnose_command(
    paths: Paths,
    format_: Format = "auto",
    mapping: Map = None,
    steps: Steps = None,
    group_by: Annotated[
        str,
        to_read(
            help="step: a prompt that comes again at another step is another group; context: one "
            "group over all steps."
        ),
    ] = "step",
    max_rejected: Annotated[
        float, to_read(help="Share of unusable rows beyond which reading fails.")
    ] = 0.01,
    target: Aim = None,
    config: Config = None,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    eta: Eta = None,
    on_policy: Annotated[
        bool, to_judge("--on-policy", help="Declare that the sampler was the policy itself.")
    ] = False,
    against: Annotated[
        str | None,
        to_judge(
            help="Rollouts or log of a healthy run of the same recipe: which figures left its "
            "band, and first when."
        ),
    ] = None,
    ess_target: Annotated[float, to_judge(help="ESS_rel that the feasible eta keeps.")] = 0.5,
    reward_range: Ranges = None,
    thresholds: Bounds = None,
    clip: Annotated[
        str | None,
        to_measure(
            help="Clip LOW,HIGH: the share of the recorded tokens that it takes, as 0.2,0.28."
        ),
    ] = None,
    operator: Annotated[
        str | None,
        to_measure(help="Operator whose trust region is read so: a recipe's name or YAML file."),
    ] = None,
    below: Annotated[float, to_measure(help="ESS_rel: the share of prompts below it.")] = 0.3,
    bootstrap: Annotated[
        int,
        to_measure(
            help="Resamples of prompts for bootstrap intervals of ESS_rel; 0 for none.", min=0
        ),
    ] = 0,
    texts: Annotated[
        bool, to_measure("--texts", help="Read completions again: distinct-n and self-BLEU.")
    ] = False,
    verbose: Annotated[bool, to_write("--verbose", "-v", help="Show all that is known.")] = False,
    worst: Annotated[int, to_write(help="How many fragile prompts to show.", min=0)] = 5,
    html: Html = None,
    json_out: Json = None,
    markdown: Annotated[
        str | None,
        to_write(help="Write the findings as Markdown to a file, or - for stdout."),
    ] = None,
    exit_code: Annotated[
        bool,
        to_write("--exit-code", help="Exit with 3 on a warning, 4 on a critical finding."),
    ] = False,
    per_context: Annotated[
        Path | None, to_write(help="Write one row per prompt as Parquet.")
    ] = None,
) -> None:
    """Say whether a run is healthy and, if not, why and since when.

    Reads rollouts that any framework wrote, metric logs (trainer_state.json, verl's and W&B's
    files, TensorBoard, CSV, …), or both of one run.

    Example: tod diagnose outputs/completions --config grpo.yaml --html report.html

    Beside the run of last week, which learned: tod diagnose runs/new --against runs/old
    """
    from tod.diagnosis import Shown, diagnose
    from tod.findings import find, run_of
    from tod.formats import read
    from tod.show.terminal.diagnosis_screen import show
    from tod.show.terminal.findings_screen import show_details

    one_target(target, config)
    file = configured(config, told_of(framework, method, settings, version))
    shown, bounds = Shown(below, bootstrap, texts), thresholds_of(thresholds)
    rollouts, logs = sorted_out(paths, format_, bool(mapping))
    if logs and not rollouts:
        said = find(run_of(logs=logs, expected=expected_by(file)))
        comparison = _comparison(said, against)
        if html is not None:
            from tod.show import write_findings

            write_findings(said, html, _sentences(comparison))
        told = {"schema": "tod.findings/1", **said.to_dict()}
        if _write(said, told, None, json_out, markdown, comparison=comparison) and verbose:
            show_details(said)
        _leave(said, exit_code)
        return
    reading = read(
        rollouts,
        format_,
        steps=steps,
        mapping=parse_map(mapping or []),
        max_rejected=max_rejected,
        group_by=group_by,
        gate=gate_of(clip, operator, file if target is None else None),
        digest=hash,
    )
    reading, chosen, source, remarks = target_of(target, file, reading)
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
        logs=logs,
        expected=expected_by(file),
        reward_range=parse_ranges(reward_range or []),
    )
    remarks = [*unreadable_target(found, file), *remarks]
    comparison = _comparison(found.findings, against)
    if per_context is not None:
        found.write_contexts(per_context)
    if html is not None:
        from tod.show import write_diagnosis

        write_diagnosis(found, html, remarks, _sentences(comparison))
    data = found.to_dict()
    free = _write(found.findings, data, data, json_out, markdown, remarks, comparison)
    if free and verbose:
        show_details(found.findings)
        show(found, remarks)
    _leave(found.findings, exit_code)


def _write(
    findings: "Findings",
    data: dict[str, Any],
    diagnosis: dict[str, Any] | None,
    json_out: str | None,
    markdown: str | None,
    remarks: Sequence[str] = (),
    comparison: "Against | None" = None,
) -> bool:
    """Write JSON and Markdown where they are wanted, else the screen; whether stdout is free."""
    from tod.show.output import put_json, put_text
    from tod.show.terminal.findings_screen import markdown as markdown_of
    from tod.show.terminal.findings_screen import show_findings

    if comparison is not None:
        data = {**data, "against": comparison.to_dict()}
    free = put_json(data, json_out)
    if markdown is not None:
        text = markdown_of(findings, diagnosis, comparison)
        free = not put_text(text, markdown, "--markdown") and free
    if free:
        show_findings(findings, diagnosis, remarks, comparison)
    return free


def _comparison(findings: "Findings", path: str | None) -> "Against | None":
    """The comparison with the run at a path, where the person named one.

    Raises:
        DataError: Nothing there can be read.
    """
    if path is None:
        return None
    from tod.findings import find, run_of
    from tod.findings.against import against
    from tod.formats import read

    rollouts, logs = sorted_out([path], "auto", mapped=False)
    twin = find(run_of(read(rollouts, digest=hash) if rollouts else None, logs))
    fault = None if twin.first is None else twin.first.headline
    return against(findings.run.series, twin.run.series, path, fault)


def _sentences(comparison: "Against | None") -> list[str]:
    """What a comparison says, for the page; nothing without one."""
    from tod.show.terminal.findings_screen import against_words

    return [] if comparison is None else [words for words, _ in against_words(comparison)]


def _leave(findings: "Findings", exit_code: bool) -> None:
    """Exit by severity, where the person asked for it."""
    if exit_code and EXITS[findings.severity]:
        raise typer.Exit(EXITS[findings.severity])
