"""A plan in the terminal: the answer first, then the table behind it; 80 columns."""

from typing import Any

from tod.show.screen import Screen, table
from tod.show.words import target


def show(data: dict[str, Any], remarks: list[str]) -> None:
    """The plan at 80 columns: the answer first, then the table behind it."""
    console = Screen()
    source, counts, k = data["source"], data["contexts"], data["k"]
    spread = str(k["median"]) if k["min"] == k["max"] else f"{k['min']}-{k['max']}"
    console.print(
        f"{source['format']}: {source['rows']} rows, {counts['informative']} informative of "
        f"{counts['total']} contexts, K = {spread}"
    )
    console.print(f"target ({data['target']['source']}): {target(data['target'])}")
    for remark in remarks:
        console.print(f"  {remark}")
    _show_feasible(console, data)
    _show_table(console, data)
    _show_k(console, data)
    _show_refresh(console, data)
    for item in data["cannot"]:
        console.print(f"not known: {item['what']}: {item['why']}", style="dim")
        console.print(f"           needs {item['needs']}", style="dim")


def _show_feasible(console: Any, data: dict[str, Any]) -> None:
    console.print(f"\nlargest eta with ESS_rel >= {data['ess_target']:g}", style="bold")
    rows = table(("utility", "quantile"), ("eta", "90 % interval", "contexts"))
    for item in data["feasible"]:
        value = _number(item["eta_max"]) if item["attained"] == "yes" else item["attained"]
        rows.add_row(
            item["utility"] or "target as a whole",
            item["quantile"],
            value,
            _interval(item["ci90"]),
            str(item["contexts"]),
        )
    console.print(rows)
    if any(item["attained"] == "never" for item in data["feasible"]):
        console.print("never: no eta is feasible; change the anchor or the proposal")


def _show_table(console: Any, data: dict[str, Any]) -> None:
    wanted = data["needed_k"]["ess_count"]["wanted"]
    console.print("\nESS_rel against eta (candidates held fixed)", style="bold")
    rows = table((), ("eta", "median", "q10", "below", "max weight", f"K for {wanted:g}"))
    rows.add_column("")
    for row in data["table"]:
        below = "-" if row["below"] is None else f"{row['below']:.0%}"
        cells = [_number(row[name]) for name in ("eta", "median", "q10")]
        rows.add_row(
            *cells, below, _number(row["max_weight"]), _number(row["k"]), row["mark"] or ""
        )
    console.print(rows)


def _show_k(console: Any, data: dict[str, Any]) -> None:
    console.print(f"\nneeded K at eta = {data['eta']:.3g}", style="bold")
    needed = data["needed_k"]
    lines = (
        ("ess_count", f"{needed['ess_count']['wanted']:g} effective candidates"),
        ("error", f"error {needed['error']['wanted']:g} for statistics bounded by 1"),
        ("kl", "averages begin to settle, exp KL(q*|mu)"),
    )
    for name, words in lines:
        item = needed[name]
        console.print(f"  {words}: {item['median']} (nine contexts in ten: {item['q90']})")
    floor = needed["ess_count"]["at_floor"]
    if floor:
        console.print(f"  {floor:.0%} of contexts read under two: lower bounds there")
    rows = table((), ("K", "ESS_rel median", "q10", "effective", "informative contexts"))
    for row in data["by_k"]:
        share = "-" if row["informative"] is None else f"{row['informative']:.0%}"
        cells = (_number(row[name]) for name in ("k", "median", "q10", "ess"))
        rows.add_row(*cells, share)
    console.print(rows)


def _show_refresh(console: Any, data: dict[str, Any]) -> None:
    found = data["refresh"]
    if found is None:
        return
    console.print(f"\nrefresh: ESS_rel(policy/mu) to keep {found['goal']:g}", style="bold")
    if found["largest_age"] is not None:
        how = " (extrapolated, ln ESS_rel ∝ -age²)" if found["extrapolated"] else ""
        console.print(f"  at most {found['largest_age']} steps between refreshes{how}")
        if found["age_from"] == "leg":
            console.print("  no lag is recorded: age counts from where the leg last was fresh")
        for row in found["by_age"][:8]:
            console.print(f"  age {row['age']:>3}: {row['policy_proposal']:.3f}")
        return
    for row in found["trend"][-6:]:
        console.print(f"  step {row['step']:>4}: {row['policy_proposal']:.3f}")


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _interval(bounds: Any) -> str:
    if bounds is None:
        return "-"
    low, high = ("" if x is None else f"{x:.3g}" for x in bounds)
    return f"[{low or '-'}, {high or '-'}]"
