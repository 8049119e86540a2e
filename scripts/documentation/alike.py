"""Whether a page of the site has what a forge shows of it: two readings of Markdown differ."""

import re
from collections import Counter
from pathlib import Path

from markdown_it import MarkdownIt

from documentation.pages import PAGES, SITE

PARTS = {"list_item_open": "li", "td_open": "td", "th_open": "th", "fence": "pre"}
PARTS |= {"code_block": "pre"}


def on_a_forge(page: Path) -> Counter[str]:
    """Items, cells and blocks of code of a page, as CommonMark with tables has them."""
    read = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return Counter(PARTS[token.type] for token in read if token.type in PARTS)


def on_the_site(page: Path) -> Counter[str]:
    """The same of its page in the site."""
    text = (SITE / page.relative_to(PAGES)).with_suffix(".html").read_text(encoding="utf-8")
    article = text.partition("<article")[2].partition("</article")[0]
    return Counter(re.findall(r"<(li|td|th|pre)\b", article))


def differing() -> list[str]:
    """Pages that the generator reads otherwise than a forge, with both counts."""
    own = (page for page in PAGES.rglob("*.md") if page.parent.name != "reference")
    return [
        f"{page.relative_to(PAGES)}: a forge shows {dict(forge)}, the site {dict(site)}"
        for page in sorted(own)
        if (forge := on_a_forge(page)) != (site := on_the_site(page))
    ]
