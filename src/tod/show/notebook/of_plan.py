"""A plan in a notebook: the words of `tod plan`, and ESS_rel against sharpness."""

from tod.base import DataError
from tod.base.brief import first_lines
from tod.base.text import plainly
from tod.diagnosis import Plan
from tod.show.figures.plot import Plot, PlotLine
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.terminal.planned import lines as screen
from tod.show.terminal.planned import rows


def lines(found: Plan) -> list[str]:
    """The screen's first lines, and what was read."""
    return first_lines(screen(found.to_dict(), []), last=1)


def card(found: Plan) -> Card:
    """The safe sharpness and the K, what is affordable, and what was read."""
    said = screen(found.to_dict(), [])
    return Card(headline=said[0], rows=rows(found.to_dict()), about=said[-1])


def figure(found: Plan) -> Figure:
    """ESS_rel of the median prompt against η: of the population, and with the rollouts held fixed.

    Raises:
        DataError: No sharpness could be read.
    """
    table = [row for row in found.table if row["eta"] > 0]
    if not any(row["median"] is not None for row in table):
        raise DataError("nothing to draw: ESS_rel is known at no sharpness.")
    etas = [row["eta"] for row in table]
    seen = [row.get("population") or {} for row in table]
    population = PlotLine("population", etas, [x.get("value") for x in seen], "s0")
    drawn = PlotLine("at your K", etas, [row["median"] for row in table], "s1", dashed=True)
    return Figure.of(
        Plot(
            "How sharp a target these rollouts can carry",
            [line for line in (population, drawn) if line.known()],
            note=f"Dotted: ESS_rel {found.ess_target:g}. Rollouts held fixed (at your K) read too "
            "high where K is small.",
            limits=[(found.ess_target, "stable")],
            axis="η",
            guides=[(found.eta, "now", f"η {plainly(found.eta)}")] if found.eta > 0 else [],
            rest=found.eta,
        )
    )
