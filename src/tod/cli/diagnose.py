"""`tod diagnose PATH...`: is this run healthy; if not, which contexts and why?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tod.integrations import Diagnosis, Reading


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
    from tod.integrations import diagnose, read

    roles = parse_map(mapping or [])
    reading = read(
        paths,
        format_,
        steps=steps,
        mapping=roles,
        max_rejected=max_rejected,
        group_by=group_by,
    )
    reading, chosen, source, remarks = _target(target, config, reading)
    found = diagnose(
        reading,
        chosen,
        eta=eta,
        target_source=source,
        ess_target=ess_target,
        worst=worst,
        on_policy=on_policy,
    )
    if per_context is not None:
        found.write_contexts(per_context)
    if html is not None:
        _write_html(found, html, remarks)
    if json_out is not None:
        _write_json(found, json_out)
    if json_out != "-":
        from tod.cli._diagnosis_text import show

        show(found, remarks)


def parse_map(items: list[str]) -> dict[str, str]:
    """Roles and columns of ``role=column`` pairs, comma-separated and repeatable.

    Raises:
        SpecError: A pair without ``=``.
    """
    from tod.base import SpecError

    roles: dict[str, str] = {}
    for pair in (part for item in items for part in item.split(",") if part.strip()):
        role, equals, column = pair.partition("=")
        if not equals or not role.strip() or not column.strip():
            raise SpecError(f"--map {pair!r}: write role=column, as in utility=reward.")
        roles[role.strip()] = column.strip()
    return roles


def _target(
    given: str | None, config: Path | None, reading: "Reading"
) -> tuple["Reading", Any, Any, list[str]]:
    """The reading, the target that flags name, how it was found, and what to say about it."""
    from tod.base import SpecError

    if given is not None and config is not None:
        raise SpecError("--target and --config both name a target: give one of them.")
    if given is not None:
        return reading, _declared(given), "declared", []
    if config is not None:
        from tod.cli._located import located

        return located(config, reading)
    return reading, None, None, []


def _declared(given: str) -> Any:
    """A target from a recipe's name, a YAML file or YAML text."""
    from tod.base import SpecError, read_yaml
    from tod.integrations import parse_target

    path = Path(given)
    if path.suffix in (".yaml", ".yml", ".json"):
        data = read_yaml(path)
        return parse_target(data.get("target", data) if isinstance(data, dict) else data, given)
    if given.lstrip().startswith("{"):
        import yaml

        try:
            return parse_target(yaml.safe_load(given), "--target")
        except yaml.YAMLError as error:
            raise SpecError(f"--target {given!r}: not YAML ({error}).") from None
    from tod.atlas import recipe

    return recipe(given).target


def _write_json(found: "Diagnosis", where: str) -> None:
    import json

    text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
    if where == "-":
        typer.echo(text)
    else:
        Path(where).write_text(text + "\n", encoding="utf-8")


def _write_html(found: "Diagnosis", where: Path, remarks: list[str]) -> None:
    from tod.report import write_diagnosis

    write_diagnosis(found, where, remarks)
