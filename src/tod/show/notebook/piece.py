"""Markup that stands inside another document: its style with it, every text of bounded length."""

import html
import re
from collections.abc import Iterator

from tod.base.text import visible
from tod.show.figures.svg import Html, tag
from tod.show.notebook.styles import SCOPE, style

TEXT = 400
"""Characters of one text; what is longer ends in an ellipsis."""


def piece(markup: Html) -> Html:
    """The markup in an element of its own with the style that it needs, and nothing else."""
    bounded = Html("".join(_bounded(markup)))
    used = frozenset(_used(bounded)) | {f".{SCOPE}", "div"}
    sheet = tag("style", Html(style(used)))
    return tag("div", sheet, bounded, class_=SCOPE)


def _bounded(markup: str) -> Iterator[str]:
    """Tags as they are, texts and titles cut."""
    for part in re.split(r"(<[^>]*>)", markup):
        if part.startswith("<"):
            yield re.sub(r'="([^"]*)"', lambda found: f'="{_cut(found)}"', part)
        else:
            yield _shortened(part)


def _cut(found: re.Match[str]) -> str:
    """Coordinates of a line are numbers, whose count the figure bounds; all else is text."""
    value = found[1]
    return value if re.fullmatch(r"[MLZ\d.,\s-]*", value) else _shortened(value)


def _shortened(escaped: str) -> str:
    if len(escaped) <= TEXT:
        return escaped
    plain = html.unescape(escaped)
    shown = plain if len(plain) <= TEXT else f"{plain[: TEXT - 2].rstrip()} …"
    return html.escape(visible(shown), quote=True)


def _used(markup: str) -> Iterator[str]:
    """Names of elements, and classes with a dot before them."""
    yield from re.findall(r"<([a-zA-Z][\w-]*)", markup)
    for names in re.findall(r'class="([^"]*)"', markup):
        yield from (f".{name}" for name in names.split())
