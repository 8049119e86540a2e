"""The head of a diagnosis: verdict, headline numbers, what was read and what it is judged by."""

import re

from tod.base.text import DASH, plainly
from tod.candidates import POLICIES
from tod.show.figures.eta_strip import eta_strip
from tod.show.figures.ribbon import ribbon
from tod.show.figures.svg import Html, join, tag
from tod.show.page.diagnosis_data import DiagnosisView
from tod.show.page.headline import Tile, figures, size, tiled
from tod.show.page.verdict import missing, reasons
from tod.show.words import sentence, verdict_words

NOTES_SHOWN, FILES_SHOWN = 8, 40
ORIGIN = {
    "declared": "This target was declared.",
    "located": "This target was located in the training configuration.",
    "assumed": "This target was assumed: nothing declares one. The verdict is therefore at most "
    "transition; below it is given for every sharpness, were that one declared.",
}


def header(seen: DiagnosisView) -> Html:
    """Name and source in a line."""
    from tod.base.text import counted
    from tod.show.words import steps

    source = seen.data["source"]
    parts = [
        str(source["format"]),
        counted(source["files"], "file"),
        counted(source["rows"], "row"),
        f"{source['rejected']:,} rejected" if source["rejected"] else None,
        steps(source["steps"]),
        f"tier {source['tier']}",
    ]
    return tag(
        "header",
        tag("p", "Target · Operator · Diagnostics", class_="brand"),
        tag("h1", seen.run.name),
        tag("p", " · ".join(part for part in parts if part), class_="muted"),
    )


def verdict(seen: DiagnosisView) -> Html:
    """The verdict in a sentence, when it changed, why, and what to turn."""
    regime = seen.data["regime"]
    name = regime["verdict"]
    steps = len(seen.run.steps)
    eyebrow = [tag("span", verdict_words(name).name, class_=f"badge {verdict_words(name).colour}")]
    if steps > 1:
        eyebrow.append(tag("span", f"over {steps} steps", class_="muted"))
    return tag(
        "section",
        tag("p", eyebrow, class_="eyebrow"),
        tag("p", sentence(name), class_="lead"),
        ribbon(seen.run) if steps > 1 else None,
        [tag("p", f"{change}.", class_="muted") for change in seen.data["changes"]],
        reasons(regime),
        missing(regime),
        class_="verdict",
        aria_label=f"Verdict for {seen.run.name}",
    )


def tiles(seen: DiagnosisView) -> Html:
    """The headline numbers; a dash is unknown."""
    data = seen.data
    shown = [
        *figures(data),
        _feasible(seen),
        size(seen.run),
    ]
    return tiled(shown)


def origins(seen: DiagnosisView) -> Html:
    """What was read beside what it is judged by."""
    return tag(
        "section",
        tag("div", tag("h2", "Judged against"), _target(seen)),
        tag("div", tag("h2", "What was read"), _source(seen)),
        class_="pair origins",
    )


def files(seen: DiagnosisView) -> Html:
    """The names of the files, folded."""
    from tod.base.text import counted

    shown = seen.files[:FILES_SHOWN]
    more = len(seen.files) - len(shown)
    said = "\n".join(shown) + (f"\n… and {more:,} more" if more else "")
    label = counted(len(seen.files), "file")
    return tag("details", tag("summary", label), tag("pre", said, class_="code"))


def _target(seen: DiagnosisView) -> Html:
    from tod.show.words import target as formula

    target = seen.data["target"]
    if target is None:
        return tag("p", "No target: the files hold no utility to tilt by.")
    strip = None
    if seen.eta is not None:
        strip = eta_strip(seen.data["regime"]["eta_intervals"], seen.eta)
    return join(
        [
            tag("p", _typeset(formula(target)), class_="formula"),
            tag("p", ORIGIN.get(target["source"], "")),
            strip,
            [tag("p", remark, class_="note") for remark in seen.remarks],
        ]
    )


def _typeset(formula: str) -> Html:
    """Policies of the anchor as π with its name below and its exponent above."""
    base, tilted, rest = formula.removeprefix("q* ∝ ").partition(" · exp(")
    between, *policies = re.split(rf"\b({'|'.join(POLICIES)})(?:\^([\d.e+-]+))?", base)
    parts: list[object] = [between]
    for name, exponent, after in zip(*(iter(policies),) * 3, strict=True):
        parts += [tag("i", "μ")] if name == "mu" else [tag("i", "π"), tag("sub", name)]
        parts += [tag("sup", exponent) if exponent else None, after]
    return join([tag("i", "q"), "* ∝ ", parts, tilted + rest])


def _source(seen: DiagnosisView) -> Html:
    source = seen.data["source"]
    rows = [
        ("format", f"{source['format']}: {source['detected']}"),
        ("rows", f"{source['rows']:,} used, {source['rejected']:,} rejected"),
        ("tier", f"{source['tier']}: {seen.tier}"),
    ]
    body = [
        tag("tr", tag("th", key, scope="row"), tag("td", value, class_="left"))
        for key, value in rows
    ]
    notes = [tag("p", note, class_="note") for note in source["notes"][:NOTES_SHOWN]]
    more = len(source["notes"]) - len(notes)
    rejected = [tag("li", line) for line in source["rejections"][:NOTES_SHOWN]]
    return join(
        [
            tag("table", tag("tbody", body), class_="facts"),
            notes,
            tag("p", f"{more} further notes are not shown.", class_="note") if more > 0 else None,
            tag(
                "details",
                tag("summary", f"Rejected rows, the first {len(rejected)}"),
                tag("ul", rejected, class_="note"),
            )
            if rejected
            else None,
        ]
    )


def _feasible(seen: DiagnosisView) -> Tile:
    name, possible = "Largest feasible η", seen.data["feasible"]
    hint = "The sharpness at which the median ESS_rel is still at its goal, candidates held fixed."
    if possible is None:
        return Tile(name, DASH)
    several = len(seen.data["target"]["tilts"]) > 1
    now = "" if seen.eta is None else f"now {'Σ|η| = ' * several}{plainly(seen.eta)}, "
    beside = f"{now}keeps ESS_rel at {possible['ess_rel_target']:g}"
    limit = possible["eta_max"]
    words = {"unbounded": "no limit", "never": "none", None: DASH}
    shown = plainly(limit) if limit is not None else words[possible["attained"]]
    return Tile(name, shown, beside, hint)
