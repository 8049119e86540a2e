"""Run the commands that the pages show with their output, and write what they print now.

Usage: python scripts/console_pages.py            # every page with a console block
       python scripts/console_pages.py --check    # says which differ, writes nothing

A block of the language `console` is commands after `$ `, each followed by what it prints. The
blocks of a page run one after the other in a folder that holds copies of docs/examples, at 80
columns. A line of `…` stands for lines that the page leaves out.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.M | re.S)
ENVIRONMENT = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}


def pages() -> list[Path]:
    """Those that show what a command prints."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


def printed(command: str, folder: Path) -> str:
    """What a command line prints in a folder, standard output and errors together."""
    words = shlex.split(command)
    program = [sys.executable, "-m", "tod"] if words[0] == "tod" else [sys.executable]
    if words[0] not in {"tod", "python"}:
        raise ValueError(f"{command!r}: only tod and python are run")
    environment = os.environ | ENVIRONMENT
    said = subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "\n".join(line.rstrip() for line in said.stdout.splitlines())


def shown(new: str, old: str) -> str:
    """What is printed now, cut where the page cut what was printed before.

    Args:
        new: All lines of today.
        old: The lines of the page; one that is `…` leaves out what stood there.
    """
    before, cut, after = old.partition("\n…\n")
    if not cut:
        return new
    lines, first, last = new.splitlines(), before.count("\n") + 1, after.count("\n")
    return "\n".join([*lines[:first], "…", *lines[len(lines) - last :]])


def block_now(block: str, folder: Path) -> str:
    """A block with what its commands print now."""
    made = []
    for piece in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, old = piece.partition("\n")
        new = shown(printed(command, folder), old)
        made.append(f"$ {command}\n" + (f"{new}\n" if new else ""))
    return "".join(made)


def page_now(page: Path) -> str:
    """A page with what its commands print now."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "examples"
        shutil.copytree(DOCS / "examples", folder)
        text = page.read_text(encoding="utf-8")
        return BLOCK.sub(lambda found: block_now(found[0], folder), text)


def main() -> int:
    """Write every page, or say which differ."""
    now = {page: page_now(page) for page in pages()}
    differ = [page for page, text in now.items() if text != page.read_text(encoding="utf-8")]
    for page in differ:
        print(page.relative_to(ROOT), "differs")
        if "--check" not in sys.argv:
            page.write_text(now[page], encoding="utf-8")
    return bool(differ) and "--check" in sys.argv


if __name__ == "__main__":
    sys.exit(main())
