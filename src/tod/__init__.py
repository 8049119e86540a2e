"""TOD: post-training recipes as triples (q*, (μ, A), D).

Names are imported when first used: ``import tod`` loads neither numpy nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod import arc as arc
    from tod.arc import ArcConfig, ArcState, Decision
    from tod.atlas import RECIPES, Recipe
    from tod.base import Groups
    from tod.candidates import Candidates, Tokens
    from tod.configurations.locate import compare, locate
    from tod.diagnosis import diagnose, plan
    from tod.diagnostics import Diagnostics, Summary, ess, ess_rel, log_ess, measure, pareto_k
    from tod.formats import Reading, read
    from tod.operators import Operator, PolicyGradient, Proposal, WeightedRegression
    from tod.procedure import Procedure, credit, examine, log_weights
    from tod.regimes import Regime, Thresholds, classify, eta_for_ess
    from tod.reranking.rerank import rerank
    from tod.show.run import run
    from tod.show.sweep import sweep
    from tod.targets import Target

    __version__: str

_HOMES = {
    "tod.arc": ("ArcConfig", "ArcState", "Decision"),
    "tod.atlas": ("RECIPES", "Recipe"),
    "tod.configurations": ("compare", "locate"),
    "tod.base": ("Groups",),
    "tod.candidates": ("Candidates", "Tokens"),
    "tod.diagnostics": (
        "Diagnostics",
        "Summary",
        "ess",
        "ess_rel",
        "log_ess",
        "measure",
        "pareto_k",
    ),
    "tod.formats": ("Reading", "read"),
    "tod.diagnosis": ("diagnose", "plan"),
    "tod.operators": ("Operator", "PolicyGradient", "Proposal", "WeightedRegression"),
    "tod.procedure": ("Procedure", "credit", "examine", "log_weights"),
    "tod.reranking.rerank": ("rerank",),
    "tod.regimes": ("Regime", "Thresholds", "classify", "eta_for_ess"),
    "tod.show.run": ("run",),
    "tod.show.sweep": ("sweep",),
    "tod.targets": ("Target",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "RECIPES",
    "ArcConfig",
    "ArcState",
    "Candidates",
    "Decision",
    "Diagnostics",
    "Groups",
    "Operator",
    "PolicyGradient",
    "Procedure",
    "Proposal",
    "Reading",
    "Recipe",
    "Regime",
    "Summary",
    "Target",
    "Thresholds",
    "Tokens",
    "WeightedRegression",
    "__version__",
    "arc",
    "classify",
    "compare",
    "credit",
    "diagnose",
    "ess",
    "ess_rel",
    "eta_for_ess",
    "examine",
    "locate",
    "log_ess",
    "log_weights",
    "measure",
    "pareto_k",
    "plan",
    "read",
    "rerank",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """The public name, from the room it lives in."""
    if name == "arc":
        return import_module("tod.arc")
    if name == "__version__":
        return _version()
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    from difflib import get_close_matches

    near = "".join(f". Did you mean {known!r}?" for known in get_close_matches(name, __all__, n=1))
    raise AttributeError(f"module 'tod' has no attribute {name!r}{near}")


def _version() -> str:
    """Of the installed package."""
    from importlib.metadata import version

    return version("tod-posttrain")


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
