"""Rows in any order, in one file or several, are the same candidates."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import double


def table(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 60)
    at = np.repeat(np.arange(60), sizes)
    return pl.DataFrame(
        {
            "step": at // 20,
            "context": [f"c{i % 20}" for i in at.tolist()],
            "candidate": np.concatenate([np.arange(n) for n in sizes]),
            "prompt": [f"p{i}" for i in at.tolist()],
            "completion": [f"a{i}" for i in range(len(at))],
            "utility.r": rng.normal(size=len(at)),
            "log_mu": -rng.gamma(3.0, 1.0, len(at)),
        }
    )


def sets(root: Path) -> dict[tuple[int, str], list[float]]:
    """Sorted utilities by (step, context), as they were read."""
    reading = read(root)
    names = reading.labels.context
    assert names is not None
    parts = reading.contexts.split(reading.utility["r"])
    steps = reading.steps.tolist()
    assert steps == sorted(steps)
    keys = list(zip(steps, names, strict=True))
    assert len(set(keys)) == len(keys)
    return {key: sorted(part) for key, part in zip(keys, parts, strict=True)}


def wanted(frame: pl.DataFrame) -> dict[tuple[int, str], list[float]]:
    grouped = frame.group_by("step", "context").agg(pl.col("utility.r").sort())
    return {(s, c): values for s, c, values in grouped.iter_rows()}


def reversed_runs(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame[::-1]]


def shuffled(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame.sample(fraction=1.0, shuffle=True, seed=4)]


def interleaved(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame.sort("candidate", "step", "context")]


def late_steps_first(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame.filter(pl.col("step") == s) for s in (2, 0, 1)]


def split_contexts(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame[::2], frame[1::2]]


def written_again(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Stale rows first, the same identities with the real values after them."""
    return [frame[10:30].with_columns(pl.col("utility.r") * 0 - 9), frame]


def as_it_is(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame]


@pytest.mark.parametrize(
    "layout",
    [
        as_it_is,
        reversed_runs,
        shuffled,
        interleaved,
        late_steps_first,
        split_contexts,
        written_again,
    ],
)
def test_any_layout_gives_the_same_contexts(tmp_path: Path, layout: Any) -> None:
    frame = table()
    for place, part in enumerate(layout(frame)):
        part.write_parquet(tmp_path / f"{place}.parquet")
    assert sets(tmp_path) == wanted(frame)


def test_rows_lead_back_to_their_text(tmp_path: Path) -> None:
    frame = table()
    frame[::-1].write_parquet(tmp_path / "x.parquet")
    reading = read(tmp_path)
    found = reading.texts([3, 41])
    for context, texts in found.items():
        step, name = int(reading.steps[context]), reading.labels.context[context]
        same = frame.filter((pl.col("step") == step) & (pl.col("context") == name))
        assert [t.completion for t in texts] == same["completion"].to_list()[::-1]


def test_the_worst_are_the_lowest_with_later_steps_first(tmp_path: Path) -> None:
    """Ties at the boundary are all looked at before the count is cut."""
    frame = table()
    frame = frame.with_columns((pl.col("candidate") == 0).cast(pl.Float64).alias("utility.r"))
    frame.write_parquet(tmp_path / "x.parquet")
    found = diagnose(read(tmp_path), eta=30.0, worst=4)
    whole = found.diagnostics
    order = sorted(
        np.flatnonzero(whole.informative).tolist(),
        key=lambda i: (whole.ess_rel[i], -found.reading.steps[i], i),
    )
    names = found.reading.labels.context
    assert [(w["step"], w["id"]) for w in found.worst] == [
        (int(found.reading.steps[i]), names[i]) for i in order[:4]
    ]


def test_a_step_of_many_reads_as_it_does_alone(tmp_path: Path) -> None:
    table().write_parquet(tmp_path / "x.parquet")
    whole = diagnose(read(tmp_path), eta=1.0)
    assert len(whole.summaries) > 1
    for step, summary in whole.summaries.items():
        alone = diagnose(read(tmp_path, steps=(step, step)), eta=1.0)
        one, other = summary.to_dict(), alone.summary.to_dict()
        assert one["tails"] == pytest.approx(
            other["tails"], rel=double(200, 100)
        )  # k̂ up to its last digit
        for name in ("contexts", "ess_rel", "overlap", "coverage"):
            assert one[name] == other[name], (step, name)
