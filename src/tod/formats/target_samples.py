"""Draws from the target among the rows: checked by their own rules, and put beside the contexts."""

from typing import Any

import numpy as np

from tod.base import Groups
from tod.candidates import Candidates
from tod.formats.checks import TOLERANCE, drop_duplicates, whole
from tod.formats.columns import FlatColumns
from tod.formats.reading import TargetSamples


def samples_of(
    columns: FlatColumns, used: Any, utilities: set[str], logs: set[str]
) -> TargetSamples | None:
    """Usable draws in contexts that have candidates; None if there are none.

    A column that no draw has is left out; a row that lacks one which others have is rejected.
    Unlike a candidate a draw may have log μ = −∞: that μ never proposes it is what it can show.

    Args:
        columns: Rows that were drawn from the target.
        used: Codes of the reading's contexts, in its order.
        utilities: Names that the candidates kept.
        logs: Policies whose log-probs they kept.
    """
    columns.utility = _known(columns.utility, utilities)
    columns.log = _known(columns.log, logs)
    for name, values in columns.utility.items():
        columns.drop(
            np.isnan(values) | (values == np.inf), f"utility.{name}", values, "not a finite number"
        )
    for name, values in columns.log.items():
        wrong = np.isnan(values) | (values > TOLERANCE)
        columns.drop(wrong, f"log_{name}", values, "not a log-prob of a sample of the target")
    columns.identity = whole(columns, "identity", 0)
    drop_duplicates(columns)
    place = np.full(int(max(used.max(initial=-1), columns.code.max(initial=-1))) + 1, -1)
    place[used] = np.arange(len(used))
    context = place[columns.code]
    lone = int((columns.alive & (context < 0)).sum())
    kept = np.flatnonzero(columns.alive & (context >= 0))
    order = kept[np.argsort(context[kept], kind="stable")]
    at, sizes = np.unique(context[order], return_counts=True)
    columns.rows.note(
        f"{len(order)} rows are samples of the target, in {len(at)} groups: they count as no "
        "rollouts of mu, and give the reverse ESS"
        + (f"; {lone} more are in groups without rollouts of mu" if lone else "")
    )
    if not len(order):
        return None
    log = {name: np.minimum(values[order], 0.0) for name, values in columns.log.items()}
    candidates = Candidates(
        contexts=Groups(sizes),
        utility={name: values[order] for name, values in columns.utility.items()},
        log_mu=log.pop("mu", None),
        log_anchor=log,
    )
    return TargetSamples(at, candidates)


def _known(columns: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {n: x for n, x in columns.items() if n in names and not np.isnan(x).all()}
