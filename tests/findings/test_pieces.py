"""Pieces put together are, column by column, the rollouts of one reading of all files."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import tod
from tod.base import Groups
from tod.findings import RolloutTable, rollouts_of
from tod.findings.pieces import from_arrays, join, read_piece, signature, to_arrays

MAPPING = {"utility": "r", "context": "p", "prompt": "p", "completion": "t", "step": "s"}


def same(one: RolloutTable, other: RolloutTable) -> None:
    for field in fields(RolloutTable):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif isinstance(a, Groups):
            assert a == b
        elif field.name == "rewards":
            assert list(a) == list(b)
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])
        else:
            assert a == b, field.name


def pieces_of(files: list[Path], **options):
    mapping = options.get("mapping", {})
    return [read_piece([(file, signature(file))], "auto", mapping) for file in files]


@pytest.fixture
def interleaved(tmp_path: Path) -> list[Path]:
    """Odd steps in one file and even ones in another; some texts come in both."""
    rng = np.random.default_rng(0)
    files = []
    for name, steps in (("a", (9, 1, 5)), ("b", (8, 2, 4))):
        rows = [
            {"s": step, "p": f"q{g}", "r": float(rng.random() < 0.5), "t": f"t{rng.integers(5)}"}
            for step in steps
            for g in range(3)
            for _ in range(2 + g)
        ]
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def test_interleaved_steps_join_in_order(interleaved: list[Path]) -> None:
    joined = join(pieces_of(interleaved, mapping=MAPPING))
    assert joined is not None
    assert joined.steps.tolist() == [1, 2, 4, 5, 8, 9]
    whole = rollouts_of(tod.read(interleaved, mapping=MAPPING))
    assert whole is not None
    same(joined, whole)


def test_pieces_survive_the_way_to_a_file_and_back(interleaved: list[Path]) -> None:
    pieces = pieces_of(interleaved, mapping=MAPPING)
    back = from_arrays(*to_arrays(pieces))
    for piece, again in zip(pieces, back, strict=True):
        assert again.files == piece.files
        assert (again.format, again.rejected, again.notes) == (
            piece.format,
            piece.rejected,
            piece.notes,
        )
        assert piece.rollouts is not None
        assert again.rollouts is not None
        same(piece.rollouts, again.rollouts)


def test_other_columns_do_not_join(tmp_path: Path) -> None:
    files = []
    for step, column in ((1, "utility.score"), (2, "utility.other")):
        rows = [{"step": step, "context": "c", column: float(k)} for k in range(4)]
        files.append(tmp_path / f"{step}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert join(pieces_of(files)) is None


def test_a_forbidden_answer_does_not_join(tmp_path: Path) -> None:
    """It counts as the smallest reward of the run, which its own file does not know."""
    files = []
    for step, values in ((1, [-5.0, 1.0]), (2, [float("-inf"), 1.0])):
        rows = [{"step": step, "context": "c", "utility.score": value} for value in values]
        files.append(tmp_path / f"{step}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    pieces = pieces_of(files)
    assert [piece.whole for piece in pieces] == [False, True]
    assert join(pieces) is None
    whole = join([read_piece([(f, signature(f)) for f in files], "auto", {})])
    assert whole is not None
    assert whole.reward.tolist() == [-5.0, 1.0, -5.0, 1.0]
