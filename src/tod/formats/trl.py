"""TRL GRPO: ``{output_dir}/completions/completions_{step:05d}.parquet`` (``log_completions=True``).

The file holds what TRL's queue held when it logged: the last generation batch. Logging more often
than generating writes the same rows again under a new step; evaluation at the same step overwrites
the file, or leaves some of its rows in the queue. There is no group: runs of ``num_generations``
equal prompts. One column per reward function, NaN where it does not apply; no weighted total.

Training and evaluation go into one queue and nothing marks either. Two traces are left. Step 0
comes before any training. And an evaluation walks its data set in the same order every time, so its
prompts come again in the same order at the end of several files, with other answers; training
batches are shuffled.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError, SpecError
from tod.base.text import counted
from tod.formats.columns import Rows
from tod.formats.format import FileProbe, Format, group_size, step_in_name
from tod.formats.parquet import collect, columns_of, scan, texts
from tod.formats.rewards import LoggedColumns, rewards_among, utilities
from tod.formats.row_by_row import runs
from tod.formats.several_runs import newest_of_all, refuse_mixed, run_of

_PLAIN = frozenset({"step", "prompt", "completion", "advantage"})


def recognises(probe: FileProbe) -> str | None:
    """By its columns."""
    if probe.suffix != ".parquet" or not probe.has("step", "prompt", "completion", "advantage"):
        return None
    return "Parquet with step, prompt, completion, advantage and reward columns (TRL GRPO)"


_SURE = 4
"""Distinct prompts whose order cannot well recur by chance (1 in 4! for one pair of files)."""


@dataclass(frozen=True)
class NewRows:
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


def evaluated(files: Sequence[NewRows], rows: Rows) -> list[int]:
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


def _say_found(files: Sequence[NewRows], found: Sequence[int], keep: bool, rows: Rows) -> None:
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


def _say_untold(files: Sequence[NewRows], early: Sequence[int], rows: Rows) -> None:
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


def _recurring(files: Sequence[NewRows]) -> list[int]:
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


def _rows_of(file: NewRows, runs: int) -> int:
    """Rows in the last ``runs`` runs of equal prompts."""
    changes = np.flatnonzero(file.prompt[1:] != file.prompt[:-1]) + 1
    starts = np.concatenate([[0], changes])
    return len(file.prompt) - int(starts[len(starts) - runs])


@dataclass(frozen=True)
class _File:
    """The rows of a file that are not those of an earlier one."""

    path: Path
    table: Any
    numeric: list[str]
    old: int
    trace: NewRows

    def head(self, size: int, common: int | None, given: int | None) -> "_TrainingFiles":
        """Its first ``size`` rows, in groups."""
        table, prompt = self.table[:size], self.trace.prompt[:size]
        step = table["step"].to_numpy()
        advantage = table["advantage"].to_numpy()
        keys = list(zip(step.tolist(), prompt.tolist(), strict=True))
        if given is None and len(set(keys)) == 1:
            given = common if common and size % common == 0 else _zero_sums(advantage)
        columns = {name: table[name].to_numpy() for name in self.numeric}
        return _TrainingFiles(
            self, step, LoggedColumns(columns, advantage, np.array(runs(keys, given)))
        )


@dataclass(frozen=True)
class _TrainingFiles:
    """Training rows of a file: steps, groups, and what was logged."""

    file: _File
    step: Any
    logged: LoggedColumns

    @property
    def common(self) -> int:
        """The size of most of its groups."""
        return int(np.bincount(np.bincount(self.logged.group)).argmax())


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files in order of their steps; evaluations are left out where they left a trace.

    What is an evaluation, a repetition or a reward does not depend on the steps asked for, so files
    of other steps are looked at, too.
    """
    rows.grouping = "runs"
    kept = _new_rows(files, rows)
    _say_shared_steps(kept, rows)
    tails = evaluated([file.trace for file in kept], rows)
    trained = [(f, len(f.trace.row) - tail) for f, tail in zip(kept, tails, strict=True)]
    common = _common_size([file.trace.prompt[:size] for file, size in trained])
    parts = [file.head(size, common, group_size(rows)) for file, size in trained if size]
    chosen = rewards_among(LoggedColumns.of([part.logged for part in parts]), rows)
    for part in parts:
        _add(part, chosen, rows)
    _say_odd_sizes([part for part in parts if any(map(rows.wanted, part.step.tolist()))], rows)


def _new_rows(files: Sequence[Path], rows: Rows) -> list[_File]:
    """What every file holds that no earlier one does."""
    steps = [(step_in_name(path), path) for path in files]
    named = [(step, path) for step, path in steps if step is not None]
    others = [path for step, path in steps if step is None]
    before: Any = np.zeros(0, dtype=np.uint64)
    kept: list[_File] = []
    again: list[tuple[Path, int]] = []
    for path in [*others, *(path for _, path in newest_of_all(named, rows))]:
        step = step_in_name(path)
        try:
            file, before, old = _open(path, before, rows)
        except DataError as error:
            if step is None or rows.wanted(step):
                raise
            rows.note(f"{error} Its step was not asked for")
            continue
        kept += [file] if file is not None else []
        again += [(path, old)] if old and (step is None or rows.wanted(step)) else []
    if again:
        rows.note(
            f"{counted(sum(n for _, n in again), 'row')} of {counted(len(again), 'file')} "
            f"({_shown(path for path, _ in again)}) are those of an earlier step, written again "
            "(logging more often than generating): left out"
        )
    return kept


def _shown(paths: Iterable[Path]) -> str:
    """The first names of several files."""
    names = [path.name for path in paths]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _say_odd_sizes(parts: Sequence[_TrainingFiles], rows: Rows) -> None:
    """Files whose groups are of another size than in most."""
    sizes: dict[int, list[_TrainingFiles]] = {}
    for part in parts:
        sizes.setdefault(part.common, []).append(part)
    if len(sizes) < 2:
        return
    common = max(sizes, key=lambda size: len(sizes[size]))
    odd = [part for size, found in sizes.items() if size != common for part in found]
    count = counted(sum(len(part.step) for part in odd), "row")
    rows.note(
        f"{_shown(part.file.path for part in odd)}: {count} "
        f"in groups of another size than {common}. TRL writes evaluation rows into the same files: "
        "leave these out with --steps if they are evaluations"
    )


def _say_shared_steps(files: Sequence[_File], rows: Rows) -> None:
    """A step that several files claim, or a file that holds another step than its name says.

    A DataError says: several runs claim it.
    """
    first: dict[int, Path] = {}
    runs: dict[Path, dict[int, Path]] = {}
    for file in files:
        steps = np.unique(file.trace.step).tolist()
        runs.setdefault(run_of(file.path), {}).update(dict.fromkeys(steps, file.path))
        said = step_in_name(file.path)
        if said is not None and steps != [said]:
            shown = ", ".join(map(str, steps[:4]))
            rows.note(f"{file.path.name}: its rows are of step {shown}; the column counts")
        for step in steps:
            other = first.setdefault(step, file.path)
            if other != file.path:
                rows.note(f"step {step} is in {other.name} and in {file.path.name}: both are read")
    refuse_mixed(runs, rows)


def _open(path: Path, before: Any, rows: Rows) -> tuple[_File | None, Any, int]:
    """The new rows of a file, if any, the digests of all its rows, and how many are not new."""
    import polars as pl

    kinds = columns_of(path)
    numeric = [n for n, kind in kinds.items() if n not in _PLAIN and kind.is_float()]
    rows.text_valued += [n for n, kind in kinds.items() if n not in _PLAIN and kind == pl.String]
    table = collect(
        path,
        scan(path).select(
            pl.col("step").cast(pl.Int64, strict=False).fill_null(-1),
            pl.col("prompt").hash().alias("__prompt"),
            pl.struct(pl.exclude("step", "^__index_level_.*$")).hash().alias("__row"),
            *(pl.col(name).cast(pl.Float64) for name in [*numeric, "advantage"]),
        ),
    )
    prompt, seen = table["__prompt"].to_numpy(), table["__row"].to_numpy()
    old = repeated(before, seen, prompt)
    if old >= len(seen):
        return None, seen, old
    trace = NewRows(path, table["step"].to_numpy()[old:], prompt[old:], seen[old:])
    return _File(path, table[old:], numeric, old, trace), seen, old


def repeated(before: Any, now: Any, prompt: Any) -> int:
    """How many leading rows of ``now`` are the last rows of ``before``: what a queue keeps.

    Only whole runs of equal prompts count, so that one equal answer by chance is no repetition.
    """
    for start in range(len(before)) if len(now) else ():
        size = len(before) - start
        if size > len(now) or before[start] != now[0]:
            continue
        ends_run = size == len(now) or prompt[size] != prompt[size - 1]
        if size > 1 and ends_run and np.array_equal(before[start:], now[:size]):
            return size
    return 0


def _common_size(prompts: Sequence[Any]) -> int | None:
    """The group size of most files with several prompts; None without any."""
    found = Counter(
        int(np.bincount(np.bincount(runs(prompt.tolist()))).argmax())
        for prompt in prompts
        if len(prompt) and (prompt != prompt[0]).any()
    )
    return found.most_common(1)[0][0] if found else None


def _add(part: _TrainingFiles, chosen: Sequence[str], rows: Rows) -> None:
    """The rows of the steps asked for."""
    place = rows.start(part.file.path)
    steps, groups = part.step.tolist(), part.logged.group.tolist()
    wanted = np.array([rows.wanted(step) for step in steps])
    columns = {name: values[wanted] for name, values in part.logged.columns.items()}
    labels = [(s, f"{s}/{g}") for s, g in zip(steps, groups, strict=True)]
    code = [rows.context(*label) for label, kept in zip(labels, wanted, strict=True) if kept]
    number = np.arange(len(steps)) + part.file.old + 1
    if code:
        rows.add(place, code, number[wanted], utilities(chosen, columns, rows))


def _zero_sums(advantage: Any) -> int | None:
    """The group size of a file with one prompt only: advantages of a group add up to zero."""
    size = len(advantage)
    known = np.nan_to_num(advantage)
    for n in (n for n in range(2, size) if size % n == 0):
        sums, scale = known.reshape(-1, n).sum(1), np.abs(known).reshape(-1, n).sum(1)
        if scale.any() and bool((np.abs(sums) <= 1e-3 * scale + 1e-6).all()):
            return n
    return None


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Prompt and completion."""
    return texts(path, wanted, "prompt", "completion")


FORMAT = Format(
    name="trl",
    title="TRL GRPO completions",
    recognises=recognises,
    read=read,
    texts=read_texts,
    settings=("group_size", "evaluation"),
    needs={
        "mu": "tod.live.trl.instrument(trainer): TRL itself writes no log-probs",
        "old": "tod.live.trl.instrument(trainer)",
        "ref": "tod.live.trl.instrument(trainer), with a reference model (beta > 0)",
        "policy": "tod.live.trl.instrument(trainer)",
    },
)
