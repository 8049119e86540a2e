"""`tod plan PATH...`: what sharpness, K and staleness can I afford?"""

from pathlib import Path
from typing import Annotated, Any

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
    if json_out is not None:
        _write(data, json_out)
    if json_out != "-":
        _show(data, remarks)


def _write(data: dict[str, Any], where: str) -> None:
    import json

    text = json.dumps(data, indent=2, ensure_ascii=False)
    if where == "-":
        typer.echo(text)
    else:
        Path(where).write_text(text + "\n", encoding="utf-8")


def _show(data: dict[str, Any], remarks: list[str]) -> None:
    """The plan at 80 columns: the answer first, then the table behind it."""
    from rich.console import Console
    from rich.text import Text

    from tod.show.words import target

    console = Console(highlight=False)
    source, counts, k = data["source"], data["contexts"], data["k"]
    spread = str(k["median"]) if k["min"] == k["max"] else f"{k['min']}-{k['max']}"
    console.print(
        Text(
            f"{source['format']}: {source['rows']} rows, {counts['informative']} informative of "
            f"{counts['total']} contexts, K = {spread}"
        )
    )
    console.print(Text(f"target ({data['target']['source']}): {target(data['target'])}"))
    for remark in remarks:
        console.print(Text(f"  {remark}"))
    _show_feasible(console, data)
    _show_table(console, data)
    _show_k(console, data)
    _show_refresh(console, data)
    for item in data["cannot"]:
        console.print(Text(f"not known: {item['what']}: {item['why']}", "dim"))
        console.print(Text(f"           needs {item['needs']}", "dim"))


def _show_feasible(console: Any, data: dict[str, Any]) -> None:
    from rich.text import Text

    console.print(Text(f"\nlargest eta with ESS_rel >= {data['ess_target']:g}", "bold"))
    table = _grid(("utility", "quantile", "eta", "90 % interval", "contexts"))
    for item in data["feasible"]:
        value = _number(item["eta_max"]) if item["attained"] == "yes" else item["attained"]
        table.add_row(
            item["utility"] or "target as a whole",
            item["quantile"],
            value,
            _interval(item["ci90"]),
            str(item["contexts"]),
        )
    console.print(table)
    if any(item["attained"] == "never" for item in data["feasible"]):
        console.print(Text("never: no eta is feasible; change the anchor or the proposal"))


def _show_table(console: Any, data: dict[str, Any]) -> None:
    from rich.text import Text

    wanted = data["needed_k"]["ess_count"]["wanted"]
    console.print(Text("\nESS_rel against eta (candidates held fixed)", "bold"))
    table = _grid(("eta", "median", "q10", "below", "max weight", f"K for {wanted:g}", ""))
    for row in data["table"]:
        below = "-" if row["below"] is None else f"{row['below']:.0%}"
        cells = [_number(row[name]) for name in ("eta", "median", "q10")]
        table.add_row(
            *cells, below, _number(row["max_weight"]), _number(row["k"]), row["mark"] or ""
        )
    console.print(table)


def _show_k(console: Any, data: dict[str, Any]) -> None:
    from rich.text import Text

    console.print(Text(f"\nneeded K at eta = {data['eta']:.3g}", "bold"))
    needed = data["needed_k"]
    lines = (
        ("ess_count", f"{needed['ess_count']['wanted']:g} effective candidates"),
        ("error", f"error {needed['error']['wanted']:g} for statistics bounded by 1"),
        ("kl", "averages begin to settle, exp KL(q*|mu)"),
    )
    for name, words in lines:
        item = needed[name]
        console.print(Text(f"  {words}: {item['median']} (nine contexts in ten: {item['q90']})"))
    floor = needed["ess_count"]["at_floor"]
    if floor:
        console.print(Text(f"  {floor:.0%} of contexts read under two: lower bounds there"))
    table = _grid(("K", "ESS_rel median", "q10", "effective", "informative contexts"))
    for row in data["by_k"]:
        share = "-" if row["informative"] is None else f"{row['informative']:.0%}"
        cells = (_number(row[name]) for name in ("k", "median", "q10", "ess"))
        table.add_row(*cells, share)
    console.print(table)


def _show_refresh(console: Any, data: dict[str, Any]) -> None:
    from rich.text import Text

    found = data["refresh"]
    if found is None:
        return
    console.print(Text(f"\nrefresh: ESS_rel(policy/mu) to keep {found['goal']:g}", "bold"))
    if found["largest_age"] is not None:
        how = " (extrapolated, ln ESS_rel ∝ -age²)" if found["extrapolated"] else ""
        console.print(Text(f"  at most {found['largest_age']} steps between refreshes{how}"))
        if found["age_from"] == "leg":
            console.print(
                Text("  no lag is recorded: age counts from where the leg last was fresh")
            )
        for row in found["by_age"][:8]:
            console.print(Text(f"  age {row['age']:>3}: {row['policy_proposal']:.3f}"))
        return
    for row in found["trend"][-6:]:
        console.print(Text(f"  step {row['step']:>4}: {row['policy_proposal']:.3f}"))


def _grid(names: tuple[str, ...]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(names):
        left = name in ("utility", "quantile", "") and (place < 2 or not name)
        table.add_column(name, justify="left" if left else "right", overflow="ellipsis")
    return table


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _interval(bounds: Any) -> str:
    if bounds is None:
        return "-"
    low, high = ("" if x is None else f"{x:.3g}" for x in bounds)
    return f"[{low or '-'}, {high or '-'}]"
