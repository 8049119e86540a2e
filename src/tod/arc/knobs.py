"""The knobs as values: sharpness, and the reference's share of the anchors.

Knobs are plain dictionaries, ``{"eta"}``, ``{"tau", "beta"}`` or all three. Sharpness is eta
where there is one, else 1/(tau+beta). Two anchors: `tod.regimes.scale_anchors` keeps τ:β, hence
the geometric anchor b_{τ,β}; `tod.regimes.weigh_reference` keeps τ+β.
"""

from math import exp, isclose

from tod.regimes import scale_anchors, weigh_reference

Values = dict[str, float]


def sharpness(knobs: Values) -> float:
    """Eta, or 1/(tau+beta)."""
    return knobs["eta"] if "eta" in knobs else 1.0 / (knobs["tau"] + knobs["beta"])


def with_sharpness(knobs: Values, value: float) -> Values:
    """The same anchor at another sharpness; τ:β unchanged."""
    if "eta" in knobs:
        return {**knobs, "eta": value}
    tau, beta = scale_anchors(knobs["tau"], knobs["beta"], 1.0 / value)
    return {**knobs, "tau": tau, "beta": beta}


def reference_share(knobs: Values) -> float | None:
    """β/(τ+β), in [0, 1]; None without anchors."""
    if "beta" not in knobs:
        return None
    return knobs["beta"] / (knobs["tau"] + knobs["beta"])


def heavier_reference(knobs: Values, log_factor: float) -> Values:
    """β times exp(log_factor), at most all of τ+β, at the same sharpness."""
    tau, beta = weigh_reference(knobs["tau"], knobs["beta"], exp(log_factor))
    return {**knobs, "tau": tau, "beta": beta}


def toward_share(knobs: Values, goal: Values, log_limit: float) -> Values:
    """β one bounded step back to the goal's share, at the same sharpness; exact on arrival."""
    share, wanted = reference_share(knobs), reference_share(goal)
    if share is None or wanted is None or isclose(share, wanted, rel_tol=1e-9):
        return knobs
    total = knobs["tau"] + knobs["beta"]
    lower, upper = share * exp(-log_limit), share * exp(log_limit)
    if lower <= wanted <= upper:
        if "eta" in knobs or sharpness(knobs) == sharpness(goal):
            return {**knobs, "tau": goal["tau"], "beta": goal["beta"]}
        tau, beta = scale_anchors(goal["tau"], goal["beta"], total)
        return {**knobs, "tau": tau, "beta": beta}
    beta = total * (lower if wanted < lower else upper)
    return {**knobs, "tau": total - beta, "beta": beta}
