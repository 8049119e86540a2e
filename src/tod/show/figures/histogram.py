"""How ESS_rel is distributed over prompts, all steps together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tod.base.text import fixed, percent
from tod.show.figures.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, grid, guide, key
from tod.show.figures.scales import Scale, nice
from tod.show.figures.svg import Html, tag

BINS = 20


def histogram(values: Float[np.ndarray, " c"], quantiles: Sequence[tuple[float, str]]) -> Html:
    """Shares of prompts by ESS_rel, with quantiles marked.

    Args:
        values: ESS_rel of informative prompts, in [0, 1]; at least one.
        quantiles: What to mark: value and name.
    """
    counts, edges = np.histogram(values, bins=BINS, range=(0.0, 1.0))
    shares = (counts / len(values)).tolist()
    x = Scale((0.0, 1.0), (LEFT, WIDTH - RIGHT))
    y = Scale(nice([*shares, 0.05]), (HEIGHT - BOTTOM, TOP))
    bars = [
        tag(
            "rect",
            tag("title", f"ESS_rel {fixed(low)} to {fixed(high)}: {count} prompts"),
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
    heading = "ESS_rel over prompts"
    note = f"Bars: {len(values):,} informative prompts. ESS_rel: the share of rollouts that count."
    keys = [
        key(f"s{i}", name, tag("output", fixed(value))) for i, (value, name) in enumerate(quantiles)
    ]
    return chart(heading, said, [grid(x, y, percent, "ESS_rel"), bars, marks], keys, note)
