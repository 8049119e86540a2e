"""Audits as tables and sentences for a terminal."""

from collections.abc import Sequence
from typing import Any

from tod.study.audit import Audit, Point
from tod.study.selection_audit import SelectionAudit

_MEASURED = {
    "yes": "it shares its target",
    "on_policy": "it shares its target while μ follows the policy",
    "one_update": "it shares its target for one update",
    "no": "it does not share its target",
    "unclear": "whether it shares its target is unclear",
}
_PLACES = (("on", "on_policy"), ("off", "off_policy"))


def tables(audits: "Sequence[Audit | SelectionAudit]") -> list[Any]:
    """Fixed points, the same at finite K where asked, and selections; those that have rows."""
    iterated = [item for item in audits if isinstance(item, Audit)]
    selected = [item for item in audits if isinstance(item, SelectionAudit)]
    finite = [item for item in iterated if item.finite]
    made = [(_of_fixed_points, iterated), (_finite, finite), (_selected, selected)]
    return [make(items) for make, items in made if items]  # type: ignore[operator]


def sentence(item: Audit | SelectionAudit) -> str:
    """The verdict in one line."""
    tail = _selects(item) if isinstance(item, SelectionAudit) else _converges(item)
    verdict = ""
    if item.shares_target is not None:
        verdict = "claim holds: " if item.passed else "CLAIM REFUTED: "
    return f"{item.recipe}: {verdict}{_MEASURED[item.measured]}{tail}."


def _of_fixed_points(audits: list[Audit]) -> Any:
    table = _table(("recipe", "claims", "found"), ("TV on", "η̂", "left", "TV off", "η̂"))
    for item in audits:
        on, off = item.on_policy, item.off_policy
        numbers = (on.tv, on.eta_hat, on.residual, off.tv, off.eta_hat)
        table.add_row(item.recipe, *_claimed(item), *map(_number, numbers))
    return table


def _finite(audits: list[Audit]) -> Any:
    ks = [f"K={row.k}" for row in audits[0].finite]
    table = _table(("TV with groups of K", "μ"), ks)
    for item in audits:
        for label, name in _PLACES:
            numbers = [_number(getattr(row, name)) for row in item.finite]
            table.add_row(item.recipe, label, *numbers)
    return table


def _selected(audits: list[SelectionAudit]) -> Any:
    ks = [f"K={row.k}" for row in audits[0].on_policy]
    table = _table(("selection", "claims", "found", "μ"), ks)
    for item in audits:
        for label, name in _PLACES:
            numbers = [_number(row.tv) for row in getattr(item, name)]
            table.add_row(item.recipe, *_claimed(item), label, *numbers)
    return table


def _table(words: Sequence[str], numbers: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _claimed(item: Audit | SelectionAudit) -> tuple[str, str]:
    claim = "-" if item.shares_target is None else item.shares_target
    return _spaced(claim), _spaced(item.measured)


def _converges(item: Audit) -> str:
    """What each half converges to, where that is not the target; a law only if it was reached."""
    halves = [("on-policy", item.on_policy), ("off-policy", item.off_policy)]
    said = [f"{where} {_half(point)}" for where, point in halves if point.reached != "target"]
    return "; " + ", ".join(said) if said else ""


def _half(point: Point) -> str:
    if point.reached == "predicted":
        return f"it converges to {point.predicted} (TV {point.predicted_tv:.3f})"
    if point.reached == "not_converged":
        return "it has not converged"
    return "no law was found that it converges to"


def _selects(item: SelectionAudit) -> str:
    known = [row.predicted_tv for row in item.on_policy if row.predicted_tv is not None]
    exact = f"; its draws are within {max(known):.3f} of the exact law" if known else ""
    return f"; as K → ∞ it goes to {item.limit} (TV to q* {item.tv:.3f}){exact}"


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}" if x < 10 else f"{x:.1f}"


def _spaced(word: str) -> str:
    return word.replace("_", " ")
