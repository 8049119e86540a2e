"""A diagnosis in the terminal: the verdict first, then why, then the numbers; 80 columns."""

from typing import TYPE_CHECKING, Any

from tod.base.text import counted, interval, number
from tod.show.words import measures, sharpness, steps, target

if TYPE_CHECKING:
    from tod.diagnosis import Diagnosis

COLOURS = {
    "swap_stable": "green",
    "transition": "yellow",
    "operator_dominated": "red",
    "undetermined": "magenta",
}
_PROMPT = 46
_LONG = 256
"""Tokens from which the lines on long sequences are shown; ``--json`` always holds them."""
_SHOWN = {
    "target_proposal": "q*/mu",
    "policy_proposal": "pi/mu",
    "mismatch": "mismatch",
    "staleness": "staleness",
}


def show(found: "Diagnosis", remarks: list[str]) -> None:
    """Print it."""
    from rich.padding import Padding

    from tod.show.screen import Screen

    data = found.to_dict()
    console = Screen()
    console.print(_source(data["source"]), soft_wrap=False)
    for note in data["source"]["notes"]:
        console.print(Padding(_plain(f"note: {note}"), (0, 0, 0, 2)), style="dim")
    for line in data["source"]["rejections"][:3]:
        console.print(Padding(_plain(f"rejected: {line}"), (0, 0, 0, 2)), style="dim")
    known = data["target"]
    source = "" if known is None else f" ({known['source']})"
    console.print(_plain(f"target{source}: {target(known)}"))
    for remark in remarks:
        console.print(Padding(_plain(remark), (0, 0, 0, 2)))
    _verdict(console, data)
    _numbers(console, data)
    _worst(console, data["worst_contexts"])
    _trend(console, data)
    _cannot(console, data["cannot"])


def _plain(text: str) -> Any:
    """Text that rich does not read as markup."""
    from rich.text import Text

    return Text(text)


def _source(source: dict[str, Any]) -> Any:
    from tod.formats import TIERS

    lost = f", {source['rejected']} rejected" if source["rejected"] else ""
    return _plain(
        f"{source['format']}: {counted(source['rows'], 'row')}{lost} in "
        f"{counted(source['files'], 'file')}, {steps(source['steps'])} "
        f"({source['detected']})\ntier {source['tier']}: {TIERS[source['tier']]}"
    )


def _verdict(console: Any, data: dict[str, Any]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    regime = data["regime"]
    verdict = regime["verdict"]
    style = f"bold {COLOURS[verdict]}"
    console.print(Text.assemble("\n", ("regime: ", "bold"), (verdict.replace("_", "-"), style)))
    first: dict[str, int] = {}
    for place, reason in enumerate(regime["reasons"], start=1):
        console.print(Padding(_plain(f"{place}. {reason['why']}"), (0, 0, 0, 2)))
        same = first.setdefault(reason["remedy"], place)
        remedy = reason["remedy"] if same == place else f"as for {same}"
        console.print(Padding(_plain(f"→ {remedy}"), (0, 0, 0, 5)), style="cyan")
    if regime["eta_intervals"]:
        console.print(
            Padding(
                _plain(f"by {sharpness(data['target'])}, were it declared{_read(data)}:"),
                (0, 0, 0, 2),
            )
        )
        for part in regime["eta_intervals"]:
            low, high = part["eta"]
            line = f"{low:8.3g} to {high:8.3g}  {part['verdict'].replace('_', '-')}"
            console.print(Padding(_plain(line), (0, 0, 0, 4)))
    point = regime["point"]
    console.print(
        Padding(
            _plain(
                f"plain phase diagram: ESS_rel {number(point['coverage'])}, largest weight "
                f"{number(point['tail'])}: {point['region'].replace('_', '-')}"
            ),
            (0, 0, 0, 2),
        ),
        style="dim",
    )


def _read(data: dict[str, Any]) -> str:
    """That a search over sharpness read a part of the contexts, where it did."""
    part = data["subsample"]
    return "" if part is None else f" (read from {part['contexts']} of {part['of']} contexts)"


def _numbers(console: Any, data: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in _lines(data):
        table.add_row(name, _plain(text))
    console.print(table)


def _lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    counts, ess, tails = data["contexts"], data["ess_rel"], data["tails"]
    overlap, cover, possible = data["overlap"], data["coverage"], data["feasible"]
    sizes = counts["candidates_per_context"]
    k = "-".join(dict.fromkeys(str(sizes[n]) for n in ("min", "max") if n in sizes)) or "?"
    split = "".join(
        f", {counts[name]} {name.replace('_', '-')}"
        for name in ("all_pass", "all_fail")
        if counts[name] is not None
    )
    lines = [
        (
            "contexts",
            f"{counts['total']} of K = {k}: {counts['informative']} informative, "
            f"{counts['zero_information']} blind{split}, {counts['singleton']} singletons"
            + (f", {counts['invalid']} invalid" if counts["invalid"] else ""),
        ),
        (
            "ESS_rel",
            f"median {number(ess['median'])}{interval(ess['median_ci90'])}, q10 "
            f"{number(ess['q10'])}{interval(ess['q10_ci90'])} at K = {overlap['k'] or '?'}",
        ),
        (
            "tails",
            f"largest weight {number(tails['max_weight_median'])}, var log w "
            f"{number(tails['log_w_variance_median'])}, pooled k-hat "
            f"{number(tails['pareto_k_pooled'])}",
        ),
        (
            "overlap",
            f"q*/mu {number(overlap['target_proposal'])}, pi/mu "
            f"{number(overlap['policy_proposal'])}, q*/pi {number(overlap['target_policy'])}",
        ),
        (
            "coverage",
            f"pass@K {number(cover['pass_at_k'])}, missing mass {number(cover['missing_mass'])}"
            f", mean rho {number(cover['mean_rho'])} (z {number(cover['mean_rho_z'])})",
        ),
    ]
    for name in ("mismatch", "staleness"):
        gap = data[name]
        if gap is not None:
            text = f"KL {number(gap['kl_sequence'])} per sequence, ESS_rel {number(gap['ess_rel'])}"
            if gap["k3"] is not None:
                kinds = ", ".join(f"{name} {number(gap[name])}" for name in ("k1", "k2", "k3"))
                text += f"; per token {kinds}"
            lines.append((name, text))
    if data["tilt_only"] is not None:
        alone = data["tilt_only"]
        lines.append(
            (
                "tilt only",
                f"ESS_rel median {number(alone['median'])}, q10 {number(alone['q10'])}, were the "
                "anchor mu (as at a run's start); not q*/mu",
            )
        )
    lines += measures(data)
    lines += _long_lines(data)
    if data["drift"]["ref"] is not None:
        lines.append(("drift", f"KL(pi, ref) {number(data['drift']['ref'])} per sequence"))
    if data["activation"] is not None and data["gate"] is None:
        text = f"the trust region gated {data['activation']:.1%} of the tokens"
        lines.append(("activation", text))
    if data["entropy"] is not None:
        lines.append(("entropy", f"{number(data['entropy'])} nats per token"))
    if possible is not None:
        limit = possible["eta_max"]
        keep = possible["ess_rel_target"]
        words = {"unbounded": "every eta", "never": "no eta", None: "unknown which eta"}
        name = sharpness(data["target"])
        text = words[possible["attained"]] if limit is None else f"{name} up to {limit:.3g}"
        lines.append(("feasible", f"{text} keeps the median ESS_rel at {keep:g}{_read(data)}"))
    return lines


def _long_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What tells long runs apart when the true sequence legs are all near 1/K."""
    lines = []
    for leg, name in (("target_proposal", "q*/mu"), ("policy_proposal", "pi/mu")):
        points = [item for item in data["k_trend"] if item["leg"] == leg]
        if len(points) > 1:
            values = ", ".join(number(item["median"]) for item in points)
            sizes = ", ".join(str(item["k"]) for item in points)
            lines.append((f"{name} by K", f"ESS_rel {values} at K = {sizes}"))
    found = data["long_sequences"]
    if found is None or found["length"]["median"] < _LONG:
        return lines
    size = found["length"]
    lines.append(("length", f"median {size['median']} tokens, up to {size['max']}"))
    if found["mismatch_share"] is not None:
        lines.append(
            (
                "spread",
                f"of log pi/mu: {found['staleness_share']:.0%} staleness, "
                f"{found['mismatch_share']:.0%} engine mismatch (variance within contexts)",
            )
        )
    by_leg: dict[str, list[str]] = {}
    for item in found["surrogates"]:
        by_leg.setdefault(f"{_SHOWN[item['leg']]} ESS_rel {number(item['true'])}", []).append(
            f"{item['name']} {number(item['median'])}"
        )
    text = "; ".join(f"{leg} -> {', '.join(parts)}" for leg, parts in by_leg.items())
    if text:
        lines.append(("surrogates", f"{text} (named stand-ins, never q*/mu)"))
    return lines


def _worst(console: Any, worst: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    if not worst:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = "most fragile contexts"
    for name in ("step", "ESS_rel", "max w"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("prompt", no_wrap=True, max_width=_PROMPT, overflow="ellipsis")
    for item in worst:
        shown = " ".join((item["prompt"] or f"({item['id']})").split())
        table.add_row(
            str(item["step"]), number(item["ess_rel"]), number(item["max_weight"]), _plain(shown)
        )
    console.print(table)


def _trend(console: Any, data: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    trend = data["trend"]
    if len(trend) < 2:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = "trend"
    for name in ("step", "ESS q10", "median", "utility", "informative"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("regime", no_wrap=True)
    kept = trend if len(trend) <= 12 else [*trend[:4], None, *trend[-7:]]
    for item in kept:
        if item is None:
            table.add_row("…", "", "", "", "", f"{len(trend) - 11} more in --json")
            continue
        table.add_row(
            str(item["step"]),
            number(item["ess_rel_q10"]),
            number(item["ess_rel_median"]),
            number(item["utility_mean"]),
            f"{item['informative']}/{item['contexts']}",
            item["regime"].replace("_", "-"),
        )
    console.print(table)
    for change in data["changes"]:
        console.print(_plain(change), style="bold")


def _cannot(console: Any, cannot: list[dict[str, str]]) -> None:
    """What is missing, why, and what helps: several numbers often wait for the same column."""
    from rich.padding import Padding

    if not cannot:
        return
    console.print(_plain("not computable from these files:"), style="bold")
    alike: dict[tuple[str, str], list[str]] = {}
    for item in cannot:
        alike.setdefault((item["why"], item["needs"]), []).append(item["what"])
    for (why, needs), whats in alike.items():
        line = f"{', '.join(whats)}: {why}; needs {needs}"
        console.print(Padding(_plain(line), (0, 0, 0, 2)), style="dim")
