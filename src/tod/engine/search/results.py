"""``search.json``: what the rule gained and how it grows with K, from the run's own tables.

It is a function of what is on disk, so a resumed search ends with the same summary.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups, RunError
from tod.candidates import Candidates
from tod.diagnostics.coverage import pass_at_k
from tod.engine.search.answers import answer_codes
from tod.engine.search.curve import Table, outcomes, sizes
from tod.engine.settings import RunSettings
from tod.operators import MinimumBayesRisk, RejectionSampling, SelectionRule
from tod.procedure import utility_value
from tod.runs import RunDirectory

SCHEMA = "tod.search/1"
_NORMAL_95 = 1.959963984540054


def mean_over_contexts(
    total: Float[np.ndarray, " C"], weight: Float[np.ndarray, " C"] | None = None
) -> dict[str, Any]:
    """Σ total/Σ weight with its standard error, contexts being the clusters.

    se² = C/(C−1)·Σ_c (total_c − mean·weight_c)² / (Σ weight)². Without weights the ordinary mean.
    None where nothing was weighed; the error is None below two contexts.
    """
    weight = np.ones(len(total)) if weight is None else weight
    mass, n = float(weight.sum()), len(total)
    if mass == 0:
        return {"value": None, "se": None, "ci95": None}
    mean = float(total.sum()) / mass
    if n < 2:
        return {"value": mean, "se": None, "ci95": None}
    off = total - mean * weight
    error = float(np.sqrt(n / (n - 1) * np.sum(off * off))) / mass
    return {
        "value": mean,
        "se": error,
        "ci95": [mean - _NORMAL_95 * error, mean + _NORMAL_95 * error],
    }


def summarise(settings: RunSettings, directory: RunDirectory) -> dict[str, Any]:
    """The summary of a finished search.

    Raises:
        RunError: The directory holds no candidates.
    """
    search, rule = settings.searching, settings.operator.action
    assert isinstance(rule, SelectionRule)  # noqa: S101 - checked at the start
    name, table, selected = read(settings, directory)
    k = table.value.shape[1]
    curve = []
    for size in sizes(k):
        found = outcomes(rule, table, size, count=search.subsets, seed=search.seed)
        point = {
            "k": size,
            **_named("utility", found.utility, found.accepted),
            **_named("pass_rate", found.passed),
            "accepted": float(found.accepted.mean()),
            **_named("coverage", _coverage(table, size)),
            "method": "exact" if found.exact else "subsampling",
        }
        curve.append(point)
    return {
        "schema": SCHEMA,
        "name": settings.name,
        "rule": rule.kind,
        "k": k,
        "contexts": len(table.value),
        "split": search.split,
        "utility": name,
        **_ends(table, selected),
        **_bound(rule, table),
        "curve": curve,
    }


def bound_note(found: dict[str, Any]) -> str | None:
    """What to say of rejection's bound: that draws are not of q*, or that nothing is accepted."""
    bound = found.get("bound")
    if bound is None:
        return None
    log_bound, top = bound["log_bound"], bound["largest_log_w"]
    said = f"rejection: log_bound = {log_bound:g}"
    if bound["beyond"]:
        return (
            f"{said} is exceeded by {bound['beyond']:.1%} of the rollouts (log w up to {top:.3g})"
            f": what is put out follows mu*min(w, M) and not q*. Use at least {top:.3g}."
        )
    if found["selected"]["accepted"] == 0 and top is not None:
        return (
            f"{said} accepted nothing: log w reaches {top:.3g}, so that no rollout passes with "
            f"more than probability {math.exp(top - log_bound):.1e}. Lower it towards the largest "
            "log w there can be, eta*U_max when b = mu."
        )
    return None


def _bound(rule: SelectionRule, table: Table) -> dict[str, Any]:
    """Rejection's declared bound, the share of candidates beyond it, and the largest log w."""
    if not isinstance(rule, RejectionSampling) or rule.log_bound is None:
        return {}
    top = float(table.log_w.max())
    return {
        "bound": {
            "log_bound": rule.log_bound,
            "beyond": rule.beyond(table.log_w.ravel()),
            "largest_log_w": top if math.isfinite(top) else None,
        }
    }


def read(
    settings: RunSettings, directory: RunDirectory
) -> tuple[str, Table, Float[np.ndarray, "C K"]]:
    """Name of the reported utility, all candidates, and 1 where a candidate was selected.

    Raises:
        RunError: The directory holds no candidates.
    """
    frame = directory.rollouts.scan()
    if frame is None:
        raise RunError(f"{directory.path} holds no rollouts. Run the search first.")
    risk = isinstance(settings.operator.action, MinimumBayesRisk)
    wanted = ["candidate", "log_w", "answer", "selected", *(["completion"] if risk else [])]
    wanted += [f"utility.{spec.name}" for spec in settings.utilities]
    rows = frame.select(wanted).collect()
    k = int(rows["candidate"].max()) + 1  # type: ignore[arg-type]
    shape = (len(rows) // k, k)
    utility = {spec.name: rows[f"utility.{spec.name}"].to_numpy() for spec in settings.utilities}
    target = settings.target.target
    value = utility_value(target, Candidates(Groups.equal(*shape), utility))
    single = len(target.tilts) <= 1
    name = (target.utilities or (settings.utilities[0].name,))[0] if single else "value"
    table = Table(
        value=np.asarray(value).reshape(shape),
        utility=(utility[name] if single else np.asarray(value)).reshape(shape),
        log_w=rows["log_w"].to_numpy().reshape(shape),
        answers=answer_codes(rows["answer"].to_list()).reshape(shape),
        texts=tuple(map(tuple, np.array(rows["completion"].to_list(), object).reshape(shape)))
        if risk
        else (),
        alike=settings.searching.similarity,
    )
    return name, table, rows["selected"].to_numpy().astype(np.float64).reshape(shape)


def _ends(table: Table, selected: Float[np.ndarray, "C K"]) -> dict[str, Any]:
    """Mean of the candidates (pass@1), what was selected, and the paired difference.

    Utility is over the prompts for which anything was selected, its gain over the same ones; in
    the pass rate every prompt counts, and one without a selection is a miss.
    """
    accepted, put_out = selected.sum(axis=1), (selected * table.utility).sum(axis=1)
    plain, passed = table.utility.mean(axis=1), table.passed
    passing = None if passed is None else passed.mean(axis=1)
    picked = None if passed is None else (selected * passed).sum(axis=1)
    gained = None if passing is None or picked is None else picked - passing
    return {
        "candidates": {**_named("utility", plain), **_named("pass_rate", passing)},
        "selected": {
            **_named("utility", put_out, accepted),
            **_named("pass_rate", picked),
            "accepted": float(accepted.mean()),
        },
        "gain": {
            **_named("utility", put_out - accepted * plain, accepted),
            **_named("pass_rate", gained),
        },
    }


def _coverage(table: Table, k: int) -> Float[np.ndarray, " C"] | None:
    """pass@k of every context: that any of k candidates passes, which no selection exceeds."""
    passed = table.passed
    if passed is None:
        return None
    return pass_at_k(np.full(len(passed), passed.shape[1]), passed.sum(axis=1), k)


def _named(
    name: str, total: Float[np.ndarray, " C"] | None, weight: Float[np.ndarray, " C"] | None = None
) -> dict[str, Any]:
    """The keys of a mean over contexts under a name; all None where it is not known."""
    mean = {} if total is None else mean_over_contexts(total, weight)
    keys = {name: "value", f"{name}_se": "se", f"{name}_ci95": "ci95"}
    return {key: mean.get(part) for key, part in keys.items()}
