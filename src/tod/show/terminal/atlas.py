"""Located points, comparisons and the grid as lines for a terminal."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from textwrap import fill

from tod.atlas.compare import ProcedureComparison
from tod.atlas.effects import SilentChange
from tod.atlas.entries import recipes
from tod.atlas.grid import OPERATORS, TARGETS, Cell, row_of, row_of_kind
from tod.atlas.law import follows
from tod.atlas.measured import EMBEDDED, words
from tod.base.text import counted
from tod.configurations import Located, composition, letters
from tod.configurations.spans import in_words
from tod.configurations.toward import Toward
from tod.configurations.translate import Translation
from tod.operators import PolicyGradient
from tod.show.terminal.also_lines import also_lines
from tod.show.terminal.legend import legend

_LABEL = 13
SCREEN = 24
"""Lines of a screen."""
LIMITS = ((4, 2, 3, 2), (4, 2, 3, 1), (4, 1, 3, 1), (3, 1, 2, 1), (3, 1, 1, 0), (2, 1, 1, 0))
"""Most statements of each kind on a screen: the first of these with which it has 24 lines."""


def located_text(
    located: Located, width: int = 80, *, file: str = "FILE", verbose: bool = False
) -> str:
    """What a configuration aims at, what is unknown, what moves the target, what has no effect.

    Args:
        located: The point.
        width: Columns.
        file: What the file is called in the commands to try next.
        verbose: Everything; else the first of each kind, for a screen of 24 lines.
    """
    for limits in LIMITS:
        lines = _lines(located, width, file, verbose, limits)
        if verbose or len(lines) <= SCREEN:
            break
    return "\n".join(lines)


def _lines(
    located: Located, width: int, file: str, verbose: bool, limits: tuple[int, int, int, int]
) -> list[str]:
    """The screen with at most so many statements of each kind, in the order of ``LIMITS``."""
    moves, changes, idles, notes = limits
    of = f" (defaults of {located.version})" if located.version else ""
    lines = [f"{located.framework} {located.method}{of}"]
    lines += _version(located, width, verbose)
    lines.append(_row("Aims at", aims_at(located) + _mark(located, "law"), width))
    lines.append(_row("Operator", _operator(located, verbose), width))
    if verbose:
        lines += _by_release(located, width)
    lines += _unknown(located, width, verbose)
    moving = [change for change in located.silent_changes if change.moves_target]
    rest = [change for change in located.silent_changes if not change.moves_target]
    moving, rest = _marked(located, moving), _marked(located, rest)
    lines += _changes("Moves the target without saying so", moving, width, verbose, moves)
    if not moving and located.status in ("known", "none"):
        lines.append("Nothing in it moves the target without saying so.")
    lines += _changes("Changes how it gets there", rest, width, verbose, changes)
    idle = [SilentChange(one.setting, one.why) for one in located.without_effect]
    lines += _changes("Has no effect", idle, width, verbose, idles)
    # where there is no target the first note says why, which is said above
    first = 1 if located.status in ("none", "unknown") else 0
    for note in located.notes if verbose else located.notes[first : first + notes]:
        lines.append(_row("Note", note, width))
    more = len(located.notes) - first - notes
    if more > 0 and not verbose:
        lines.append(f"  and {counted(more, 'more note')}: --verbose")
    lines += [line for row in legend(lines, width) for line in row.splitlines()]
    lines.append(_row("Atlas", _place(located), width))
    lines.append(_nearest(located, width, file, verbose))
    return [line for row in lines for line in row.splitlines()]


def located_rows(located: Located, file: str = "FILE") -> tuple[tuple[str, str], ...]:
    """Everything that `located_text` says after its first two lines, unfolded.

    A label and its text; a heading has no text, and what is listed under one no label.
    """
    _, *lines = located_text(located, 10**6, file=file, verbose=True).splitlines()
    rows = [(line[:_LABEL].strip(), line[_LABEL:].strip()) for line in lines]
    return tuple(
        (label, text)
        if line[:_LABEL].endswith(" ") and not line.startswith(" ")
        else ("", line.strip())
        if line.startswith(" ")
        else (line, "")
        for line, (label, text) in zip(lines, rows, strict=True)
        if label != "Aims at" and not line.startswith("(")
    )


def aims_at(located: Located) -> str:
    """The law; where q* as declared is another one, that too."""
    if located.status in ("unknown", "not_composed"):
        return _target(located)
    law = _fixed_point(located)
    if located.status == "none":
        climbs = "no finite law: "
        return f"no finite target: {located.law.letters.removeprefix(climbs)}, step after step"
    if located.procedure is None:
        return law
    declared = letters(located.procedure.tilt).removeprefix("q* ∝ ")
    return law if located.law.letters == declared else f"{law}; it declares {declared}"


def _version(located: Located, width: int, verbose: bool) -> list[str]:
    """What the version rests on, and what another release would have filled in."""
    if located.version_from is None:
        return []
    said, assumed = located.version_from, located.version_from.startswith("assumed")
    if located.other_releases:
        which = "by release" if assumed else "say which with --version"
        said += f"; {which}: {'; '.join(located.other_releases)}"
    most = LINES + 1 if assumed else 3 * LINES
    return _within(_row("Version", said, width), width, None if verbose else most)


def _mark(located: Located, name: str) -> str:
    """From which release on a value stands, and what does before, where it hangs on that."""
    row = located.by_release.get(name)
    return "" if row is None else f" ({in_words(row, located.framework)})"


def _marked(located: Located, changes: Sequence[SilentChange]) -> list[SilentChange]:
    """Silent changes of which those of some releases alone say from which on."""
    made = []
    for change in changes:
        row, default = located.by_release.get(f"changes.{change.name}"), " (default)"
        if row is not None:
            since = f">= {row[-1].first}"
            plain = change.setting.removesuffix(default)
            by = f"default, {since}" if plain != change.setting else since
            change = replace(change, setting=f"{plain} ({by})")
        made.append(change)
    return made


def _by_release(located: Located, width: int) -> list[str]:
    """All that hangs on the release; changes that some have are marked where they stand."""
    lines = []
    for name, row in located.by_release.items():
        group, _, last = name.partition(".")
        said = in_words(row, located.framework, mine=True)
        if group != "changes":
            lines.append(_hang("  ", f"{last or name}: {said}", width, indent=6))
        elif row[-1].value is None:
            lines.append(_hang("  ", f"a silent change: {said}", width, indent=6))
    return ["Hangs on the release, which is assumed", *lines] if lines else []


def _operator(located: Located, verbose: bool) -> str:
    """(μ, A) in a line: the loss, its level, the advantage, the trust region, K and updates."""
    operator = located.read
    if operator is None:
        return "unknown" if "operator" in located.open else "no composition here"
    drawn = _drawn(located)
    made = composition(operator, located.not_said) or ""
    none = "no composition here; of it " if located.operator is None else ""
    if verbose or not isinstance(operator.action, PolicyGradient):
        return f"{none}{made}; {drawn}"
    action = operator.action
    named = {
        "level": action.level,
        "trust_region": action.trust_region.kind,
        "advantage": action.advantage.kind,
        "aggregation": action.aggregation.kind,
    }
    said = [
        f"{part.replace('_', ' ')} ?"
        if f"action.{part}" in located.not_said
        else name.replace("_", " ") + _mark(located, f"action.{part}")
        for part, name in named.items()
    ]
    return f"{none}{', '.join(said)}; {drawn}"


def _drawn(located: Located) -> str:
    """K, temperature and updates; a question mark for what was not read."""
    operator = located.read
    proposal = None if operator is None else operator.proposal

    def value(name: str) -> str:
        known = proposal is not None and f"proposal.{name}" not in located.open
        said = f"{getattr(proposal, name):g}" if known else "?"
        return said + _mark(located, f"proposal.{name}")

    count = located.updates
    updates = f", {count} update{'s' if count > 1 else ''} a batch" if count else ""
    updates += _mark(located, "updates") if count else ""
    if "updates" in located.open:
        updates = ", ? updates a batch"
    return f"K = {value('size')}, T = {value('temperature')}{updates}"


def _changes(
    title: str, changes: Sequence[SilentChange], width: int, verbose: bool, most: int
) -> list[str]:
    """A title, and a setting with its effect a line or two."""
    if not changes:
        return []
    lines = [title]
    for change in changes if verbose else changes[:most]:
        setting = change.setting if verbose else short_setting(change.setting)
        text = _hang("  ", f"{setting}: {change.effect}", width, indent=6)
        lines += _within(text, width, None if verbose else LINES)
    if len(changes) > most and not verbose:
        lines.append(f"  and {len(changes) - most} more: --verbose")
    return lines


LINES, SCREEN = 2, 24
"""Lines of one setting, and of all, unless everything is asked for."""


def short_setting(setting: str) -> str:
    """Settings by the last of their dotted names, as people call them."""
    return re.sub(r"(?<![\w.=])(?:\w+\.)+(?=\w+=)", "", setting)


def _nearest(located: Located, width: int, file: str, verbose: bool) -> str:
    name = located.recipe
    if name is None:
        return _row("Recipe", "none is near", width)
    if verbose:
        return _row("Recipe", name + _differs(located.nearest), width)
    return _row("Recipe", f"nearest is {name}: tod atlas compare {file} {name}", width)


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
    family = "unknown" if "operator_family" in located.open else located.operator_family
    where = f"{row} x {family}"
    if located.recipe is None or target is None:
        return where
    entry = recipes()[located.recipe]
    there = f"{row_of(entry)} x {entry.family}"
    return where if there == where else f"{where} ({located.recipe}: {there})"


def cell_of(located: Located) -> tuple[str, str] | None:
    """Row and column of the grid that it stands in; None without a target, or if not known."""
    return located.cell


def compared_text(found: ProcedureComparison, width: int = 80, *, verbose: bool = True) -> str:
    """Whether two procedures share a target, and what differs.

    Args:
        found: The comparison.
        width: Columns.
        verbose: Everything; else as much as a screen of 24 lines holds.
    """
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
    lines += legend(lines, width)
    if found.differences:
        lines += ["", "differences"]
    part = max((len(row.part) for row in found.differences), default=0)
    most = None if verbose else LINES
    blocks = [
        [
            *_within(_hang(f"  {row.part:<{part}}  A ", row.a, width), width, most),
            *_within(_hang(f"  {'':<{part}}  B ", row.b, width), width, most),
        ]
        for row in found.differences
    ]
    also = also_lines(found.also, width)
    also = ["", *also] if also else []
    shown = chain(*blocks) if verbose else _as_fit([*lines, *also], blocks)
    return "\n".join([*lines, *shown, *also])


def _as_fit(lines: Sequence[str], blocks: Sequence[list[str]]) -> list[str]:
    """As many blocks as the screen has room for, and how many are left."""
    room = SCREEN - len("\n".join(lines).splitlines())
    shown: list[str] = []
    for place, block in enumerate(blocks):
        last = place == len(blocks) - 1
        if len(shown) + len(block) > room - (not last):
            return [*shown, f"  and {len(blocks) - place} more: --verbose"]
        shown += block
    return shown


def _within(text: str, width: int, most: int | None) -> list[str]:
    """Lines of a text, so many at most."""
    lines = text.splitlines()
    if most is None or len(lines) <= most:
        return lines
    last = lines[most - 1][: width - 2].rpartition(" ")[0]
    return [*lines[: most - 1], f"{last.rstrip(' ,;:')} …"]


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


def translated_text(made: Translation, width: int = 80) -> str:
    """Whether a translation aims at the same target, and what it cannot express."""
    target = {
        "yes": "aims at the same target",
        "no": "does not aim at the same target",
        "one_update_only": "aims at the same target for one update only",
        "unknown": "is not known to aim at the same target",
    }[made.same_target]
    lines = [f"{made.to} {made.method}: {target}."]
    if made.cannot:
        lines.append("Not expressed (here, and as it comes out there)")
    lines += [_hang(f"  {d.part}: ", f"{d.a}; {d.b}", width, indent=6) for d in made.cannot]
    if made.carried:
        said = ", ".join(f"{here} as {there}" for here, there in made.carried.items())
        lines.append(_hang("Written over: ", said, width, indent=6))
    if made.dropped:
        pairs = [f"{name}={value}" for name, value in made.dropped.items()]
        more = len(pairs) - MOST_DROPPED
        said = ", ".join(pairs[:MOST_DROPPED]) + (f" and {more} more: --json -" if more > 0 else "")
        lines.append(_hang("Not written, yours to fill in: ", said, width, indent=6))
    return "\n".join(lines)


MOST_DROPPED = 8
"""Settings that a translation does not write and a screen names."""


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


def _unknown(located: Located, width: int, verbose: bool) -> list[str]:
    """What decides and is not known first, then keys that nobody knows."""
    lines = []
    deciding = [name.removeprefix("**") for name in located.undetermined]
    if deciding:
        lines.append(_row("Unknown", _deciding(located), width))
    known = set(located.undetermined)
    rest = [
        f"{name} (did you mean {located.near[name]}?)" if name in located.near else name
        for name in located.unknown
        if name.partition(" (= ")[0] not in known and not name.startswith("**")
    ]
    shown = rest if verbose else rest[:MOST_KEYS]
    if shown:
        more = f" and {len(rest) - len(shown)} more" if len(rest) > len(shown) else ""
        lines.append(_row("Not known", f"{', '.join(shown)}{more}", width))
    return lines


def _deciding(located: Located) -> str:
    """What decides and was not read, and the way out."""
    words = [name.removeprefix("**") for name in located.undetermined if name.startswith("**")]
    names = [name for name in located.undetermined if not name.startswith("**")]
    said = [f"{', '.join(words)}: may hold any setting"] if words else []
    said += [f"{', '.join(names)}: no value here"] if names else []
    return f"{'; '.join(said)}. Give what it is: --set KEY=VALUE"


MOST_KEYS = 4
"""Keys that are not known which a screen shows."""


def _row(label: str, text: str, width: int) -> str:
    return _hang(f"{label:<{_LABEL}}", text, width)


def _hang(head: str, text: str, width: int, indent: int | None = None) -> str:
    return fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * (len(head) if indent is None else indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
