"""The answers file: JSON lines, one a prompt and rule."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from tod.base import RunError
from tod.base.text import counted
from tod.reranking.answers import answers_of
from tod.reranking.ranked import Ranked, Ranking
from tod.runs.atomic import filled

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 1 << 18
"""Answers whose texts are held at once."""


def frames(found: Ranking) -> "Iterator[pl.DataFrame]":
    """What the rules put out for every prompt, in their order; nulls where it is nothing.

    ``prompt_id``, ``step`` where there are several, ``prompt``, ``answer`` (what votes count),
    ``response``, ``index`` (place among the prompt's candidates, from 0), ``reward``, ``gold``
    where there is one, ``rule``, ``weight`` (how much speaks for it, in [0, 1]).
    """
    total = len(found.scored.contexts)
    several = max(1, AT_ONCE // total)
    for at in range(0, len(found.ranked), several):
        together = found.ranked[at : at + several]
        for start in range(0, total, AT_ONCE):
            yield from _some(found, together, np.arange(start, min(start + AT_ONCE, total)))


def _some(
    found: Ranking, together: Sequence[Ranked], contexts: Int[np.ndarray, " c"]
) -> "Iterator[pl.DataFrame]":
    """The answers of some rules to some prompts: texts are read once for all of them."""
    import polars as pl

    scored = found.scored
    first = scored.contexts.offsets[:-1][contexts]
    chosen = [
        np.where(r.selection.accepted[contexts], r.selection.rows[contexts], first)
        for r in together
    ]
    wanted = np.zeros(scored.contexts.total, dtype=bool)
    wanted[np.concatenate(chosen)] = True
    every, place = np.flatnonzero(wanted), np.cumsum(wanted) - 1
    read = scored.reading.text_frame(scored.rows[every])
    names = scored.reading.labels.context
    texts = {
        "prompt": read["prompt"],
        "answer": answers_of(read["completion"], scored.pattern),
        "response": read["completion"],
    }
    ids = None if names is None else pl.Series([names[c] for c in contexts.tolist()])
    for ranked, rows in zip(together, chosen, strict=True):
        at = place[rows]
        columns = {"prompt_id": ids} | {name: column[at] for name, column in texts.items()}
        yield _frame(found, ranked, contexts, rows, columns)


def _frame(
    found: Ranking,
    ranked: Ranked,
    contexts: Int[np.ndarray, " c"],
    rows: Int[np.ndarray, " c"],
    texts: "Mapping[str, pl.Series | None]",
) -> "pl.DataFrame":
    import polars as pl

    scored = found.scored
    first = scored.contexts.offsets[:-1][contexts]
    steps = scored.reading.steps
    columns: dict[str, Any] = {
        "prompt_id": texts["prompt_id"],
        **({"step": pl.Series(steps[contexts])} if np.ptp(steps) else {}),
        **texts,
        "index": pl.Series(rows - first),
        "reward": pl.Series(scored.utility[rows]),
        **({} if scored.gold is None else {"gold": pl.Series(scored.gold[rows])}),
        "rule": pl.Series([ranked.name] * len(rows)),
        "weight": pl.Series(ranked.strength[contexts]),
    }
    frame = pl.DataFrame(columns)
    there = ranked.selection.accepted[contexts]
    if there.all():
        return frame
    of_answer = set(columns) - {"prompt_id", "step", "prompt", "rule"}
    kept = pl.Series(there)
    return frame.with_columns(
        pl.when(kept).then(pl.col(name)).alias(name) for name in columns if name in of_answer
    )


def write_answers(found: Ranking, path: Path) -> Path:
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


def print_answers(found: Ranking) -> None:
    """The same on stdout, where what steers a terminal is made visible."""
    for frame in frames(found):
        sys.stdout.write(frame.write_ndjson())


def said(found: Ranking, path: Path) -> str:
    """What was written, in words."""
    groups, count = len(found.scored.contexts), len(found.ranked)
    each = "" if count == 1 else f", {count} rules each"
    refused = sum(int((~ranked.selection.accepted).sum()) for ranked in found.ranked)
    none = f"; {refused} without an answer" if refused else ""
    return f"{path}: {counted(groups, 'prompt')}{each}{none}"
