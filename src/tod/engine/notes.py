"""What a dry run says of the target beside its letters: what of it the action does not read."""

from tod.engine.settings import RunSettings
from tod.operators import NoCredit, WeightedRegression, WithinBudget


def aim(settings: RunSettings) -> str:
    """The target in letters, with the η that the run will have."""
    target, action = settings.target.target, settings.operator.action
    if isinstance(action, NoCredit):
        return f"{target} (not read: action 'auxiliary' trains on the auxiliary terms alone)"
    if not (isinstance(action, WeightedRegression) and isinstance(action.weights, WithinBudget)):
        return str(target)
    total = sum(abs(tilt.eta) for tilt in target.tilts)
    shares = [(tilt.eta / total, tilt.utility) for tilt in target.tilts]
    value = " + ".join(name if share == 1 else f"{share:.3g}·{name}" for share, name in shares)
    value = value if len(shares) == 1 else f"({value})"
    base = str(target.revised(tilts=()))
    return f"{base}·exp(η·{value}), η from the KL budget ε = {action.weights.budget:g}"
