"""The command line of scripts that run much, one JSON line a run, and make a page of the lines.

`SCRIPT run ROWS` runs what is not in the file yet, so that a stopped one goes on; `SCRIPT table
ROWS [PAGE]` writes the page, to the terminal without a file.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def recorded(path: Path) -> list[Row]:
    """Rows so far; a line that was torn when its writer stopped is none."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append(path: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows on their way to the file, each written before the next one is computed."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" if torn else "")
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()
            yield row


def main(
    document: str | None,
    run: Callable[[Path, argparse.Namespace], None],
    page: Callable[[list[Row]], str],
    options: Mapping[str, Mapping[str, Any]],
) -> None:
    """Run, or write the page.

    Args:
        document: The script's documentation, whose first line says what it does.
        run: Runs what the file of rows does not hold yet.
        page: The rows as Markdown.
        options: Further options, each with what `argparse` takes of it.
    """
    parser = argparse.ArgumentParser(description=(document or "").split("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("rows", type=Path, help="a JSON line a run")
    parser.add_argument("page", type=Path, nargs="?", help="Markdown; the terminal without it")
    for name, of in options.items():
        parser.add_argument(name, **of)
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked.rows, asked)
        return
    text = page(recorded(asked.rows))
    if asked.page is None:
        sys.stdout.write(text)
    else:
        asked.page.write_text(text, encoding="utf-8")
