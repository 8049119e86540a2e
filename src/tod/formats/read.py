"""`tod.read`: the rollouts that any framework left on disk, as candidates."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError, SpecError, Unknown
from tod.base.text import counted
from tod.candidates import Labels
from tod.formats.checks import check_values, drop_duplicates, refuse_if_too_many
from tod.formats.columns import FlatColumns, Rows, arrange, merge_steps
from tod.formats.detect import choose
from tod.formats.files import expand
from tod.formats.format import Format
from tod.formats.gating import Gate
from tod.formats.paths import column_name
from tod.formats.reading import Reading, Source
from tod.formats.roles import spelt
from tod.formats.segments import RULE, join_segments
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
    digest: Callable[[str], int] | None = None,
    unanswered: bool = False,
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
        digest: Code of a text, such as `hash`: codes of all texts are kept where the reader has
            them at hand (24 bytes a candidate), so that findings need no second pass over them.
        unanswered: Whether a candidate without an answer stays, with the code −1, where others have
            one from 0 on; else its row is refused, or the column left out where many lack one.

    Raises:
        SpecError: An unknown format, or steps that are no range.
    """
    if not 0 <= max_rejected <= 1:
        raise SpecError(f"max_rejected = {max_rejected}: a share of rows lies in [0, 1].")
    if group_by not in ("step", "context"):
        raise SpecError(f"group_by = {group_by!r}: groups are told apart by step, or by context.")
    span = parse_steps(steps)
    mapping = spelt(mapping or {})
    found = expand([paths] if isinstance(paths, str | Path) else list(paths))
    chosen = choose(found, format, mapping)
    kind = chosen.format
    rows = Rows(
        steps=span,
        mapping=mapping,
        forbidden=kind.forbidden,
        gate=gate,
        digest=digest,
        unanswered=unanswered,
    )
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


def _reading(known: Format, why: str, rows: Rows, max_rejected: float, group_by: str) -> Reading:
    """The rows that can be used, as candidates."""
    columns = FlatColumns(rows)
    _prefer(columns, rows)
    drawn = None
    if columns.sample is not None:
        columns, drawn = columns.part(~columns.sample), columns.part(columns.sample)
    _select(columns, drawn, known, max_rejected, group_by)
    order, contexts, used, steps = arrange(columns)
    utility = {name: values[order] for name, values in columns.utility.items()}
    log = {name: _at_most_one(values[order]) for name, values in columns.log.items()}
    samples = None
    if drawn is not None:
        samples = samples_of(drawn, used, set(utility), set(log))
        refuse_if_too_many(rows, contexts.total + int(drawn.alive.sum()), max_rejected)
    length, answer, lag = (_pick(x, order) for x in (columns.length, columns.answer, columns.lag))
    texts = known.texts if rows.texts is None else rows.texts or None
    extra = {"length": length, "answer": answer, "lag": lag}
    roles = [f"utility.{name}" for name in utility] + [f"log_{name}" for name in log]
    roles += [name for name, values in extra.items() if values is not None]
    roles += rows.text_roles if texts is not None else ()
    needs = {**known.needs, **rows.needs}
    return Reading(
        contexts=contexts,
        utility=utility,
        log_mu=log.get("mu"),
        log_anchor={name: values for name, values in log.items() if name != "mu"},
        semantics=rows.extras.get("semantics", "sampled"),
        labels=Labels(_named_contexts(rows, used), step=steps, length=length, answer=answer),
        source=_source(known.name, why, rows, contexts.total, roles, steps),
        cannot=_cannot(needs, roles),
        gaps=rows.gaps,
        profiles=rows.profiles,
        lag=lag,
        files=tuple(rows.files),
        file=columns.file[order],
        row=columns.row[order],
        read_texts=texts,
        digest=rows.digest,
        text_codes=_pick(columns.texts, order),
        samples=samples,
        gate=rows.gate,
        taken={name: values[order] for name, values in columns.taken.items()},
        logged={name: values[order] for name, values in columns.logged.items()},
        failed=rows.failed,
        needs=needs,
    )


def _select(
    columns: FlatColumns,
    drawn: FlatColumns | None,
    known: Format,
    max_rejected: float,
    group_by: str,
) -> None:
    """Mark the rows that stay; contexts of all steps as one where that was asked for.

    A DataError says: too many rows are no use.
    """
    rows = columns.rows
    joined = join_segments(columns)
    if joined:
        rows.note(f"{counted(joined, 'answer')} in several segments: one candidate each ({RULE})")
    check_values(columns, known.required or tuple(columns.utility)[:1], max_rejected)
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


def _source(
    name: str, why: str, rows: Rows, total: int, roles: Sequence[str], steps: Any
) -> Source:
    """Where the candidates came from, and what was read of them."""
    recorded = {role[4:] for role in roles if role.startswith("log_")}
    utility = any(role.startswith("utility.") for role in roles)
    return Source(
        format=name,
        files=len(rows.files),
        rows=total,
        rejected=rows.rejected,
        steps=(int(steps.min()), int(steps.max())) if len(steps) else None,
        tier=tier(recorded, utility, stand_in="stand_in" in rows.extras),
        detected=why,
        notes=tuple(rows.notes),
        rejections=tuple(rows.rejections),
        target=rows.extras.get("target"),
        knobs=rows.extras.get("knobs", {}),
        target_source=rows.extras.get("target_source", "declared"),
        recorded=rows.extras.get("recorded", {}),
        operator=rows.extras.get("operator"),
        roles=tuple(roles),
        grouping=rows.grouping,
        text_valued=tuple(dict.fromkeys(rows.text_valued)),
        names=frozenset(rows.names),
    )


def _at_most_one(values: Any) -> Any:
    """Log-probs; those above 0 by rounding count as 0."""
    return np.minimum(values, 0.0) if (values > 0).any() else values


def _prefer(columns: FlatColumns, rows: Rows) -> None:
    """Put the utility that the person named first: it is the one that targets assume."""
    wanted = rows.mapping.get("utility")
    if wanted is None or not columns.utility:
        return
    wanted = column_name(wanted)
    if wanted not in columns.utility:
        known = ", ".join(columns.utility)
        raise DataError(f"no reward {wanted!r} in these files. Known: {known}.")
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


def _cannot(needs: Mapping[str, str], roles: Sequence[str]) -> tuple[Unknown, ...]:
    unknown = []
    if not any(role.startswith("utility.") for role in roles):
        need = needs.get("utility", "a reward per rollout")
        unknown.append(Unknown("target", "the files hold no reward", need))
    for name, (what, title) in _WITHOUT.items():
        if f"log_{name}" not in roles:
            need = needs.get(name, f"a log_{name} column")
            unknown.append(Unknown(what, f"the files hold no {title} log-probs", need))
    if not {"prompt", "completion"} & set(roles):
        unknown.append(Unknown("prompts", "the files hold no text", needs.get("text", "")))
    return tuple(unknown)


def _named_contexts(rows: Rows, used: Any) -> tuple[str, ...]:
    if len(used) == len(rows.labels) and bool((np.diff(used) > 0).all()):
        return tuple(rows.labels)
    return tuple(map(rows.labels.__getitem__, used.tolist()))


def _pick(values: Any, order: Any) -> Any:
    return None if values is None else values[order]
