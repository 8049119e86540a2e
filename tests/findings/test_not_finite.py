"""A run whose figures turn to NaN is named; single gaps are not; huge numbers crash nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from tod.findings import Findings, find, run_of
from tod.logs import read_log

KEYS = ("loss", "reward", "kl", "grad_norm", "entropy")


def said(folder: Path, **columns: object) -> Findings:
    rng = np.random.default_rng(0)
    rows = []
    for step in range(1, 61):
        row = {"step": step} | {key: 0.5 + 0.1 * rng.normal() for key in KEYS}
        for key, value in columns.items():
            changed = value(step) if callable(value) else value
            row |= {} if changed is None else {key: changed}
        rows.append(row)
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return find(run_of(logs=[read_log(path)]))


def test_nan_to_the_end_is_critical_and_dated(tmp_path: Path) -> None:
    gone = said(tmp_path, loss=lambda step: float("nan") if step >= 40 else None)
    assert gone.first is not None
    assert (gone.first.kind, gone.first.severity) == ("not_finite", "critical")
    assert gone.first.onset is not None
    assert gone.first.onset.step == 40
    assert gone.first.headline.startswith("loss is NaN or infinite from step 40")
    assert gone.first.best_step == 39


def test_nan_from_the_start_is_named_too(tmp_path: Path) -> None:
    gone = said(tmp_path, loss=float("nan"))
    assert gone.first is not None
    assert gone.first.kind == "not_finite"
    assert "from the first step" in gone.first.headline


def test_single_gaps_are_no_fault(tmp_path: Path) -> None:
    gaps = said(tmp_path, grad_norm=lambda step: float("nan") if step % 9 == 0 else None)
    assert "not_finite" not in {finding.kind for finding in gaps.all}


@pytest.mark.parametrize("huge", [1e160, 1.7e308, -1e308])
@pytest.mark.parametrize("key", KEYS)
def test_huge_figures_crash_nothing(tmp_path: Path, key: str, huge: float) -> None:
    said(tmp_path, **{key: lambda step: huge if step % 2 else None})
    said(tmp_path, **{key: lambda step: huge if step == 30 else None})
