"""JSON nested as deep as the stack: what cannot be read is said, and never a fault of ours."""

import ast
from pathlib import Path

import pytest

import tod
from tod.base import RunError
from tod.base.overrides import apply_override
from tod.runs import RunDirectory

SOURCE = Path(tod.__file__).parent
WRITTEN_BY_US = {"atlas/annotated.py", "atlas/measured.py", "findings/pieces.py",
                 "findings/watching.py", "show/terminal/progress.py", "formats/jsonl.py",
                 "study/swap/exact_results.py", "study/swap/outcomes.py"}  # fmt: skip
"""Files that read what lies in the package or was packed by us, or whose callers catch it."""


def test_a_manifest_of_any_depth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(RunError, match="cannot be read"):
        RunDirectory.open(tmp_path)


def test_an_override_of_any_depth_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="100,001 names deep"):
        apply_override({}, "a." * 100_000 + "b=1")


def test_whoever_reads_json_knows_that_it_may_be_deep() -> None:
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        text = path.read_text(encoding="utf-8")
        if "json.loads(" not in text or name in WRITTEN_BY_US:
            continue
        caught = [
            handler
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Try) and "json.loads" in "".join(map(ast.unparse, node.body))
            for handler in node.handlers
        ]
        assert any("RecursionError" in ast.unparse(handler) for handler in caught), name
