"""The project's pages: their links and headings, and the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY", "CODE_OF_CONDUCT")
PAGES = [
    *(path for name in AT_THE_ROOT if (path := ROOT / f"{name}.md").exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = {"", "bash", "sh", "shell", "console"}
"""Languages of a fence whose lines may be commands; a fence without one may be anything."""


def name_of(page: Path) -> str:
    """As it stands in the names of tests."""
    return page.relative_to(ROOT).as_posix()


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """Blocks and what stands in them, in one row."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(token for block in blocks for token in (block, *(block.children or ())))


def links(page: Path) -> list[str]:
    """Every link and picture that stays in the project, as written."""
    written = [
        unquote(str(value))
        for token in tokens(page)
        for name, value in token.attrs.items()
        if name in {"href", "src"}
    ]
    return [link for link in written if not re.match(r"[a-z]+:", link)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of its headings, as forges make them: a repeated one has a number behind it."""
    seen: dict[str, int] = {}
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type != "heading_open":
            continue
        text = "".join(part.content for part in token.children or ())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
    return frozenset(f"{slug}-{i}" if i else slug for slug, n in seen.items() for i in range(n + 1))


def commands_of(text: str) -> Iterator[list[str]]:
    """Every `tod ...` of a shell text as words; what is piped, chained or commented is cut off."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe of prose or of another language
            continue
        stops = [i for i, word in enumerate(words) if re.fullmatch(r"[|;&<>()]+", word)]
        for start, stop in zip([-1, *stops], [*stops, len(words)], strict=True):
            command = words[start + 1 : stop]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command[:1] == ["tod"]:
                yield command[1:]


def blocks(page: Path) -> list[list[str]]:
    """Commands that stand in code blocks: those are whole."""
    return [
        command
        for token in tokens(page)
        if token.type == "code_block" or (token.type == "fence" and token.info.strip() in SHELL)
        for command in commands_of(token.content)
    ]


def mentions(page: Path) -> list[list[str]]:
    """Commands named in a sentence, which may leave words out."""
    return [
        command
        for token in tokens(page)
        if token.type == "code_inline"
        for command in commands_of(token.content.replace("\n", " "))
    ]
