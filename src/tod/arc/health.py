"""What the controller reads from a summary, and how it compares it with its bounds."""

from dataclasses import dataclass
from math import inf, log

from tod.arc.config import ArcConfig
from tod.arc.state import BoundCheck
from tod.diagnostics.summary import Summary


def observe(config: ArcConfig, summary: Summary) -> dict[str, float]:
    """The diagnostics the controller reads, by their path in the summary; unknown ones absent."""
    values: dict[str, float | None] = {
        ess_name(config): getattr(summary.ess_rel, config.ess_quantile),
        "tails.max_weight_median": summary.tails.max_weight_median,
        "activation": summary.activation,
        "drift.ref": summary.drift.ref,
        "contexts.informative": float(summary.contexts.informative or 0),
    }
    if config.plan != "set_point":
        values["overlap.policy_proposal"] = summary.overlap.policy_proposal
        values["entropy"] = summary.entropy
        if summary.path is not None:
            path = summary.path.to_dict()
            values |= {f"path.{name}": path[name] for name in ("eta_hat", "delta", "variance")}
    return {name: value for name, value in values.items() if value is not None}


def ess_name(config: ArcConfig) -> str:
    """Path of the steered quantile in the summary."""
    return f"ess_rel.{config.ess_quantile}"


def average(window: tuple[dict[str, float], ...]) -> dict[str, float]:
    """Mean of every diagnostic over the batches that have it."""
    names = dict.fromkeys(name for item in window for name in item)
    columns = {name: [item[name] for item in window if name in item] for name in names}
    return {name: sum(column) / len(column) for name, column in columns.items()}


@dataclass(frozen=True)
class Health:
    """The reading of one averaged window.

    Attributes:
        compared: Every diagnostic against its bound.
        unhealthy: ESS below its dead band, or tails or activation over their limits.
        comfortable: All known ones clear of their bounds by the hysteresis.
        drift_over: Log of drift over budget, positive when over; None without budget.
        margins: Log distance to every bound that steers sharpness, positive on the good side.
    """

    compared: tuple[BoundCheck, ...]
    unhealthy: bool
    comfortable: bool
    drift_over: float | None
    margins: dict[str, float]

    @property
    def over_budget(self) -> bool:
        """Whether drift is over its budget."""
        return self.drift_over is not None and self.drift_over > 0


def health_of(config: ArcConfig, mean: dict[str, float]) -> Health:
    """Compare averaged diagnostics with the bounds; a diagnostic that is absent decides nothing."""
    name, target, band = ess_name(config), config.ess_target, config.hysteresis
    value = mean[name]
    compared = [BoundCheck(name, value, target, value >= target * (1 - band))]
    comfortable = value > target + band * (1 - target)
    margins = {name: log(value) - log(target) if value > 0 else -inf}
    limits = (
        ("tails.max_weight_median", config.tail_limit),
        ("activation", config.activation_limit),
    )
    for what, limit in limits:
        if limit is None:
            continue
        seen = mean.get(what)
        compared.append(BoundCheck(what, seen, limit, None if seen is None else seen <= limit))
        if seen is not None:
            comfortable = comfortable and seen < limit * (1 - band)
            margins[what] = log(limit) - log(seen) if seen > 0 else inf
    unhealthy = any(item.ok is False for item in compared)
    drift_over = _drift(config, mean, compared)
    clear = drift_over is None or drift_over < log(1 - band) or drift_over == -inf
    return Health(tuple(compared), unhealthy, comfortable and clear, drift_over, margins)


def _drift(config: ArcConfig, mean: dict[str, float], compared: list[BoundCheck]) -> float | None:
    if config.drift_budget is None:
        return None
    drift = mean["drift.ref"]
    compared.append(
        BoundCheck("drift.ref", drift, config.drift_budget, drift <= config.drift_budget)
    )
    return _over(config.drift_budget, drift)


def drift_over_budget(config: ArcConfig, summary: Summary) -> float | None:
    """Log of the batch's drift over the budget; None without a budget, −∞ at no drift."""
    drift = summary.drift.ref
    if config.drift_budget is None or drift is None:
        return None
    return _over(config.drift_budget, drift)


def _over(budget: float, drift: float) -> float:
    return log(drift) - log(budget) if drift > 0 else -inf
