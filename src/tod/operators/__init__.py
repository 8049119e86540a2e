"""The O wing: how candidates are made and what is done with them."""

from tod.operators.advantages import (
    AdvantageSpec,
    GroupMean,
    GroupZScore,
    LeaveOneOut,
    Raw,
)
from tod.operators.aggregation import (
    AggregationSpec,
    ConstantLength,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    Totals,
)
from tod.operators.batch import Batch, Credit
from tod.operators.levels import Level, at_level, mean_of_clipped, slope
from tod.operators.operator import Action, Operator
from tod.operators.policy_gradient import PolicyGradient
from tod.operators.proposal import Proposal
from tod.operators.pulls import KLPull, Residual, estimator
from tod.operators.trust_regions import (
    Clip,
    DualClip,
    Mask,
    RootLengthClip,
    SoftGate,
    Truncate,
    TrustRegion,
    TrustRegionSpec,
    Unbounded,
    gated,
)
from tod.operators.weighted_regression import Accepted, TargetWeights, WeightedRegression

__all__ = [
    "Accepted",
    "Action",
    "AdvantageSpec",
    "AggregationSpec",
    "Batch",
    "Clip",
    "ConstantLength",
    "Credit",
    "DualClip",
    "GroupMean",
    "GroupZScore",
    "KLPull",
    "LeaveOneOut",
    "Level",
    "Mask",
    "Operator",
    "PolicyGradient",
    "Proposal",
    "Raw",
    "Residual",
    "RootLengthClip",
    "SequenceMeanTokenMean",
    "SequenceMeanTokenSum",
    "SoftGate",
    "TargetWeights",
    "TokenMean",
    "Totals",
    "Truncate",
    "TrustRegion",
    "TrustRegionSpec",
    "Unbounded",
    "WeightedRegression",
    "at_level",
    "estimator",
    "gated",
    "mean_of_clipped",
    "slope",
]
