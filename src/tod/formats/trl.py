"""TRL GRPO: ``{output_dir}/completions/completions_{step:05d}.parquet`` (``log_completions=True``).

The file holds what TRL's queue held when it logged: the last generation batch. Logging more often
than generating writes the same rows again under a new step; evaluation at the same step overwrites
the file, or leaves some of its rows in the queue. There is no group: runs of ``num_generations``
equal prompts. One column per reward function, NaN where it does not apply; no weighted total.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.base.text import counted
from tod.formats.format import Format, Probe, group_size, step_in_name
from tod.formats.parquet import collect, columns_of, scan, texts
from tod.formats.reward_columns import Logged, rewards_among, utilities
from tod.formats.rows import Rows
from tod.formats.several_runs import newest_of_all, refuse_mixed, run_of
from tod.formats.token_rows import runs
from tod.formats.trl_evaluation import Trace, evaluated

_PLAIN = frozenset({"step", "prompt", "completion", "advantage"})


def recognises(probe: Probe) -> str | None:
    """By its columns."""
    if probe.suffix != ".parquet" or not probe.has("step", "prompt", "completion", "advantage"):
        return None
    return "Parquet with step, prompt, completion, advantage and reward columns (TRL GRPO)"


@dataclass(frozen=True)
class _File:
    """The rows of a file that are not those of an earlier one."""

    path: Path
    table: Any
    numeric: list[str]
    old: int
    trace: Trace

    def head(self, size: int, common: int | None, given: int | None) -> "_Part":
        """Its first ``size`` rows, in groups."""
        table, prompt = self.table[:size], self.trace.prompt[:size]
        step = table["step"].to_numpy()
        advantage = table["advantage"].to_numpy()
        keys = list(zip(step.tolist(), prompt.tolist(), strict=True))
        if given is None and len(set(keys)) == 1:
            given = common if common and size % common == 0 else _zero_sums(advantage)
        columns = {name: table[name].to_numpy() for name in self.numeric}
        return _Part(self, step, Logged(columns, advantage, np.array(runs(keys, given))))


@dataclass(frozen=True)
class _Part:
    """Training rows of a file: steps, groups, and what was logged."""

    file: _File
    step: Any
    logged: Logged

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
    chosen = rewards_among(Logged.of([part.logged for part in parts]), rows)
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


def _say_odd_sizes(parts: Sequence[_Part], rows: Rows) -> None:
    """Files whose groups are of another size than in most."""
    sizes: dict[int, list[_Part]] = {}
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
    trace = Trace(path, table["step"].to_numpy()[old:], prompt[old:], seen[old:])
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


def _add(part: _Part, chosen: Sequence[str], rows: Rows) -> None:
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
