"""A check before launch as a screen of 24 lines, and as Markdown for a pull request."""

from textwrap import fill

from tod.configurations.check import Check, CheckRemark
from tod.show.terminal.also_lines import in_a_word
from tod.show.terminal.atlas import aims_at, short_setting
from tod.show.terminal.legend import legend

MOST_LINES = 24
TITLES = {"stop": "cannot work", "look": "look", "note": "note"}


def headline(made: Check) -> str:
    """The answer in one line."""
    counts = {level: sum(r.level == level for r in made.remarks) for level in TITLES}
    if counts["stop"]:
        return f"Not ready: {_things(counts['stop'])} cannot work as it stands."
    if counts["look"]:
        return f"{_things(counts['look']).capitalize()} to look at before launch."
    notes = f"; {_things(counts['note'])} to know" if counts["note"] else ""
    return f"Ready: nothing to look at{notes}."


def check_text(made: Check, width: int = 80, verbose: bool = False) -> str:
    """The screen: the answer, what it aims at, what to look at, what was not checked."""
    located = made.located
    of = f" (defaults of {located.version})" if located.version else ""
    head = [headline(made), f"  {located.framework} {located.method}{of}"]
    head += _hung("  aims at  ", aims_at(located), width)
    if made.against is not None:
        head += _hung("  against the base  ", _changed(made), width)
    tail: list[str] = []
    for place, what in enumerate(made.unchecked):
        tail += _hung("             " if place else "Not checked  ", what, width)
    lines: list[str] = []
    signs = legend([*head, *(remark.said for remark in made.remarks)], width)
    room = MOST_LINES - len(head) - len(signs) - len(tail)
    for place, remark in enumerate(made.remarks):
        text = _remark(remark, width, verbose)
        last = place == len(made.remarks) - 1
        if not verbose and len(lines) + len(text) > room - (not last):
            lines.append(f"  and {len(made.remarks) - place} more: --verbose")
            break
        lines += text
    return "\n".join([*head, *lines, *signs, *tail])


def check_markdown(made: Check, name: str) -> str:
    """The same for a pull request: a title, a table of remarks, what was not checked."""
    located = made.located
    rows = [
        f"| {TITLES[r.level]} | {_cell(r.setting) or 'all of it'} | {_cell(r.said)} |"
        for r in made.remarks
    ]
    table = ["", "| | setting | what it does |", "| --- | --- | --- |", *rows] if rows else []
    changed = [] if made.against is None else ["", f"Against the base: {_changed(made)}."]
    missing = ["", f"Not checked: {'; '.join(made.unchecked)}."] if made.unchecked else []
    lines = [
        f"### tod check {name}",
        "",
        f"**{headline(made)}**",
        "",
        f"{located.framework} {located.method}; aims at {aims_at(located)}.",
    ]
    return "\n".join([*lines, *changed, *table, *missing]) + "\n"


def _changed(made: Check) -> str:
    if made.against is None:
        return ""
    count = sum(row.part not in ("law", "holds") for row in made.against.differences)
    target = {
        "yes": "one target",
        "no": "another target",
        "one_update_only": "one target for one update only",
        "unknown": "not known whether one target",
    }[made.against.same_target]
    also = in_a_word(made.against.also)
    if not count and not also:
        return f"{target}, and nothing differs"
    said = f"{target}; {_settings(count)}" if count else target
    return f"{said}; also different: {also}" if also else said


def _settings(count: int) -> str:
    return "one setting differs" if count == 1 else f"{count} settings differ"


def _remark(remark: CheckRemark, width: int, verbose: bool) -> list[str]:
    setting = remark.setting if verbose else short_setting(remark.setting)
    text = f"{setting}: {remark.said}" if setting else remark.said
    return _hung(f"{TITLES[remark.level]:<11}  ", text, width)


def _hung(head: str, text: str, width: int) -> list[str]:
    return fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ).splitlines()


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count} things"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
