"""Every page of the project: links lead somewhere, commands are those that there are."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

import pages
from tod.cli.main import app

ROOT = Path(__file__).parents[1]
WHOLE = typer.main.get_command(app)
ANYWHERE = {"--version", "--quiet", "--no-color", "--debug", "--help"}
"""Options that may stand anywhere on the line (docs/commands.md)."""


def complaint(words: list[str], whole: bool) -> str | None:
    """What is wrong with a command line that a page shows; None where nothing is.

    Args:
        words: The line after `tod`.
        whole: It stands in a code block, so that nothing required may be left out.
    """
    command: Any = WHOLE
    words = [word for word in words if word not in ANYWHERE]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, words = words[0], words[1:]
        if name.isupper() or name in {"…", "..."}:
            return None
        if name not in command.commands:
            return f"no command {name!r}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        return None
    context = command.context_class(command, info_name=command.name, resilient_parsing=not whole)
    try:
        values, left, _ = command.make_parser(context).parse_args(list(words))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    lacking = [p.name for p in command.params if p.required and values.get(p.name) in (None, ())]
    if whole and (lacking or left):
        return f"missing: {lacking}, unexpected: {left}"
    return None


def is_lost(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in pages.anchors(target))


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    assert [link for link in pages.links(page) if is_lost(page, link)] == []


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_every_command_is_one_that_there_is(page: Path) -> None:
    shown = [(words, True) for words in pages.blocks(page)]
    shown += [(words, False) for words in pages.mentions(page)]
    wrong = [
        f"tod {' '.join(words)}: {said}"
        for words, whole in shown
        if (said := complaint(words, whole)) is not None
    ]
    assert wrong == []


def test_pages_show_commands_and_links() -> None:
    """The laws above look at something."""
    assert sum(len(pages.blocks(page)) for page in pages.PAGES) > 60
    assert sum(len(pages.links(page)) for page in pages.PAGES) > 200


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tod diagnose a --config b", None),
        ("tod diagnose a --confi b", "NoSuchOption"),
        ("tod diagnoze a", "no command"),
        ("tod diagnose a --config", "requires an argument"),
        ("tod atlas compare a", r"missing: \['b'\]"),
        ("NO_COLOR=1 tod atlas list --quiet | head", None),
        ("tod schema a b", r"unexpected: \['b'\]"),
    ],
)
def test_a_wrong_command_is_told(line: str, said: str | None) -> None:
    (words,) = pages.commands_of(line)
    told = complaint(words, whole=True)
    assert (told is None) if said is None else re.search(said, str(told)), told


def test_anchors_are_those_of_forges(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `tod x`: what, and Why?\n\n## Same\n\n## Same\n\n[a](#same-1)\n")
    assert pages.anchors(page) == {"tod-x-what-and-why", "same", "same-1"}
    assert pages.links(page) == ["#same-1"]
