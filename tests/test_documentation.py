"""The site of documentation: its contents, its links, and what its pages say commands print."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bare_checkout import copied
from documentation.built import Read
from documentation.contents import contents, places_in, unlisted
from documentation.pages import DOCS, FORGE, LostLink, mended

ROOT = Path(__file__).parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


console = script("console_pages")


def test_the_contents_name_every_page_and_no_other() -> None:
    """docs/README.md links to a page, or the README of its folder does."""
    assert unlisted() == set()
    assert {"index.md", "formats/verl.md", "CHANGELOG.md"} <= places_in(contents())


@pytest.mark.parametrize(
    ("link", "led"),
    [
        ("findings.md", "findings.md"),
        ("results/watch.md#counts", "results/watch.md#counts"),
        ("formats", "formats/index.md"),
        ("README.md", "index.md"),
        ("../CHANGELOG.md", "CHANGELOG.md"),
        ("pictures/findings.png", "pictures/findings.png"),
        ("../README.md", f"{FORGE}/blob/main/README.md"),
        ("../src/tod/targets/target.py", f"{FORGE}/blob/main/src/tod/targets/target.py"),
        ("../studies", f"{FORGE}/tree/main/studies"),
        ("#below", "#below"),
        ("https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_are_mended_by_what_they_lead_to(link: str, led: str) -> None:
    assert mended(link, DOCS / "diagnose.md") == led


@pytest.mark.parametrize("link", ["nowhere.md", "../../elsewhere.md"])
def test_a_lost_link_is_an_error(link: str) -> None:
    with pytest.raises(LostLink, match=r"docs/diagnose\.md"):
        mended(link, DOCS / "diagnose.md")


def test_what_a_page_loads_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<a href="b.html#c">b</a><a href="https://d.org">d</a><h1 id="e"></h1>'
        '<script src="https://f.org/f.js"></script><link rel="stylesheet" href="g.css">'
    )
    read = Read(page)
    assert (read.links, read.anchors) == (["b.html#c", "g.css"], {"e"})
    assert read.foreign == ["https://f.org/f.js"]


@pytest.mark.parametrize("page", console.pages(), ids=lambda page: page.stem)
def test_pages_show_what_the_commands_print_now(page: Path) -> None:
    """Every command of a `console` block is run; `python scripts/console_pages.py` writes anew."""
    assert console.page_now(page) == page.read_text(encoding="utf-8")


def test_a_page_keeps_what_it_leaves_out() -> None:
    assert console.shown("1\n2\n3\n4\n5", "a\n…\nd\ne\n") == "1\n…\n4\n5"
    assert console.shown("1\n2", "old\n") == "1\n2"


def test_the_picture_shows_what_the_command_prints_now() -> None:
    """`python scripts/terminal_picture.py` draws it anew."""
    picture = script("terminal_picture")
    assert picture.picture() == picture.PICTURE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_is_built_from_a_bare_checkout_and_refuses_a_lost_link(tmp_path: Path) -> None:
    """With its own environment, which holds no torch."""
    checkout = copied(tmp_path / "tod")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    made = ["make", "docs", f"PYTHON={sys.executable}"]
    done = subprocess.run(made, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith("0 faults")
    reference = (checkout / "build/site/reference/diagnosis.html").read_text(encoding="utf-8")
    assert "Candidates and what is known of their source." in reference
    page = checkout / "docs/diagnose.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[lost](nowhere.md)\n", encoding="utf-8")
    done = subprocess.run(made, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "docs/diagnose.md: nowhere.md" in done.stderr
