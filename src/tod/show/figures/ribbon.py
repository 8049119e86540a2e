"""The verdict of every step in one line."""

from collections import Counter

from tod.base.text import counted
from tod.show.figures.plot import canvas, key
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView
from tod.show.words import VERDICTS

WIDTH, HEIGHT, CELLS = 1000.0, 14.0, 240


def ribbon(run: RunView, most: int = CELLS) -> Html | None:
    """Cells coloured by verdict (every n-th step of a long run), and the counts of all steps.

    None where no step was judged: single steps seldom tell, and a grey ribbon says nothing.
    """
    rows = [(int(r["step"]), (r.get("regime") or {}).get("verdict")) for r in run.steps]
    known = [(step, verdict) for step, verdict in rows if verdict in VERDICTS]
    if all(verdict == "undetermined" for _, verdict in known):
        return None
    stride = -(-len(known) // most)
    shown = known[::stride]
    wide = WIDTH / len(shown)
    cells = [
        tag(
            "rect",
            tag("title", f"step {step}: {VERDICTS[verdict].name}"),
            class_=f"cell {VERDICTS[verdict].colour}",
            x=i * wide,
            y=0.0,
            width=max(wide - 1, wide * 0.8),
            height=HEIGHT,
        )
        for i, (step, verdict) in enumerate(shown)
    ]
    counts = Counter(verdict for _, verdict in known)
    words = ", ".join(
        f"{item.name}: {counts[name]} of {counted(len(known), 'step')}"
        for name, item in VERDICTS.items()
        if counts[name]
    )
    keys = [key(v.colour, f"{v.name} {counts[n]}") for n, v in VERDICTS.items() if counts[n]]
    svg = canvas("Verdict by step", words, cells, WIDTH, HEIGHT, preserveAspectRatio="none")
    ends = tag("span", f"steps {known[0][0]} to {known[-1][0]}", class_="muted")
    return tag("div", svg, tag("p", keys, ends, class_="legend"), class_="ribbon")
