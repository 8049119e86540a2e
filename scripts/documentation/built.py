"""Read the finished site again: links that lead nowhere, and what it loads from elsewhere."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from documentation.pages import SITE


class Read(HTMLParser):
    """The links and anchors of a page of the site, and what it asks of other places."""

    def __init__(self, page: Path) -> None:
        """Read the page."""
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.foreign: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what leads somewhere."""
        named = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := named.get(key))}
        link = named.get("href") if tag in {"a", "link"} else named.get("src")
        if not link or link.startswith(("data:", "mailto:")):
            return
        if urlsplit(link).scheme:
            if tag != "a" and named.get("rel") != "canonical":
                self.foreign.append(link)
        else:
            self.links.append(link)


def faults() -> list[str]:
    """Links of the finished site that lead nowhere, and what its pages load from elsewhere."""
    pages = {path: Read(path) for path in SITE.rglob("*.html")}
    said = []
    for path, page in pages.items():
        name = path.relative_to(SITE)
        said += [f"{name} loads {link}" for link in page.foreign]
        for link in page.links:
            at, _, anchor = link.partition("#")
            at = at.partition("?")[0]
            target = path if not at else Path(os.path.normpath(path.parent / unquote(at)))
            if at.startswith("/"):
                target = SITE / at.lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            whole = not anchor or target not in pages or unquote(anchor) in pages[target].anchors
            if not target.is_file() or not whole:
                said.append(f"{name} → {link}")
    return said
