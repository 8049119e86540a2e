"""Segments of one answer as one candidate.

An agent that compacts its history or calls another trains on several sequences an answer: verl
writes a row an output of a session, slime a sample a sibling of one rollout. Counted one by one
they would make a prompt's group larger and its rewards alike. An answer is all its segments:
log-probs, lengths and turns add up, and the rest is the last segment's, which the reward is given
for.
"""

from typing import Any

import numpy as np

from tod.formats.columns import FlatColumns

RULE = "log-probs and lengths added up, the reward of the last"


def join_segments(columns: FlatColumns) -> int:
    """Join rows of one context whose ``segment`` is one; how many answers had several.

    A row without a ``segment`` is of the answer whose ``segment`` is its ``identity``: of a writer
    that numbers segments only the later ones say whose they are. The last segment by
    ``segment_place`` stays, and the others leave without being counted as refused; of two rows of
    one place, as after a resumed step, the later one counts.

    Where the writer gives the segments of an answer one reward (``extras["one_reward"]``), rows
    with several are no segments, and neither are rows of prompts that have one answer each.
    """
    if columns.segment is None:
        return 0
    order, starts, again = _ordered(columns)
    sure = not columns.rows.extras.get("one_reward") or _one_reward(columns, order, starts)
    if not len(order) or not sure:
        return 0
    columns.alive[again] = False
    ends = np.append(starts[1:], len(order))
    several = ends - starts > 1
    last = order[ends - 1]

    def added(values: Any, how: Any = np.add) -> None:
        values[last[several]] = how.reduceat(values[order], starts)[several]

    for values in (*columns.log.values(), *columns.taken.values()):
        added(values)
    for name, values in columns.logged.items():
        if name in ("turns", "error"):
            added(values, np.add if name == "turns" else np.fmax)
    for name, how in (("length", np.add), ("lag", np.maximum)):
        _of_known(columns, name, lambda values, how=how: added(values, how), added)
    columns.alive[order] = False
    columns.alive[last] = True
    return int(several.sum())


def _one_reward(columns: FlatColumns, order: Any, starts: Any) -> bool:
    """Whether every answer has one reward, and some prompt more than one answer."""
    code = columns.code[order[starts]]
    rewards = [values[order] for values in columns.utility.values()]
    least, most = (
        [how.reduceat(x, starts) for x in rewards] for how in (np.fmin, np.fmax)
    )  # fmt: skip
    same = all(bool(((a == b) | np.isnan(a)).all()) for a, b in zip(least, most, strict=True))
    return same and len(np.unique(code)) < len(code)


def _ordered(columns: FlatColumns) -> tuple[Any, Any, Any]:
    """Rows with the segments of an answer together and in order, and where each answer begins.

    Third: rows of a place that a later row has too; they are not among the first.
    """
    size = len(columns.code)
    key = -1 - np.arange(size)
    if columns.identity is not None:
        known = ~np.ma.getmaskarray(columns.identity)
        key[known] = np.asarray(columns.identity)[known]
    known = ~np.ma.getmaskarray(columns.segment)
    key[known] = np.asarray(columns.segment)[known]
    place = np.zeros(size, dtype=np.int64)
    if columns.segment_place is not None:
        place = np.ma.filled(columns.segment_place, 0)
    rows = np.flatnonzero(np.isin(key, key[known]))
    order = rows[np.lexsort((rows, place[rows], key[rows], columns.code[rows]))]
    code, key, place = columns.code[order], key[order], place[order]
    new = (code[1:] != code[:-1]) | (key[1:] != key[:-1])
    again = np.append(~new & (place[1:] == place[:-1]), [False] * min(1, len(order)))
    first = np.concatenate([[True] * min(1, len(order)), new])
    answer = np.cumsum(first)[~again]
    return order[~again], np.flatnonzero(np.diff(answer, prepend=0)), order[again]


def _of_known(columns: FlatColumns, name: str, combine: Any, added: Any) -> None:
    """A column that rows may lack, combined; unknown where one of the segments lacks it."""
    values = getattr(columns, name)
    if values is None:
        return
    filled = np.ma.filled(values, 0)
    combine(filled)
    if isinstance(values, np.ma.MaskedArray):
        lacking = np.ma.getmaskarray(values).astype(np.int64)
        added(lacking)
        filled = np.ma.MaskedArray(filled, mask=lacking > 0)
    setattr(columns, name, filled)
