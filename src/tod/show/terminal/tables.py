"""Tables for the terminal; they read well at 80 columns."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tod.base.text import fixed, percent, plainly
from tod.show.page.run_data import RunView, at
from tod.show.words import verdict_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary_panel(record: Mapping[str, Any], reasons: int = 3) -> "RenderableType":
    """One record: verdict, the numbers behind it, and the first reasons with their remedies."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    data = dict(record)
    regime = data.get("regime") or {}
    verdict = regime.get("verdict")
    table = Table.grid(padding=(0, 3, 0, 0))
    pairs = _pairs(data)
    for left, right in zip(pairs[::2], [*pairs[1::2], ("", "")], strict=False):
        cells = (left[0], left[1], right[0], right[1])
        table.add_row(*(Text(c, "dim" if i % 2 == 0 else "") for i, c in enumerate(cells)))
    parts: list[Any] = [table]
    for item in (regime.get("reasons") or [])[:reasons]:
        parts.append(Text(f"\n• {item.get('why', '')}"))
        if item.get("remedy"):
            parts.append(Text(f"  → {item['remedy']}", "dim"))
    style = verdict_words(verdict).style
    title = Text.assemble(
        f"step {data.get('step', '?')}: ", (verdict_words(verdict).name, f"bold {style}")
    )
    return Panel(Group(*parts), title=title, title_align="left", border_style=style, width=80)


def run_table(runs: Sequence[RunView]) -> "Table":
    """A row per run: verdict, held-out, ESS_rel, share without a signal, drift, K."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), header_style="dim", width=80 if len(runs) else None)
    table.add_column("run", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("verdict", no_wrap=True)
    rate = "pass rate" if any(run.search is not None for run in runs) else "pass@1"
    for name in (rate, "ESS_rel", "worst", "no signal", "drift", "K"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        verdict = (run.judged["regime"] or {}).get("verdict")
        last = run.last
        table.add_row(
            Text(run.name),
            Text(verdict_words(verdict).name, verdict_words(verdict).style),
            _gain(run),
            fixed(at(last, "ess_rel", "median")),
            fixed(at(last, "ess_rel", "q10")),
            _blind(last),
            plainly(at(last, "drift", "ref")),
            plainly(at(last, "contexts", "candidates_per_context", "median")),
        )
    return table


def _pairs(data: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (f"reward {name}"[:24], fixed(at(data, "utility", name)))
        for name in sorted(data.get("utility") or {})
    ]
    held = at(data, "held_out", "pass_at_1")
    if held is not None:
        error = at(data, "held_out", "standard_error")
        rows.append(("held-out pass@1", percent(held, 1) + _error(error)))
    rows += [
        ("ESS_rel median", fixed(at(data, "ess_rel", "median"))),
        ("ESS_rel, worst tenth", fixed(at(data, "ess_rel", "q10"))),
        ("rollouts K", plainly(at(data, "contexts", "candidates_per_context", "median"))),
        ("groups without signal", _blind(data)),
        ("smallest overlap leg", fixed(at(data, "overlap", "minimum"))),
        ("largest weight", percent(at(data, "tails", "max_weight_median"))),
        ("drift from ref", plainly(at(data, "drift", "ref"))),
        ("activation", percent(at(data, "activation"))),
    ]
    return rows


def _blind(record: dict[str, Any]) -> str:
    total, blind = at(record, "contexts", "total"), at(record, "contexts", "zero_information")
    return percent(blind / total if total and blind is not None else None)


def _gain(run: RunView) -> str:
    known = [v for v in run.values("held_out", "pass_at_1") if v is not None]
    if run.search is not None:
        ends = (at(run.search, end, "pass_rate") for end in ("candidates", "selected"))
        known = [v for v in ends if v is not None]
    if not known:
        return percent(None)
    if len(known) == 1:
        return percent(known[0], 1)
    return f"{100 * known[0]:.1f}→{100 * known[-1]:.1f} %"


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {100 * error:.1f} s.e."
