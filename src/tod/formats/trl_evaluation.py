"""Which rows of TRL's files are evaluations: TRL logs both into one queue and marks neither.

Two traces are left. Step 0 comes before any training. And an evaluation walks its data set in the
same order every time, so its prompts come again in the same order at the end of several files,
with other answers; training batches are shuffled.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import SpecError
from tod.base.text import counted
from tod.formats.rows import Rows

_SURE = 4
"""Distinct prompts whose order cannot well recur by chance (1 in 4! for one pair of files)."""


@dataclass(frozen=True)
class Trace:
    """The new rows of one file.

    Attributes:
        path: The file.
        step: Step of every row, [N].
        prompt: Digest of every row's prompt, [N].
        row: Digest of every row but its step, [N].
    """

    path: Path
    step: Any
    prompt: Any
    row: Any

    @property
    def order(self) -> list[int]:
        """Prompts in order, neighbours that are equal once."""
        new = np.ones(len(self.prompt), dtype=bool)
        new[1:] = self.prompt[1:] != self.prompt[:-1]
        return self.prompt[new].tolist()  # type: ignore[no-any-return]


def evaluated(files: Sequence[Trace], rows: Rows) -> list[int]:
    """How many rows at the end of every file are evaluations, with a note that says so.

    ``--map evaluation=keep`` says that they are none. There is one evaluation set: where several
    orders come again, or all files are of one, the training set itself may come in a fixed order,
    and nothing is decided.

    Raises:
        SpecError: Anything but ``keep``.
    """
    told = rows.mapping.get("evaluation")
    if told not in (None, "keep"):
        raise SpecError(f"--map evaluation={told}: the one thing to say is evaluation=keep.")
    keep = told == "keep"
    early = [len(f.step) if len(f.step) and not f.step.any() else 0 for f in files]
    again = _recurring(files)
    many = sum(n > 0 for n in again)
    endings = {f.prompt[-1] for f, n in zip(files, again, strict=True) if n}
    if len(endings) > 1 or 0 < many == len(files):
        rows.note(
            f"{many} of {counted(len(files), 'file')} hold prompts of another file in the same "
            "order: evaluations, if eval_steps equals logging_steps, or training without "
            "shuffling. All are read"
        )
        again = [0] * len(files)
    elif not many and not keep:
        _say_untold(files, early, rows)
    found = [max(pair) for pair in zip(early, again, strict=True)]
    _say_found(files, found, keep, rows)
    return [0] * len(files) if keep else found


def _say_found(files: Sequence[Trace], found: Sequence[int], keep: bool, rows: Rows) -> None:
    """Evaluations at the steps asked for."""
    mine = [
        (f.path.name, sum(map(rows.wanted, f.step[len(f.step) - n :].tolist())))
        for f, n in zip(files, found, strict=True)
        if n
    ]
    mine = [(name, n) for name, n in mine if n]
    if not mine:
        return
    names = ", ".join(name for name, _ in mine)
    shown = names if len(names) <= 120 else f"{names[:120]}..."
    done = "kept, as told" if keep else "left out; --map evaluation=keep reads them"
    rows.note(
        f"{counted(sum(n for _, n in mine), 'row')} of {counted(len(mine), 'file')} ({shown}) are "
        "evaluations by their traces (step 0, or prompts that come again in the same order): "
        f"{done}"
    )


def _say_untold(files: Sequence[Trace], early: Sequence[int], rows: Rows) -> None:
    """Files whose prompts come in no other file: an evaluation that came once would be such.

    Where training goes through its prompts more than once and an evaluation has prompts of its
    own, its file is the odd one out; where no prompt comes twice, nothing tells them apart.
    """
    train = [file for file, n in zip(files, early, strict=True) if not n]
    homes = Counter(prompt for file in train for prompt in set(file.order))
    alone = [file for file in train if all(homes[prompt] == 1 for prompt in file.order)]
    mine = [file for file in alone if any(map(rows.wanted, file.step.tolist()))]
    if not mine:
        return
    named = ", ".join(file.path.name for file in mine[:3])
    which = f"{counted(len(mine), 'file')} of {len(train)}" if len(mine) > 3 else named
    rows.note(
        f"{which}: no prompt comes in another file, so an evaluation cannot be excluded (TRL logs "
        "both, unmarked): leave its steps out with --steps, or say --map evaluation=keep"
    )


def _recurring(files: Sequence[Trace]) -> list[int]:
    """Rows at the end of every file whose prompts end another file in the same order."""
    orders = [f.order for f in files]
    ends: dict[int, list[int]] = {}
    for at, order in enumerate(orders):
        if order:
            ends.setdefault(order[-1], []).append(at)
    home: dict[int, set[int]] = {}
    for at, order in enumerate(orders):
        for prompt in order:
            home.setdefault(prompt, set()).add(at)
    found = [0] * len(files)
    for group in ends.values():
        for at, other in pairwise(group):
            shared = _suffix(orders[at], orders[other])
            prompts = set(orders[at][len(orders[at]) - shared :])
            alone = all(home[prompt] <= set(group) for prompt in prompts)
            if len(prompts) < 2 or not (len(prompts) >= _SURE or alone):
                continue
            tails = [_rows_of(files[i], shared) for i in (at, other)]
            ends_of = [files[i].row[-n:] for i, n in zip((at, other), tails, strict=True)]
            if np.array_equal(*ends_of):
                continue
            for i, n in zip((at, other), tails, strict=True):
                found[i] = max(found[i], n)
    return found


def _suffix(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common ending."""
    shared = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _rows_of(file: Trace, runs: int) -> int:
    """Rows in the last ``runs`` runs of equal prompts."""
    changes = np.flatnonzero(file.prompt[1:] != file.prompt[:-1]) + 1
    starts = np.concatenate([[0], changes])
    return len(file.prompt) - int(starts[len(starts) - runs])
