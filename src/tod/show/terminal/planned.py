"""A plan in the terminal: the answer first, then what it rests on; 24 lines of 80 columns."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from rich.text import Text

from tod.base.text import visible
from tod.diagnosis.feasible import words_of_limit
from tod.show.screen import Screen
from tod.show.words import target

WIDTH, LINES = 80, 24
LABEL = 20
MANY = 10**6
ROWS = 5
"""Sharpnesses of the table; all are in --json."""


def show(data: dict[str, Any], remarks: list[str]) -> None:
    """Print it."""
    console = Screen()
    for place, line in enumerate(lines(data, remarks)):
        console.print(Text(line, style="" if place else "bold"), soft_wrap=True)


def lines(data: dict[str, Any], remarks: list[str]) -> list[str]:
    """The screen, a line each: 24 at most, of 80 columns."""
    made = [*_answer(data), *_feasible(data), *_needed(data), *_table(data), *_refresh(data)]
    tail = [
        f"target ({data['target']['source']}): {target(data['target'])}",
        *remarks[:1],
        _read(data),
    ]
    unknown = [
        line
        for x in data["cannot"]
        for line in wrap(f"not known: {x['what']}: {x['why']}", WIDTH, subsequent_indent="  ")
    ]
    room = max(LINES - len(made) - len(tail), 0)
    return [_cut(visible(line)) for line in [*made, *unknown[:room], *tail]][:LINES]


def rows(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What `lines` says of sharpness, K and refreshes, as a label and its text each."""
    said = [*_feasible(data), *_needed(data), *_refresh(data)]
    told = [line for line in said if line.startswith("  ")]
    return [(line[2 : LABEL + 2].strip(), line[LABEL + 2 :].strip()) for line in told]


def _answer(data: dict[str, Any]) -> Iterator[str]:
    """The safe sharpness and the K."""
    first, needed = data["feasible"][0], data["needed_k"]["ess_count"]
    goal, wanted = data["ess_target"], needed["wanted"]
    k = _k(needed.get("population"))
    if first["method"] == "sample":
        if first["attained"] == "never":
            text = f"No eta keeps ESS_rel {goal:g}"
        else:
            text = f"No safe eta known; {_value(first)} at your K"
    else:
        text = f"Safe up to eta = {_safe(first)}"
    if k is None:
        k = f"{needed['median']} (at your K)" if needed["median"] is not None else "unknown"
    yield f"{text}. {wanted:g} effective at eta = {data['eta']:.3g}: K = {k}."


def _feasible(data: dict[str, Any]) -> Iterator[str]:
    first, tenth = data["feasible"][:2]
    goal = data["ess_target"]
    yield f"Largest eta that keeps ESS_rel at {goal:g}"
    if first["attained"] == "never":
        yield _row("at any eta", "below it: change the anchor or the proposal")
    if first["method"] != "sample":
        yield _row("median prompt", _population(first, goal))
        yield _row("nine prompts in ten", _population(tenth, goal))
    if first.get("guaranteed") is not None:
        yield _row("every prompt", f"{_number(first['guaranteed'])} guaranteed by the reward range")
    at_k = first["at_k"]
    said = _number(at_k["eta_max"]) if at_k["attained"] == "yes" else at_k["attained"]
    note = "rollouts held fixed: small K hides the tail"
    yield _row(f"at your K = {_size(data)}", f"{said} ({note})")
    for item in [f for f in data["feasible"][2:] if f["quantile"] == "median"][:3]:
        yield _row(f"{item['utility']} alone"[: LABEL - 1], _population(item, goal))


def _population(item: dict[str, Any], goal: float) -> str:
    """``safe 0.6; by its point 0.9, at most 1.3``."""
    if item["method"] == "sample":
        return f"{_value(item)} at your K; not known of the population"
    limit = words_of_limit(item, goal)
    if limit is not None:
        return f"safe {_safe(item)}; {limit}"
    if item["method"] == "range":
        return f"safe {_safe(item)}, by the reward range alone"
    high = "" if item["high"] is None else f", at most {_number(item['high'])}"
    return f"safe {_safe(item)}; by its point {_value(item)}{high}"


def _needed(data: dict[str, Any]) -> Iterator[str]:
    yield f"Rollouts a prompt (K) at eta = {data['eta']:.3g}"
    for name, words in (("ess_count", "{:g} effective"), ("error", "error {:g}")):
        item = data["needed_k"][name]
        label = words.format(item["wanted"])
        ends = (_k(item.get("population")), _k(item.get("population_q90")))
        if ends[0] is None:
            yield _row(label, f"{item['median']} at your K (nine in ten: {item['q90']})")
        else:
            tenth = "" if ends[1] is None else f"; nine prompts in ten: {ends[1]}"
            yield _row(label, f"{ends[0]}{tenth}")
    best = data["best_k"]
    if best is not None and best["k"] is None:
        yield _row("groups that differ", "all, at any K (graded rewards)")
    elif best is not None:
        now = max(row["k"] for row in data["by_k"] if row["contexts"])
        row = next(row for row in data["by_k"] if row["k"] == now)
        yield _row(
            "groups that differ",
            f"{best['per_100']:.3g} per 100 rollouts at K = {best['k']}, {row['per_100']:.3g} at "
            f"K = {now}",
        )


def _table(data: dict[str, Any]) -> Iterator[str]:
    wanted = data["needed_k"]["ess_count"]["wanted"]
    yield f"{'eta':>8}  {'ESS_rel of the population':<26}{'at your K':>9}  K for {wanted:g}"
    for row in _some(data["table"]):
        ess = _ess(row.get("population"))
        k = _k(row.get("needed")) or "-"
        mark = f"  {row['mark'].partition(',')[0]}" if row["mark"] else ""
        yield f"{_number(row['eta']):>8}  {ess:<26}{_number(row['median']):>9}  {k}{mark}"


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The marked ones of the median, and others between them."""
    marked = [row for row in rows if row["mark"] and "q10" not in row["mark"]]
    others = [row for row in rows if not row["mark"]]
    room = max(ROWS - len(marked), 0)
    step = max(len(others) // room, 1) if room else 1
    chosen = [*marked, *(others[step // 2 :: step][:room] if room else [])]
    return sorted(chosen, key=lambda row: float(row["eta"]))


def _refresh(data: dict[str, Any]) -> Iterator[str]:
    found = data["refresh"]
    if found is None or found["largest_age"] is None:
        return
    how = ", extrapolated by ln ESS_rel ~ -age^2" if found["extrapolated"] else ""
    by = "" if found.get("by") == "population" else " (at your K)"
    words = f"at most {found['largest_age']} steps{by}{how}; keeps pi/mu at {found['goal']:g}"
    yield _row("between refreshes", words)


def _read(data: dict[str, Any]) -> str:
    source, counts = data["source"], data["contexts"]
    return (
        f"{source['format']}: {source['rows']} rows, {counts['informative']} informative of "
        f"{counts['total']} prompts, K = {_size(data)}; all figures: --json"
    )


def _row(label: str, words: str) -> str:
    return f"  {label:<{LABEL}}{words}"


def _size(data: dict[str, Any]) -> str:
    k = data["k"]
    return str(k["median"]) if k["min"] == k["max"] else f"{k['min']}-{k['max']}"


def _safe(item: dict[str, Any]) -> str:
    return "any" if item["safe_attained"] == "unbounded" else _number(item["safe"])


def _value(item: dict[str, Any]) -> str:
    return _number(item["eta_max"]) if item["attained"] == "yes" else str(item["attained"])


def _k(needed: dict[str, Any] | None) -> str | None:
    """``18 (14 to 25)``, ``at least 14``; None where nothing is known."""
    if needed is None or needed["low"] is None:
        return None
    low = _number(int(needed["low"]))
    if needed["value"] is None:
        return f"at least {low}"
    value, high = (_number(int(needed[name])) for name in ("value", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def _ess(ess: dict[str, Any] | None) -> str:
    if ess is None or ess["high"] is None:
        return "-"
    if ess["value"] is None:
        return f"not above {ess['high']:.2f}"
    return f"{ess['value']:.2f} ({ess['low']:.2f} to {ess['high']:.2f})"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) and value < MANY else f"{value:.3g}"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 2].rstrip()} …"
