"""The contents of the site: what docs/README.md links to, and nothing else."""

import os
import re
from pathlib import Path

import yaml

from documentation.pages import AT_THE_ROOT, BUILD, DOCS, PAGES, ROOT, place_of

LINKED = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")


def linked(readme: Path) -> list[tuple[str, Path]]:
    """Titles and files of the pages that a folder's README links to, one for each file."""
    found = LINKED.findall(readme.read_text(encoding="utf-8"))
    pages = [(title, Path(os.path.normpath(readme.parent / link))) for title, link in found]
    return list({page: (title, page) for title, page in reversed(pages)}.values())[::-1]


def title_of(page: Path) -> str:
    """Its first heading, without marks of code."""
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").replace("`", "")


def entry(title: str, page: Path) -> dict[str, object]:
    """A page in the contents; a folder's README has the pages of its folder below it."""
    at = place_of(page).relative_to(PAGES).as_posix()
    if page.name != "README.md":
        return {title: at}
    own = [deep for _, deep in linked(page) if deep.parent == page.parent]
    return {title: [at, *(entry(title_of(deep), deep) for deep in own)]}


def contents() -> list[object]:
    """Headings of docs/README.md with the pages below each; the reference of names at the end."""
    listed: list[object] = ["index.md"]
    places = listed
    for part in re.split(r"^## ", (DOCS / "README.md").read_text(encoding="utf-8"), flags=re.M):
        heading = part.partition("\n")[0]
        if not heading.startswith("# "):
            places = []
            listed.append({heading: places})
        for title, link in LINKED.findall(part):
            places.append(entry(title, Path(os.path.normpath(DOCS / link))))
    reference = sorted((PAGES / "reference").glob("*.md"), key=lambda p: (p.stem != "index", p))
    at = [page.relative_to(PAGES).as_posix() for page in reference]
    return [*listed, {"Reference": at}]


def places_in(listed: object) -> set[str]:
    """Every page that contents name."""
    if isinstance(listed, str):
        return {listed}
    inside = listed.values() if isinstance(listed, dict) else listed
    return {page for item in inside for page in places_in(item)}


def unlisted() -> set[str]:
    """Pages of the project that the contents lack, or that they name and that are not there."""
    own = [*DOCS.rglob("*.md"), *(ROOT / name for name in AT_THE_ROOT if (ROOT / name).exists())]
    there = {place_of(page).relative_to(PAGES).as_posix() for page in own}
    return there ^ {page for page in places_in(contents()) if not page.startswith("reference/")}


def write_settings() -> Path:
    """mkdocs.yml with the contents, where the generator reads it."""
    nav = yaml.safe_dump({"nav": contents()}, allow_unicode=True, sort_keys=False)
    settings = BUILD / "mkdocs.yml"
    settings.write_text((ROOT / "mkdocs.yml").read_text(encoding="utf-8") + nav, encoding="utf-8")
    return settings
