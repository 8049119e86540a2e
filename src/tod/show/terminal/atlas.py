"""Located points, comparisons and the grid as lines for a terminal."""

from textwrap import fill

from tod.atlas.compare import ProcedureComparison
from tod.atlas.entries import recipes
from tod.atlas.grid import OPERATORS, TARGETS, Cell, row_of, row_of_kind
from tod.atlas.law import follows
from tod.atlas.measured import EMBEDDED, words
from tod.configurations import Located, composition, letters
from tod.configurations.toward import Toward

_LABEL = 13


def located_text(located: Located, width: int = 80) -> str:
    """The triple, its fixed point, and what is silent in it."""
    operator = located.operator
    of = f" (defaults: {located.version})" if located.version else ""
    lines = [f"{located.framework} {located.method}{of}", ""]
    lines.append(_row("target", _target(located), width))
    lines.append(_row("fixed point", _fixed_point(located), width))
    lines.append(_row("operator", composition(operator) or "no composition here", width))
    if operator is not None:
        proposal = operator.proposal
        drawn = f"{proposal.source}, K = {proposal.size}, T = {proposal.temperature:g}"
        count = located.updates
        updates = f", {count} update{'s' if count > 1 else ''} a batch" if count else ""
        lines.append(_row("proposal", drawn + updates, width))
    lines.append(_row("atlas", _place(located), width))
    name = located.recipe or "none is near"
    lines.append(_row("recipe", name + _differs(located.nearest), width))
    lines += ["", *_silent(located, width), *_unknown(located, width)]
    lines += [_row("note", note, width) for note in located.notes]
    return "\n".join(lines)


def _target(located: Located) -> str:
    if located.procedure is not None:
        return letters(located.procedure.tilt)
    return {
        "none": "none: no finite one",
        "not_composed": "unknown: the action has no composition here",
        "unknown": "unknown: not all that decides it is written in the file",
    }[located.status]


def _fixed_point(located: Located) -> str:
    """The law, and whether μ is what it needs."""
    if located.status in ("unknown", "not_composed"):
        return "unknown"
    if located.law.holds == "always":
        return located.law.letters
    operator = located.operator
    here = "" if operator is None or follows(operator) else ", which it does not here"
    return f"{located.law.letters}, while μ follows π{here}"


def _place(located: Located) -> str:
    """Its own cell of the grid, and the recipe's if that is another."""
    target = located.target_family
    none = "no target" if located.status == "none" else "unknown"
    row = none if target is None else row_of_kind(target)
    where = f"{row} x {located.operator_family}"
    if located.recipe is None or target is None:
        return where
    entry = recipes()[located.recipe]
    there = f"{row_of(entry)} x {entry.family}"
    return where if there == where else f"{where} ({located.recipe}: {there})"


def compared_text(found: ProcedureComparison, width: int = 80) -> str:
    """Whether two procedures share a target, and what differs, in one screen."""
    said = {
        "yes": "yes",
        "no": "no",
        "one_update_only": "for one update only",
        "unknown": "unknown",
    }
    licence = {True: "yes", False: "no", None: "unknown"}[found.swap_licensed]
    proposal = {True: "yes", False: "no", None: "unknown"}[found.same_proposal]
    lines = [f"A  {found.a}", f"B  {found.b}", ""]
    lines.append(_row("target", f"same? {said[found.same_target]}", width))
    lines.append(_row("proposal", f"same? {proposal}", width))
    lines.append(_row("swap", f"licensed? {licence}", width))
    lines += [_row("", f"- {reason}", width) for reason in found.reasons]
    if found.differences:
        lines += ["", "differences"]
    part = max((len(row.part) for row in found.differences), default=0)
    for row in found.differences:
        lines.append(_hang(f"  {row.part:<{part}}  A ", row.a, width))
        lines.append(_hang(f"  {'':<{part}}  B ", row.b, width))
    return "\n".join(lines)


def toward_text(change: Toward, found: ProcedureComparison, width: int = 80) -> str:
    """What to change in B for it to aim at A's target."""
    if change.changes is None:
        lines = [f"No change of B that was tried ({change.trials}) aims at A's target."]
        lines.append(_row("nearest", change.left, width))
        return "\n".join(lines)
    if not change.changes:
        return "B aims at A's target as it is."
    changes = [f"  {name}={new}   (now {old})" for name, (old, new) in change.changes.items()]
    said = "B aims at A's target with these changes (tried: so changed, it has A's law)"
    return "\n".join([said, "", *changes, "", f"A  {found.a}", f"B  {found.b}"])


def grid_text(cells: tuple[Cell, ...], width: int = 80, on: str = EMBEDDED) -> str:
    """The grid row by row: every cell that holds a recipe, with its phase position.

    Args:
        cells: All cells.
        width: Columns.
        on: Where their phase positions were measured.
    """
    lines = []
    for target, title in TARGETS.items():
        lines.append(title)
        row = [cell for cell in cells if cell.target == target and cell.recipes]
        for cell in row:
            head = f"  {OPERATORS[cell.operator]:<23} "
            lines.append(_hang(head, ", ".join(cell.recipes), width))
            seen = words(cell.measured) if cell.measured else "phase unknown"
            lines.append(_hang(" " * len(head), f"[{', '.join(cell.proposals)}; {seen}]", width))
        if not row:
            lines.append("  no recipe yet")
    held = sum(bool(cell.recipes) for cell in cells)
    said = f"{held} of {len(cells)} cells hold a recipe; phase positions measured on {on}"
    lines += ["", _hang("", said, width)]
    return "\n".join(lines)


def _differs(items: tuple[str, ...]) -> str:
    return f" (here: {'; '.join(items)})" if items else ""


def _silent(located: Located, width: int) -> list[str]:
    if not located.silent_changes:
        return ["nothing in it changes the target silently"]
    lines = ["silent changes of the target"]
    for change in located.silent_changes:
        lines.append(_hang("  ", change.setting, width))
        lines.append(_hang("      ", change.effect, width))
    return lines


def _unknown(located: Located, width: int) -> list[str]:
    said = [
        f"{name} (did you mean {located.near[name]}?)" if name in located.near else name
        for name in located.unknown
    ]
    return ["", _row("unknown", ", ".join(said), width)] if said else [""]


def _row(label: str, text: str, width: int) -> str:
    return _hang(f"{label:<{_LABEL}}", text, width)


def _hang(head: str, text: str, width: int) -> str:
    return fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
