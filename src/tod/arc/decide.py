"""The controller on a batch that was examined, candidates and all."""

from tod.arc.config import ArcConfig
from tod.arc.controller import step as controller_step
from tod.arc.state import ArcState, Decision
from tod.procedure import Examined
from tod.regimes import QUANTILES, feasible_eta

__all__ = ["decide"]


def decide(
    config: ArcConfig, state: ArcState, examined: Examined, step: int
) -> tuple[ArcState, Decision]:
    """The controller's ``step``, with the feasible sharpness where ``config.solver`` asks for it.

    Args:
        config: Bounds and speeds.
        state: What `initial` or the decision before returned.
        examined: The batch.
        step: Its number.
    """
    feasible = None
    if config.solver == "feasible":
        feasible = feasible_eta(examined, config.ess_target, QUANTILES[config.ess_quantile])
    return controller_step(config, state, examined.summary, step=step, eta_feasible=feasible)
