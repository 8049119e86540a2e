"""The answers file: JSON lines, one a prompt and rule."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from tod.base import RunError
from tod.base.text import counted
from tod.reranking.answers import answer
from tod.runs.atomic import filled

if TYPE_CHECKING:
    import polars as pl

    from tod.reranking.rerank import Ranked, Reranked

AT_ONCE = 1 << 16
"""Prompts whose texts are held at once."""


def frames(found: "Reranked") -> "Iterator[pl.DataFrame]":
    """What the rules put out for every prompt, in their order; nulls where it is nothing.

    ``prompt_id``, ``step`` where there are several, ``prompt``, ``answer`` (what votes count),
    ``response``, ``index`` (place among the prompt's candidates, from 0), ``reward``, ``gold``
    where there is one, ``rule``, ``weight`` (how much speaks for it, in [0, 1]).
    """
    total = len(found.scored.contexts)
    for ranked in found.ranked:
        for start in range(0, total, AT_ONCE):
            yield _some(found, ranked, np.arange(start, min(start + AT_ONCE, total)))


def _some(found: "Reranked", ranked: "Ranked", contexts: Int[np.ndarray, " c"]) -> "pl.DataFrame":
    import polars as pl

    scored, groups = found.scored, found.scored.contexts
    names, steps = scored.reading.labels.context, scored.reading.steps
    there = ranked.selection.accepted[contexts]
    first = groups.offsets[:-1][contexts]
    rows = np.where(there, ranked.selection.rows[contexts], first)
    prompts, texts = scored.reading.text_columns(scored.rows[rows])
    taken = there.tolist()
    said = [answer(t, scored.pattern) if x else None for t, x in zip(texts, taken, strict=True)]
    columns: dict[str, Any] = {
        "prompt_id": None if names is None else pl.Series([names[c] for c in contexts.tolist()]),
        **({"step": pl.Series(steps[contexts])} if len(np.unique(steps)) > 1 else {}),
        "prompt": pl.Series([text or None for text in prompts], dtype=pl.String),
        "answer": pl.Series(said, dtype=pl.String),
        "response": pl.Series(
            [t or None if x else None for t, x in zip(texts, taken, strict=True)], dtype=pl.String
        ),
        "index": pl.Series(rows - first),
        "reward": pl.Series(scored.utility[rows]),
        **({} if scored.gold is None else {"gold": pl.Series(scored.gold[rows])}),
        "rule": pl.Series([ranked.name] * len(rows)),
        "weight": pl.Series(ranked.strength[contexts]),
    }
    frame = pl.DataFrame(columns)
    numbers = [name for name in ("index", "reward", "gold", "weight") if name in columns]
    kept = pl.Series(there)
    return frame.with_columns(pl.when(kept).then(pl.col(name)).alias(name) for name in numbers)


def write_answers(found: "Reranked", path: Path) -> Path:
    """All answers of all rules, put at ``path`` whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filled(path) as file:
            for frame in frames(found):
                frame.write_ndjson(file)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}). Name another file with `--output`."
        ) from error
    return path


def print_answers(found: "Reranked") -> None:
    """The same on stdout, where what steers a terminal is made visible."""
    for frame in frames(found):
        sys.stdout.write(frame.write_ndjson())


def said(found: "Reranked", path: Path) -> str:
    """What was written, in words."""
    groups, count = len(found.scored.contexts), len(found.ranked)
    each = "" if count == 1 else f", {count} rules each"
    refused = sum(int((~ranked.selection.accepted).sum()) for ranked in found.ranked)
    none = f"; {refused} without an answer" if refused else ""
    return f"{path}: {counted(groups, 'prompt')}{each}{none}"
