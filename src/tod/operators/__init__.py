"""The O wing: how candidates are made and what is done with them."""

from tod.operators.advantage import AdvantageSpec
from tod.operators.advantages import (
    BatchZScore,
    GroupMean,
    GroupZScore,
    LeaveOneOut,
    LeaveOneOutZScore,
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
from tod.operators.corrections import (
    CorrectionSpec,
    GeometricRejection,
    SequenceMask,
    SequenceRejection,
    SequenceTruncation,
    StaleNegatives,
    TokenMask,
    TokenTruncation,
    log_gap,
)
from tod.operators.levels import Level, at_level, mean_of_clipped, slope
from tod.operators.moments import Moments
from tod.operators.operator import Action, Operator
from tod.operators.policy_gradient import PolicyGradient
from tod.operators.proposal import Proposal
from tod.operators.pulls import KLPull, Residual, estimator
from tod.operators.token_advantages import Gae, ReturnToGo, Whitening, discounted, gae
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
    "BatchZScore",
    "Clip",
    "ConstantLength",
    "CorrectionSpec",
    "Credit",
    "DualClip",
    "Gae",
    "GeometricRejection",
    "GroupMean",
    "GroupZScore",
    "KLPull",
    "LeaveOneOut",
    "LeaveOneOutZScore",
    "Level",
    "Mask",
    "Moments",
    "Operator",
    "PolicyGradient",
    "Proposal",
    "Raw",
    "Residual",
    "ReturnToGo",
    "RootLengthClip",
    "SequenceMask",
    "SequenceMeanTokenMean",
    "SequenceMeanTokenSum",
    "SequenceRejection",
    "SequenceTruncation",
    "SoftGate",
    "StaleNegatives",
    "TargetWeights",
    "TokenMask",
    "TokenMean",
    "TokenTruncation",
    "Totals",
    "Truncate",
    "TrustRegion",
    "TrustRegionSpec",
    "Unbounded",
    "WeightedRegression",
    "Whitening",
    "at_level",
    "discounted",
    "estimator",
    "gae",
    "gated",
    "log_gap",
    "mean_of_clipped",
    "slope",
]
