"""The verdict of every step in one line."""

from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView
from tod.show.words import VERDICTS, verdict_words

WIDTH, HEIGHT, CELLS = 1000.0, 14.0, 240


def ribbon(run: RunView, most: int = CELLS) -> Html | None:
    """Cells coloured by verdict (every n-th step of a long run), and the counts of all steps."""
    rows = [(int(r["step"]), (r.get("regime") or {}).get("verdict")) for r in run.steps]
    known = [(step, verdict) for step, verdict in rows if verdict in VERDICTS]
    if not known:
        return None
    stride = -(-len(known) // most)
    shown = known[::stride]
    wide = WIDTH / len(shown)
    cells = [
        tag(
            "rect",
            tag("title", f"step {step}: {verdict_words(verdict).name}"),
            class_=f"cell {VERDICTS[verdict].colour}",
            x=i * wide,
            y=0.0,
            width=max(wide - 1, wide * 0.8),
            height=HEIGHT,
        )
        for i, (step, verdict) in enumerate(shown)
    ]
    counts = {name: sum(verdict == name for _, verdict in known) for name in VERDICTS}
    said = [
        tag(
            "span",
            tag("i", class_=f"swatch {VERDICTS[name].colour}"),
            f"{verdict_words(name).name} {n}",
            class_="key",
        )
        for name, n in counts.items()
        if n
    ]
    words = ", ".join(
        f"{verdict_words(name).name}: {n} of {len(known)} steps" for name, n in counts.items() if n
    )
    svg = tag(
        "svg",
        tag("title", "Verdict by step"),
        tag("desc", words),
        cells,
        view_box=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Verdict by step. {words}",
    )
    ends = tag("span", f"steps {known[0][0]} to {known[-1][0]}", class_="muted")
    return tag("div", svg, tag("p", said, ends, class_="legend"), class_="ribbon")
