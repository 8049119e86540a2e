"""How far sharpness moves in one step, in ln(eta): solver, slew, least by the deadline, bounds."""

from math import exp, inf, log

from tod.arc.config import ArcConfig
from tod.arc.health import Health, ess_name
from tod.arc.schedule import ramp
from tod.arc.state import ArcState


def wanted_move(
    config: ArcConfig, health: Health, current: float, eta_feasible: float | None
) -> float:
    """Signed change of ln(sharpness) that the diagnostics ask for, before any limit.

    ``pi``: velocity form Δu = k e with e = min over bounds of the log margin and
    k = gain/(2 ln(1/ρ*)), since ln ESS_rel ∝ −η² makes the plant's gain −2 ln(1/ρ*) at the
    target. ``gaussian``: Δu = ½ ln(ln ρ*/ln ρ). ``feasible``: Δu = ln(η_feasible/η). In the last
    two the other bounds still act as in ``pi``. Being a velocity, it cannot wind up.

    Source: TOD framework, section 6 (equation sharpness-step)
    """
    step = config.gain / (2 * log(1 / config.ess_target))
    moves = {name: step * margin for name, margin in health.margins.items()}
    steered = ess_name(config)
    if config.solver == "gaussian":
        moves[steered] = _gaussian(health.margins[steered], config.ess_target)
    elif config.solver == "feasible" and eta_feasible is not None:
        moves[steered] = _log_ratio(eta_feasible, current)
    move = min(moves.values())
    return min(move, 0.0) if health.unhealthy else max(move, 0.0)


def lower_limit(config: ArcConfig, state: ArcState, goal: float, step: int) -> float:
    """Least ln(sharpness) for the next step: the ramp, and what the slew can still make good.

    At the deadline it equals ln(goal). It never rises by more than the slew on a state that was
    on or above its second part before, so the deadline holds whatever the diagnostics say, as
    long as no batch is frozen and drift is within budget.
    """
    if state.deadline is None:
        return -inf
    left = max(0, state.deadline - (step + 1))
    return max(log(ramp(config, goal, state.deadline, step + 1)), log(goal) - config.slew * left)


def limited(config: ArcConfig, current: float, move: float, lowest: float, goal: float) -> float:
    """Sharpness after a move: above the lower limit, within the slew, inside [eta_min, goal].

    Exactly ``goal`` or ``current`` where a bound or no move makes it so.
    """
    here = log(current)
    there = max(here + move, lowest)
    there = min(max(there, here - config.slew), here + config.slew)
    if there >= log(goal):
        return goal
    if there == here:
        return current
    return max(exp(there), min(config.eta_min, current))


def _gaussian(margin: float, target: float) -> float:
    """½ ln(ln ρ*/ln ρ) from the margin ln(ρ/ρ*); ρ = 1 asks for everything, ρ = 0 for nothing."""
    log_rho = margin + log(target)
    if log_rho >= 0:
        return inf
    return -inf if log_rho == -inf else 0.5 * log(log(target) / log_rho)


def _log_ratio(feasible: float, current: float) -> float:
    if feasible == inf:
        return inf
    return log(feasible) - log(current) if feasible > 0 else -inf
