"""`tod.read`: the rollouts that any framework left on disk, as candidates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError, SpecError, Unknown
from tod.base.text import counted
from tod.candidates import Labels
from tod.formats import Format
from tod.formats.detect import choose
from tod.formats.files import expand
from tod.formats.gather import (
    Columns,
    arrange,
    check_values,
    drop_duplicates,
    merge_steps,
    refuse_if_too_many,
)
from tod.formats.gating import Gate
from tod.formats.reading import Reading, Source
from tod.formats.rows import Rows
from tod.formats.several_runs import settle
from tod.formats.target_samples import samples_of

Steps = str | tuple[int | None, int | None] | None


def read(
    paths: str | Path | Sequence[str | Path],
    format: str = "auto",  # noqa: A002 - the word on the command line
    *,
    steps: Steps = None,
    mapping: Mapping[str, str] | None = None,
    max_rejected: float = 0.01,
    group_by: str = "step",
    gate: Gate | None = None,
) -> Reading:
    """Candidates of dumps, of run directories, or of anything whose columns a mapping names.

    Only scalars are held (under 100 bytes a candidate); text is read again when asked for. A
    DataError says what cannot be read, or that too much of it cannot be used.

    Args:
        paths: Files, globs or directories; ``.gz`` and ``.zst`` are unpacked on the way.
        format: A name of ``FORMATS``, or ``auto``.
        steps: Training steps wanted, ``"a:b"`` with both ends included and either left out.
        mapping: Columns by role (``utility``, ``context``, ``step``, ``log_mu``, …) for files of
            no known format, or settings of a known one (``group_size``).
        max_rejected: Share of rows that may be unusable before reading fails.
        group_by: ``step``: a prompt that comes again at another step is another context.
            ``context``: equal keys are one context over all steps, at the first of them; only for
            a policy that did not move.
        gate: Trust region of an operator: what it takes of the recorded tokens is kept.

    Raises:
        SpecError: An unknown format, or steps that are no range.
    """
    if not 0 <= max_rejected <= 1:
        raise SpecError(f"max_rejected = {max_rejected}: a share of rows lies in [0, 1].")
    if group_by not in ("step", "context"):
        raise SpecError(f"group_by = {group_by!r}: contexts are told apart by step, or by context.")
    span = parse_steps(steps)
    found = expand([paths] if isinstance(paths, str | Path) else list(paths))
    chosen = choose(found, format, mapping or {})
    kind = chosen.format
    rows = Rows(steps=span, mapping=mapping or {}, forbidden=kind.forbidden, gate=gate)
    rows.fields |= kind.fields
    for line in (*found.skipped[:10], *chosen.notes):
        rows.note(line)
    kind.read(chosen.files, rows)
    if kind.home is not None:
        settle(rows, kind.home)
    return _reading(kind, chosen.why, rows, max_rejected, group_by)


def parse_steps(steps: Steps) -> tuple[int | None, int | None]:
    """First and last step of ``"a:b"``, ``":b"``, ``"a:"`` or ``"a"``.

    Raises:
        SpecError: It is no such range.
    """
    if steps is None or isinstance(steps, tuple):
        first, last = steps or (None, None)
    else:
        parts = steps.split(":")
        try:
            first, last = (int(part) if part.strip() else None for part in (parts[0], parts[-1]))
        except ValueError:
            parts = []
        if len(parts) not in (1, 2):
            raise SpecError(f"steps {steps!r}: write a:b, with both ends included, or one step.")
    if first is not None and last is not None and first > last:
        raise SpecError(f"steps {first}:{last} is empty: the first comes after the last.")
    return first, last


def _reading(chosen: Format, why: str, rows: Rows, max_rejected: float, group_by: str) -> Reading:
    columns = Columns(rows)
    _prefer(columns, rows)
    drawn = None
    if columns.sample is not None:
        columns, drawn = columns.part(~columns.sample), columns.part(columns.sample)
    required = chosen.required or tuple(columns.utility)[:1]
    check_values(columns, required, max_rejected)
    dropped = drop_duplicates(columns)
    if dropped:
        again = "written again later (resumed steps)" if len(rows.files) > 1 else "written twice"
        said = f"{counted(dropped, 'row')} {'was' if dropped == 1 else 'were'}"
        rows.note(f"{said} {again}: the last one counts")
    if group_by == "context":
        merge_steps(columns)
        if drawn is not None:
            merge_steps(drawn)
    refuse_if_too_many(rows, int(columns.alive.sum()), max_rejected)
    order, contexts, used, steps = arrange(columns)
    labels = Labels(
        context=_named_contexts(rows, used),
        step=steps,
        length=_pick(columns.length, order),
        answer=_pick(columns.answer, order),
    )
    log = {name: values[order] for name, values in columns.log.items()}
    log = {
        name: np.minimum(values, 0.0) if (values > 0).any() else values
        for name, values in log.items()
    }
    utility = {name: values[order] for name, values in columns.utility.items()}
    samples = None
    if drawn is not None:
        samples = samples_of(drawn, used, set(utility), set(log))
        refuse_if_too_many(rows, contexts.total + int(drawn.alive.sum()), max_rejected)
    recorded = set(log)
    return Reading(
        contexts=contexts,
        utility=utility,
        log_mu=log.pop("mu", None),
        log_anchor=log,
        semantics=rows.extras.get("semantics", "sampled"),
        labels=labels,
        source=Source(
            format=chosen.name,
            files=len(rows.files),
            rows=contexts.total,
            rejected=rows.rejected,
            steps=(int(steps.min()), int(steps.max())) if len(steps) else None,
            tier=tier(recorded, bool(utility), stand_in="stand_in" in rows.extras),
            detected=why,
            notes=tuple(rows.notes),
            rejections=tuple(rows.rejections),
            target=rows.extras.get("target"),
            knobs=rows.extras.get("knobs", {}),
            target_source=rows.extras.get("target_source", "declared"),
            recorded=rows.extras.get("recorded", {}),
            operator=rows.extras.get("operator"),
            grouped=rows.extras.get("grouped", True),
        ),
        cannot=_cannot(chosen, recorded, bool(utility)),
        gaps=rows.gaps,
        lag=_pick(columns.lag, order),
        files=tuple(rows.files),
        file=columns.file[order],
        row=columns.row[order],
        read_texts=chosen.texts,
        samples=samples,
        gate=rows.gate,
        taken={name: values[order] for name, values in columns.taken.items()},
    )


def _prefer(columns: Columns, rows: Rows) -> None:
    """Put the utility that the person named first: it is the one that targets assume."""
    wanted = rows.mapping.get("utility")
    if wanted is None or not columns.utility:
        return
    if wanted not in columns.utility:
        known = ", ".join(columns.utility)
        raise DataError(f"no utility {wanted!r} in these files. Known: {known}.")
    columns.utility = {wanted: columns.utility[wanted], **columns.utility}


def tier(recorded: set[str], utility: bool, *, stand_in: bool = False) -> str:
    """What may be computed from columns like these, ``A`` to ``E``.

    ``stand_in``: the utility is a shifted and scaled reward, so no target in the reward's own
    units can be weighed, whatever policies are recorded: at most ``B``.
    """
    if not utility:
        return "E"
    if "mu" not in recorded:
        return "D"
    if "ref" in recorded and recorded & {"old", "policy"}:
        return "B" if stand_in else "A"
    return "B" if len(recorded) > 1 else "C"


_WITHOUT = {
    "mu": ("log q*/mu with an anchor other than mu; the policy's legs", "sampler"),
    "old": ("mismatch and staleness apart", "old-policy"),
    "ref": ("targets anchored at the reference; drift.ref", "reference"),
}


def _cannot(chosen: Format, recorded: set[str], utility: bool) -> tuple[Unknown, ...]:
    found = []
    if not utility:
        need = chosen.needs.get("utility", "a utility per candidate")
        found.append(Unknown("target", "the files hold no utility", need))
    for name, (what, title) in _WITHOUT.items():
        if name not in recorded:
            need = chosen.needs.get(name, f"a log_{name} column")
            found.append(Unknown(what, f"the files hold no {title} log-probs", need))
    if chosen.texts is None:
        found.append(Unknown("prompts", "the files hold no text", chosen.needs.get("text", "")))
    return tuple(found)


def _named_contexts(rows: Rows, used: Any) -> tuple[str, ...]:
    if len(used) == len(rows.labels) and bool((np.diff(used) > 0).all()):
        return tuple(rows.labels)
    return tuple(map(rows.labels.__getitem__, used.tolist()))


def _pick(values: Any, order: Any) -> Any:
    return None if values is None else values[order]
