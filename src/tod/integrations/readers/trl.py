"""TRL GRPO: ``{output_dir}/completions/completions_{step:05d}.parquet`` (``log_completions=True``).

The file holds what TRL's queue held when it logged: the last generation batch. Logging more often
than generating writes the same rows again under a new step; evaluation at the same step overwrites
the file, or leaves some of its rows in the queue. There is no group: runs of ``num_generations``
equal prompts. One column per reward function, NaN where it does not apply; no weighted total.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.integrations.readers._format import Format, Probe, newest_per_step, step_in_name
from tod.integrations.readers._parquet import collect, columns_of, scan, texts
from tod.integrations.readers._rows import Rows
from tod.integrations.readers._sink import runs
from tod.integrations.readers._total import TOTAL, rewards_among, total

_PLAIN = frozenset({"step", "prompt", "completion", "advantage"})


def recognises(probe: Probe) -> str | None:
    """By its columns."""
    if probe.suffix != ".parquet" or not probe.has("step", "prompt", "completion", "advantage"):
        return None
    return "Parquet with step, prompt, completion, advantage and reward columns (TRL GRPO)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files in order of their steps."""
    named = [path for path in files if step_in_name(path) is not None]
    others = [path for path in files if step_in_name(path) is None]
    before: Any = np.zeros(0, dtype=np.uint64)
    sizes: dict[int, list[Path]] = {}
    for path in [*others, *(path for _, path in newest_per_step(named, rows))]:
        before = _read_file(path, rows, before, sizes)
    if len(sizes) > 1:
        common = max(sizes, key=lambda size: len(sizes[size]))
        odd = [path.name for size, paths in sizes.items() if size != common for path in paths]
        rows.note(
            f"{', '.join(odd[:3])}: groups of another size than {common}. TRL writes evaluation "
            "rows into the same files: leave these out with --steps if they are evaluations"
        )


def _read_file(path: Path, rows: Rows, before: Any, sizes: dict[int, list[Path]]) -> Any:
    import polars as pl

    kinds = columns_of(path)
    numeric = [n for n, kind in kinds.items() if n not in _PLAIN and kind.is_float()]
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
    if old:
        rows.note(
            f"{path.name}: {old} of {len(seen)} rows are those of an earlier step, written again "
            "(logging more often than generating): left out"
        )
    if old < len(seen):
        _add(path, rows, table[old:], prompt[old:], numeric, old, sizes)
    return seen


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


def _add(
    path: Path, rows: Rows, table: Any, prompt: Any, numeric: list[str], old: int, sizes: Any
) -> None:
    file = rows.start(path)
    step = table["step"].to_numpy()
    wanted = np.array([rows.wanted(int(s)) for s in step])
    given = int(rows.mapping["group_size"]) if "group_size" in rows.mapping else None
    advantage = table["advantage"].to_numpy()
    keys = list(zip(step.tolist(), prompt.tolist(), strict=True))
    if given is None and len(set(keys)) == 1:
        given = _zero_sums(advantage)
    group = np.array(runs(keys, given))
    counts = np.bincount(group)
    sizes.setdefault(int(np.bincount(counts).argmax()), []).append(path)
    columns = {name: table[name].to_numpy() for name in numeric}
    chosen, confirmed = rewards_among(columns, advantage, group)
    _explain(rows, numeric, chosen, confirmed, columns)
    utility = {name: columns[name][wanted] for name in chosen}
    if len(chosen) > 1 and TOTAL not in chosen:
        utility = {TOTAL: total(np.array(list(utility.values()))), **utility}
    labels = [(int(s), f"{int(s)}/{g}") for s, g in zip(step, group.tolist(), strict=True)]
    code = [rows.context(*label) for label, kept in zip(labels, wanted, strict=True) if kept]
    rows.add(file, code, (np.arange(len(step)) + old + 1)[wanted], utility)


def _zero_sums(advantage: Any) -> int | None:
    """The group size of a file with one prompt only: advantages of a group add up to zero."""
    size = len(advantage)
    known = np.nan_to_num(advantage)
    for n in (n for n in range(2, size) if size % n == 0):
        sums, scale = known.reshape(-1, n).sum(1), np.abs(known).reshape(-1, n).sum(1)
        if scale.any() and bool((np.abs(sums) <= 1e-3 * scale + 1e-6).all()):
            return n
    return None


def _explain(
    rows: Rows, numeric: list[str], chosen: list[str], confirmed: bool, columns: dict[str, Any]
) -> None:
    extras = [name for name in numeric if name not in chosen]
    if extras:
        rows.note(f"{', '.join(extras)}: logged beside the rewards, do not enter the advantages")
    if len(chosen) > 1:
        rows.note(f"`{TOTAL}` is the unweighted sum of {', '.join(chosen)}")
    varies = any(np.nanmax(v) > np.nanmin(v) for v in columns.values() if not np.isnan(v).all())
    if not confirmed and varies:
        rows.note(
            "the logged advantages do not follow the sum of these columns (reward weights, or "
            "normalised one by one?): give the weights with --target, or name one with --map "
            "utility=NAME"
        )


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Prompt and completion."""
    return texts(path, wanted, "prompt", "completion")


FORMAT = Format(
    name="trl",
    title="TRL GRPO completions",
    recognises=recognises,
    read=read,
    texts=read_texts,
    needs={
        "mu": "tod.integrations.trl.instrument(trainer): TRL itself writes no log-probs",
        "old": "tod.integrations.trl.instrument(trainer)",
        "ref": "tod.integrations.trl.instrument(trainer), with a reference model (beta > 0)",
        "policy": "tod.integrations.trl.instrument(trainer)",
    },
)
