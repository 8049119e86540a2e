"""Copies of the pages for the site, with the links that leave docs/ mended by their kind."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
DOCS, BUILD = ROOT / "docs", ROOT / "build"
PAGES, SITE = BUILD / "pages", BUILD / "site"
FORGE = "https://github.com/tod-posttrain/tod"
AT_THE_ROOT = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"}
"""Pages of the project's root that the site has too; README.md is the forge's front page."""
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)


class LostLink(Exception):
    """A link leads to nothing that is in the project."""


def mended(link: str, page: Path) -> str:
    """A link of a page of the project as the site needs it, by what it leads to.

    Args:
        link: As written, relative to the page.
        page: The file that it stands in.

    Raises:
        LostLink: Nothing of that name is in the project.
    """
    path, _, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link
    target = Path(os.path.normpath(page.parent / unquote(path)))
    if not target.exists() or not target.is_relative_to(ROOT):
        raise LostLink(f"{page.relative_to(ROOT)}: {link}")
    if target.is_dir() and target.is_relative_to(DOCS) and (target / "README.md").exists():
        target /= "README.md"
    if target.is_file() and (target.is_relative_to(DOCS) or target.name in AT_THE_ROOT):
        led = os.path.relpath(place_of(target), place_of(page).parent)
        return f"{led}#{anchor}" if anchor else led
    kind = "tree" if target.is_dir() else "blob"
    return f"{FORGE}/{kind}/main/{target.relative_to(ROOT).as_posix()}"


def place_of(page: Path) -> Path:
    """Where the copy of a file stands; a folder's README is its index."""
    inside = page.relative_to(DOCS) if page.is_relative_to(DOCS) else Path(page.name)
    return PAGES / (inside.with_name("index.md") if inside.name == "README.md" else inside)


def text_of(page: Path) -> str:
    """A page's text with its links mended, those in code left as they are."""
    pieces = CODE.split(page.read_text(encoding="utf-8"))
    pieces[::2] = [
        LINK.sub(lambda link: link[1] + mended(link[2], page) + link[3], prose)
        for prose in pieces[::2]
    ]
    return "".join(pieces)


def copy_pages() -> None:
    """Copies of all pages and of the files that they show."""
    shutil.rmtree(PAGES, ignore_errors=True)
    there = (path for path in DOCS.rglob("*") if path.is_file())
    for path in [*there, *(ROOT / name for name in AT_THE_ROOT if (ROOT / name).exists())]:
        place_of(path).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            place_of(path).write_text(text_of(path), encoding="utf-8")
        else:
            shutil.copyfile(path, place_of(path))
