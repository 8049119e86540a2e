"""How ESS_rel is distributed over contexts, all steps together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tod.base.text import fixed, percent
from tod.show.figures.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, canvas, grid, guide
from tod.show.figures.scales import Scale, nice
from tod.show.figures.svg import Html, join, tag

BINS = 20


def histogram(values: Float[np.ndarray, " c"], quantiles: Sequence[tuple[float, str]]) -> Html:
    """Shares of contexts by ESS_rel, with quantiles marked.

    Args:
        values: ESS_rel of informative contexts, in [0, 1]; at least one.
        quantiles: What to mark: value and name.
    """
    counts, edges = np.histogram(values, bins=BINS, range=(0.0, 1.0))
    shares = (counts / len(values)).tolist()
    x = Scale((0.0, 1.0), (LEFT, WIDTH - RIGHT))
    y = Scale(nice([*shares, 0.05]), (HEIGHT - BOTTOM, TOP))
    bars = [
        tag(
            "rect",
            tag("title", f"ESS_rel {fixed(low)} to {fixed(high)}: {count} contexts"),
            class_="column s0",
            x=x(low) + 0.75,
            width=x(high) - x(low) - 1.5,
            y=y(share),
            height=y(0.0) - y(share),
        )
        for low, high, count, share in zip(edges[:-1], edges[1:], counts, shares, strict=True)
        if count
    ]
    marks = [guide(x, value, f"s{i}", "") for i, (value, _) in enumerate(quantiles)]
    said = ", ".join(f"{name} {fixed(value)}" for value, name in quantiles)
    heading = "ESS_rel over contexts"
    note = (
        f"Bars: {len(values):,} informative contexts. ESS_rel: the share of candidates that count."
    )
    return tag(
        "figure",
        tag("figcaption", tag("div", tag("h3", heading), class_="heading"), _legend(quantiles)),
        canvas(heading, said, join([grid(x, y, percent, "ESS_rel"), bars, marks]), WIDTH, HEIGHT),
        tag("p", note, class_="note"),
        class_="chart",
    )


def _legend(quantiles: Sequence[tuple[float, str]]) -> Html:
    keys = [
        tag(
            "span",
            tag("i", class_=f"swatch s{i}"),
            name,
            tag("output", fixed(value)),
            class_="key",
        )
        for i, (value, name) in enumerate(quantiles)
    ]
    return tag("p", keys, class_="legend")
