"""Run the notebooks of docs/notebooks, and write each again with its outputs and as a plain page.

A notebook runs in a copy of the folder and of docs/examples, so that nothing is left where the
pages are. Needs nbclient, nbformat and ipykernel (the extra `dev`).

    python scripts/notebooks.py            # all
    python scripts/notebooks.py rerank     # one
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/notebooks"
LONGEST = 900
"""Seconds that a cell may take."""


def notebooks() -> list[Path]:
    """The notebooks, by name."""
    return sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path) -> dict[str, Any]:
    """A notebook run now, without what differs from one time to the next.

    Raises:
        CellExecutionError: A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    os.environ["PYTHONWARNINGS"] = "ignore:IProgress"  # of tqdm, where no widgets are installed
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("notebooks", "examples"):
            shutil.copytree(ROOT / "docs" / name, Path(folder) / name)
        at = {"metadata": {"path": str(Path(folder) / "notebooks")}}
        NotebookClient(book, timeout=LONGEST, kernel_name="python3", resources=at).execute()
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    for number, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return dict(json.loads(nbformat.writes(book)))


def texts(cell: dict[str, Any]) -> list[str]:
    """What a cell put out, as plain text."""
    found = []
    for output in cell.get("outputs", ()):
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        found.append("".join(text).rstrip())
    return [text for text in found if text]


def page(path: Path, book: dict[str, Any]) -> str:
    """The notebook as Markdown: its words, its code, and what the code put out as text."""
    parts = []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [f"```text\n{text}\n```" for text in texts(cell)]
    parts.insert(1, f"This page is [{path.name}]({path.name}), a notebook that was run.")
    return "\n\n".join(parts) + "\n"


def main(names: list[str]) -> None:
    """Run, and write."""
    for path in notebooks():
        if names and path.stem not in names:
            continue
        book = executed(path)
        path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(page(path, book), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
