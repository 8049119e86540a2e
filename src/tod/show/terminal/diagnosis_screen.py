"""All figures of a diagnosis in the terminal (--verbose): verdict, why, numbers; 80 columns."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tod.base.text import DASH, counted, percent, plainly
from tod.diagnosis.feasible import words_of_limit
from tod.runs.facts import Fact, by_block
from tod.show.regime_words import before, by_eta, certificate, pooled, settled, stated
from tod.show.screen import Screen, table
from tod.show.words import VERDICTS, measures, sharpness, steps, target

if TYPE_CHECKING:
    from tod.diagnosis import Diagnosis

Line = tuple[str, str]

_PROMPT = 50
_LONG = 256
"""Tokens from which the lines on long sequences are shown; ``--json`` always holds them."""
_LEGS = {
    "target_proposal": "q*/μ",
    "policy_proposal": "π/μ",
    "mismatch": "sampler gap",
    "staleness": "staleness",
}


def show(found: "Diagnosis", remarks: list[str]) -> None:
    """Print all that is known."""
    data, console = found.to_dict(), Screen()
    _verdict(console, data)
    for remark in remarks:
        console.print(f"  {remark}")
    lines = [*_figures(data), *_by_leg(data), *measures(data), *_long(data)]
    lines += [*_tilt_only(data), *_feasible(data), *_trend_line(data)]
    figures = table(("", ""), show_header=False, box=None, padding=(0, 2, 0, 0))
    figures.columns[0].no_wrap = True
    for name, text in lines:
        figures.add_row(name, text)
    console.print(figures)
    _worst(console, data["worst_contexts"])
    _trend(console, data)
    for change in data["changes"]:
        console.print(change, style="bold")
    _unknown(console, data)
    _read(console, data["source"])


def _verdict(console: Screen, data: dict[str, Any]) -> None:
    """The verdict, for which target, why, and what to turn."""
    from rich.padding import Padding
    from rich.text import Text

    regime, known = data["regime"], data["target"]
    verdict = VERDICTS[regime["verdict"]]
    style = f"bold {verdict.style}"
    console.print(Text.assemble(("regime: ", "bold"), (verdict.name, style), f". {verdict.means}"))
    source = "" if known is None else f" ({known['source']})"
    console.print(f"target{source}: {target(known)}")
    for line in _said(data):
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
    first: dict[str, int] = {}
    for place, reason in enumerate(regime["reasons"], start=1):
        console.print(Padding(f"{place}. {reason['why']}", (0, 0, 0, 2), expand=False))
        same = first.setdefault(reason["remedy"], place)
        remedy = reason["remedy"] if same == place else f"as for {same}"
        console.print(Padding(f"→ {remedy}", (0, 0, 0, 5), expand=False), style="cyan")
    point = regime["point"]
    coverage = stated(point.get("interval")) or plainly(point["coverage"])
    console.print(
        f"  plain phase diagram: ESS_rel {coverage}, largest weight {plainly(point['tail'])}: "
        f"{point['region'].replace('_', '-')}",
        style="dim",
    )


def _said(data: dict[str, Any]) -> Iterator[str]:
    """What the verdict is read from; the legs that stand in its way are among the reasons."""
    regime = data["regime"]
    lines = (
        certificate(regime),
        by_eta(regime["eta_intervals"], sharpness(data["target"])),
        settled(regime),
        pooled(data),
        before(data),
    )
    yield from (f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in lines if line)


def _figures(data: dict[str, Any]) -> list[Line]:
    """Every figure that is known, a line for a block."""
    return [(block, ", ".join(map(_phrase, known))) for block, known in by_block(data)]


def _phrase(item: tuple[Fact, str]) -> str:
    """``22 informative``, or ``KL 0.3 nats per sequence``."""
    fact, text = item
    if fact.form == "count":
        return f"{text} {fact.label}"
    return f"{fact.label} {text}" + (f" {fact.unit}" if fact.unit else "")


def _by_leg(data: dict[str, Any]) -> Iterator[Line]:
    """ESS_rel against K."""
    for leg in ("target_proposal", "policy_proposal"):
        points = [item for item in data["k_trend"] if item["leg"] == leg]
        if len(points) > 1:
            values = ", ".join(plainly(item["median"]) for item in points)
            sizes = ", ".join(str(item["k"]) for item in points)
            yield f"{_LEGS[leg]} by K", f"ESS_rel {values} at K = {sizes}"


def _tilt_only(data: dict[str, Any]) -> Iterator[Line]:
    """ESS_rel of the tilts alone, where q*/μ cannot be weighed."""
    alone = data["tilt_only"]
    if alone is not None:
        yield (
            "tilt only",
            f"ESS_rel median {plainly(alone['median'])}, q10 {plainly(alone['q10'])}, were the "
            "anchor μ (as at a run's start); not q*/μ",
        )


def _long(data: dict[str, Any]) -> Iterator[Line]:
    """What tells long runs apart when the true sequence legs are all near 1/K."""
    found = data["long_sequences"]
    if found is None or found["length"]["median"] < _LONG:
        return
    size = found["length"]
    yield "length", f"median {size['median']} tokens, up to {size['max']}"
    if found["mismatch_share"] is not None:
        yield (
            "spread",
            f"of log π/μ: {percent(found['staleness_share'])} staleness, "
            f"{percent(found['mismatch_share'])} sampler gap (variance within prompts)",
        )
    by_leg: dict[str, list[str]] = {}
    for item in found["surrogates"]:
        by_leg.setdefault(f"{_LEGS[item['leg']]} ESS_rel {plainly(item['true'])}", []).append(
            f"{item['name']} {plainly(item['median'])}"
        )
    if by_leg:
        text = "; ".join(f"{leg} -> {', '.join(names)}" for leg, names in by_leg.items())
        yield "surrogates", f"{text} (named stand-ins, never q*/μ)"


def _feasible(data: dict[str, Any]) -> Iterator[Line]:
    """The largest sharpness."""
    possible, name = data["feasible"], sharpness(data["target"])
    part = data["subsample"]
    read = "" if part is None else f" (read from {part['contexts']} of {part['of']} prompts)"
    if possible is not None:
        yield "feasible", f"{_largest(possible, name)}{read}"


def _largest(possible: dict[str, Any], name: str) -> str:
    """The safe sharpness first, then the point; at the drawn K where nothing else is known."""
    limit, keep = possible["eta_max"], f"keeps the median ESS_rel at {possible['ess_rel_target']:g}"
    words = {"unbounded": "every eta", "never": "no eta", None: "unknown which eta"}
    point = words[possible["attained"]] if limit is None else f"{name} up to {plainly(limit)}"
    if possible.get("safe_attained") is None:
        return f"{point} {keep} at your K; no safe eta is known"
    near = words_of_limit(possible, possible["ess_rel_target"])
    if possible["safe_attained"] == "unbounded":
        return f"every eta surely {keep}"
    by_point = near or f"by its point {point}"
    return f"{name} up to {plainly(possible['safe'])} safely {keep}; {by_point}"


def _trend_line(data: dict[str, Any]) -> Iterator[Line]:
    """First and last step of several."""
    trend = data["trend"]
    if len(trend) > 1:
        ends = (trend[0], trend[-1])
        reward, ess = (
            " to ".join(plainly(row[name]) for row in ends)
            for name in ("utility_mean", "ess_rel_median")
        )
        yield "trend", f"{steps([row['step'] for row in ends])}: reward {reward}, ESS_rel {ess}"


def _worst(console: Screen, worst: list[dict[str, Any]]) -> None:
    if not worst:
        return
    rows = table((), ("step", "ESS_rel", "max w"), box=None, padding=(0, 2, 0, 0))
    rows.add_column("most fragile prompts", no_wrap=True, overflow="ellipsis", max_width=_PROMPT)
    for item in worst:
        prompt = " ".join((item["prompt"] or f"({item['id']})").split())
        numbers = (plainly(item["ess_rel"]), plainly(item["max_weight"]))
        rows.add_row(str(item["step"]), *numbers, prompt)
    console.print(rows)


def _trend(console: Screen, data: dict[str, Any]) -> None:
    trend = data["trend"]
    if len(trend) < 2:
        return
    told = any(item["regime"] != "undetermined" for item in trend)
    rows = table((), ("step", "ESS_rel (90 %)", "reward", "informative"))
    if told:
        rows.add_column("regime", no_wrap=True)
    for item in trend if len(trend) <= 12 else [*trend[:4], None, *trend[-7:]]:
        if item is None:
            rows.add_row("…", f"{len(trend) - 11} more in --json")
            continue
        rows.add_row(
            str(item["step"]),
            stated(item["population"]) or DASH,
            plainly(item["utility_mean"]),
            f"{item['informative']}/{item['contexts']}",
            *([VERDICTS[item["regime"]].name] if told else []),
        )
    console.print(rows)


def _unknown(console: Screen, data: dict[str, Any]) -> None:
    """What is missing; why, and what helps: several numbers often wait for the same column."""
    from rich.padding import Padding

    cannot = data["cannot"]
    if not cannot:
        return
    console.print("not known from these files:", style="bold")
    alike: dict[tuple[str, str], list[str]] = {}
    for item in cannot:
        alike.setdefault((item["why"], item["needs"]), []).append(item["what"])
    for (why, needs), whats in alike.items():
        line = f"{', '.join(whats)}: {why}; needs {needs}"
        console.print(Padding(line, (0, 0, 0, 2), expand=False), style="dim")


def _read(console: Screen, source: dict[str, Any]) -> None:
    """What was read, and what of it was refused."""
    from tod.formats import TIERS

    lost = f", {source['rejected']} rejected" if source["rejected"] else ""
    console.print(
        f"{source['format']}: {counted(source['rows'], 'row')}{lost} in "
        f"{counted(source['files'], 'file')}, {steps(source['steps'])}, tier {source['tier']}"
    )
    remarks = [f"note: {note}" for note in source["notes"]]
    remarks += [f"rejected: {line}" for line in source["rejections"][:3]]
    for line in (f"found by: {source['detected']}", f"tier: {TIERS[source['tier']]}", *remarks):
        console.print(f"  {line}", style="dim")
