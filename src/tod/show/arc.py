"""The screen of `tod arc replay`: what rang when, and what the controller would have done."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import shorten
from typing import Any

from rich.console import Group, RenderableType

from tod.base.text import counted
from tod.show.screen import table

MOST = 5
"""Stretches of decisions that a screen shows."""
WHY = 30
"""Letters of a reason that it shows."""


def of_one(data: Mapping[str, Any]) -> RenderableType:
    """The screen of one run: at most 24 lines of 80 letters."""
    shown: list[RenderableType] = [headline(data), _alarms(data)]
    if data["decisions"]:
        shown += [_decisions(data), sentence(data["decisions"])]
    else:
        shown.append("No sharpness is declared here: give --eta, or --tau and --beta, to see ARC.")
    return Group(*shown)


def headline(data: Mapping[str, Any]) -> str:
    """When the first alarm rings, before what."""
    rang = [item for item in data["alarms"] if item["step"] is not None]
    harm = data["harm"]
    end = "" if harm is None else f", from step {harm['step']}: {_named(harm['kind'])}"
    if not rang:
        said = "No alarm rings"
    else:
        first = min(rang, key=lambda item: item["step"])
        said = f"The first alarm rings at step {first['step']} ({first['alarm']['path']})"
    if harm is not None:
        return f"{said}; the run was harmed{end}."
    if not data["examined"]:
        return f"{said}; no rollouts are kept here, so harm was not looked for."
    false = ", so every alarm in it is a false one" if rang else ""
    return f"{said}; nothing was lost in this run{false}."


def _named(kind: str) -> str:
    return kind.replace("_", " ")


def _bound(alarm: Mapping[str, Any]) -> str:
    side = ">" if alarm["above"] else "<"
    return f"{side} {alarm['bound']:g}" + (" of start" if alarm["of_start"] else "")


def _alarms(data: Mapping[str, Any]) -> RenderableType:
    """A row an alarm: its bound, when it rang, what it read, and how long before the harm."""
    shown = table(("alarm", "rings where"), ("at step", "read", "before harm"), box=None)
    for item in data["alarms"]:
        alarm = item["alarm"]
        if not item["readings"]:
            shown.add_row(alarm["path"], _bound(alarm), "not read", "", "")
        elif item["step"] is None:
            shown.add_row(alarm["path"], _bound(alarm), "never", "", "")
        else:
            lead = "" if item["lead"] is None else str(item["lead"])
            shown.add_row(
                alarm["path"], _bound(alarm), str(item["step"]), _number(item["value"]), lead
            )
    return shown


def of_several(data: Mapping[str, Any]) -> RenderableType:
    """Catches and false alarms of every alarm over runs."""
    runs = data["runs"]
    harmed = sum(run["harm"] is not None for run in runs)
    unknown = len(data["unexamined"])
    said = (
        f"{counted(len(runs), 'run')}: {harmed} harmed, {len(runs) - harmed - unknown} not"
        + (f", {unknown} without rollouts and left out" if unknown else "")
        + "."
    )
    shown = table(
        ("alarm", "rings where"), ("caught before", "median lead", "false alarms"), box=None
    )
    for item in data["rates"]:
        lead = "–" if item["lead"] is None else f"{item['lead']:g} steps"
        shown.add_row(
            item["alarm"]["path"],
            _bound(item["alarm"]),
            f"{item['caught']} of {item['harmed']}",
            lead,
            f"{item['false']} of {item['healthy']}",
        )
    return Group(said, shown)


def _decisions(data: Mapping[str, Any]) -> RenderableType:
    """One row for every stretch that did the same for the same reasons; numbers are its last."""
    shown = table((), ("step", "ESS", "eta", "ramp"), collapse_padding=True, box=None)
    shown.add_column("action", no_wrap=True)
    shown.add_column("why", no_wrap=True)
    stretches = list(_stretches(data["decisions"]))
    for first, at, item in stretches[:MOST]:
        seen = item["observed"]
        ramp = data["ramp"]
        shown.add_row(
            str(first) if first == item["step"] else f"{first}-{item['step']}",
            _number(next((v for k, v in seen.items() if k.startswith("ess_rel")), None)),
            _number(_sharpness(item["after"])),
            "–" if ramp is None else _number(ramp[at]),
            item["action"],
            shorten(item["why"], WHY, placeholder="…"),
        )
    if len(stretches) > MOST:
        shown.add_row("…", "", "", "", "", f"{len(stretches) - MOST} more with --json -")
    return shown


def _stretches(
    decisions: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """First step, place and decision of the last, of neighbours that did the same likewise."""
    for _, stretch in groupby(enumerate(decisions), key=lambda pair: _kind(pair[1])):
        rows = list(stretch)
        at, item = rows[-1]
        yield rows[0][1]["step"], at, item


def _kind(decision: Mapping[str, Any]) -> tuple[Any, ...]:
    missed = tuple(item["what"] for item in decision["compared"] if item["ok"] is False)
    return decision["action"], missed


def sentence(decisions: Sequence[Mapping[str, Any]]) -> str:
    """How many decisions moved anything, and from when on they describe and do not predict."""
    moved = [item for item in decisions if item["before"] != item["after"]]
    if not moved:
        return f"{counted(len(decisions), 'step')}, and nothing would have been changed."
    counts = Counter(item["action"] for item in moved)
    what = ", ".join(f"{action} {count}" for action, count in counts.items())
    return (
        f"{counted(len(decisions), 'step')}, {counted(len(moved), 'change')} ({what}), the first "
        f"at step {moved[0]['step']}: later rows read a run that this change would have altered."
    )


def _sharpness(knobs: Mapping[str, Any]) -> float:
    return float(knobs["eta"]) if "eta" in knobs else 1.0 / float(knobs["tau"] + knobs["beta"])


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:.2f}" if abs(x) < 100 else f"{x:.0f}"
