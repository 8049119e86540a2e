"""Codes of texts taken while reading are those of a second pass over the files."""

import json
from pathlib import Path

import numpy as np
import pytest

import tod
from tod.findings.rollouts_of import rollouts_of

PROMPTS = ("one", 'two "quoted" \u00e9', [{"role": "user", "content": "three"}])


def written(folder: Path, uid: str | None, damaged: str = "") -> Path:
    """Two steps of three prompts of four answers, the second and third of them equal."""
    for step in (1, 2):
        lines = []
        for number, prompt in enumerate(PROMPTS):
            for k in range(4):
                row = {"input": prompt, "output": f"answer {step} {number} {k % 3}", "gts": "4"}
                row |= {"score": float(k == 1), "step": step, "extra": 0.5}
                if uid is not None:
                    row["uid"] = uid.format(prompt=f"u{step}{number}", k=k)
                lines.append(json.dumps(row))
        if damaged and step == 2:
            lines[3] = lines[3].replace('"answer 2 0 0"', damaged)
        (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("uid", [None, "{prompt}_{k}_0", "{prompt}"], ids=["V0", "V1", "groups"])
def test_both_ways_tell_the_same_texts_apart(tmp_path: Path, uid: str | None) -> None:
    """In every layout of verl's lines, with conversations and escapes."""
    path = written(tmp_path, uid)
    coded, plain = tod.read(path, digest=hash), tod.read(path)
    assert coded.text_codes is not None
    assert plain.text_codes is None
    one, other = rollouts_of(coded), rollouts_of(plain)
    assert one is not None
    assert other is not None
    for name in ("input", "text", "length", "prompt"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert len(np.unique(one.text)) == 2 * 3 * 3


def test_a_code_of_another_kind_reads_again(tmp_path: Path) -> None:
    """What was read with one code is not taken for another."""
    reading = tod.read(written(tmp_path, "{prompt}_{k}_0"), digest=hash)
    table = rollouts_of(reading, digest=len)
    assert table is not None
    assert table.text is not None
    assert set(table.text.tolist()) == {len("answer 1 0 0")}


def test_a_damaged_text_costs_no_row(tmp_path: Path) -> None:
    """A row whose score is good stays, and its file's texts are left to the second pass."""
    path = written(tmp_path, "{prompt}_{k}_0", damaged="NaN")
    reading = tod.read(path, digest=hash)
    assert len(reading) == 24
    assert reading.text_codes is None
    assert rollouts_of(reading) is not None
