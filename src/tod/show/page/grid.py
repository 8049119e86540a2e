"""The grid as a self-contained HTML page, and as lines for a terminal."""

from html import escape

from tod.atlas.grid import OPERATORS, TARGETS, Cell
from tod.atlas.measured import EMBEDDED, words

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:90rem;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.3rem;margin:0 0 .2rem} p{margin:.2rem 0 1rem;color:#4a5461}
.scroll{overflow-x:auto} table{border-collapse:collapse;width:100%;table-layout:fixed;
min-width:70rem} th,td{border:1px solid #d5dae1;padding:.45rem .55rem;vertical-align:top;
text-align:left;font-weight:normal} th{background:#f3f5f8;font-weight:600}
td.empty{color:#8a94a1} b{font-weight:600} small{color:#4a5461;display:block}
@media (prefers-color-scheme:dark){body{background:#14171b;color:#e6e9ed}
p,small{color:#a4adb8} th{background:#1e2329} th,td{border-color:#343b44}}
"""


def fragment(cells: tuple[Cell, ...]) -> str:
    """The grid as one HTML table, to put into a page."""
    by_place = {(cell.target, cell.operator): cell for cell in cells}
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in OPERATORS.values())
    rows = "".join(
        f'<tr><th scope="row">{escape(title)}</th>'
        + "".join(_cell(by_place[row, column]) for column in OPERATORS)
        + "</tr>"
        for row, title in TARGETS.items()
    )
    return (
        '<div class="scroll"><table class="atlas"><caption hidden>Target families by operator '
        f"families</caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def page(cells: tuple[Cell, ...], on: str = EMBEDDED) -> str:
    """The grid as a whole page; no script, nothing loaded from elsewhere.

    Args:
        cells: All cells.
        on: Where their phase positions were measured.
    """
    known = sum(bool(cell.recipes) for cell in cells)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>Target-operator atlas</title><style>{_STYLE}</style></head><body>"
        "<h1>Target-operator atlas</h1>"
        f"<p>{known} of {len(cells)} cells hold a recipe. Phase position: measured by runs "
        f"on {escape(on)}, or unknown.</p>"
        f"{fragment(cells)}</body></html>\n"
    )


def _cell(cell: Cell) -> str:
    if not cell.recipes:
        return '<td class="empty">–</td>'
    names = ", ".join(f"<b>{escape(name)}</b>" for name in cell.recipes)
    lines = {
        "μ": ", ".join(cell.proposals),
        "needs": ", ".join(cell.diagnostics),
        "phase": _phase(cell),
        "papers": ", ".join(cell.papers),
    }
    notes = "".join(f"<small>{k}: {escape(v)}</small>" for k, v in lines.items() if v)
    return f"<td>{names}{notes}</td>"


def _phase(cell: Cell) -> str:
    if cell.measured is None:
        return "unknown"
    return "; ".join(f"{name} {words({name: at})}" for name, at in cell.measured.items())
