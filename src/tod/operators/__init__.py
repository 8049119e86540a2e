"""Operators (μ, A): how candidates are made, and what is done with them.

An update gives every token t a *credit*, and its gradient is Σ_t credit_t·∇log π_θ(y_t). Arrays go
in and arrays come out; no function here knows a model. For a policy gradient

    credit = aggregation × gate(trust region) × ρ(level) × advantage (+ pull)

and a named method is a choice of these. PPO's clip on the mean over two tokens, for example:

>>> import numpy as np
>>> log_rho = np.log([1.5, 0.9])  # log π_θ/π_old of two tokens, nats
>>> advantage = np.array([1.0, -1.0])
>>> region = Clip(low=0.2, high=0.2)
>>> gate = region.gate(log_rho, advantage)  # 0 where a step would leave the band further
>>> credit = gate * np.exp(log_rho) * advantage / 2
>>> credit
array([ 0.  , -0.45])
>>> float(region.surrogate(log_rho, advantage).mean().round(9))  # the paper's objective
0.15

The credit is the derivative of that objective in log π_θ; a test holds this for every region. One
file an idea:

    policy_gradient       the rule above
    trust_regions         gates, and the level at which ρ = π_θ/π_old is compared
    advantages            baselines by candidate; returns and GAE by token
    aggregation           how losses of tokens add up
    pulls, corrections    KL terms towards the anchors; weights of another engine's tokens
    preference, listwise  DPO and its family, KTO; softmax over a context's candidates
    weighted_regression   SFT, AWR, MPO, rejection-sampling fine-tuning
    selection             test time: best of K, resampling, rejection, votes
    distillation          divergences over the vocabulary
    proposals             μ: where candidates come from
    batch, operator       what a rule sees and returns; the pair (μ, A)
"""

from tod.operators.advantages import (
    AdvantageSpec,
    BatchZScore,
    Critic,
    Gae,
    GroupMean,
    GroupZScore,
    LeaveOneOut,
    LeaveOneOutZScore,
    Raw,
    ReturnToGo,
    Whitening,
    discounted,
    gae,
    rewards_of,
)
from tod.operators.aggregation import (
    AggregationSpec,
    ConstantLength,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from tod.operators.batch import Batch, Credit, Moments, Totals, UpdateRule
from tod.operators.corrections import (
    AnyCorrection,
    CorrectionSpec,
    GeometricRejection,
    Product,
    SequenceMask,
    SequenceRejection,
    SequenceTruncation,
    Shrunk,
    StaleNegatives,
    TokenMask,
    TokenTruncation,
    log_gap,
)
from tod.operators.distillation import FullVocabulary, divergence
from tod.operators.listwise import Listwise
from tod.operators.operator import Action, Auxiliary, NoCredit, Operator
from tod.operators.policy_gradient import EntropyBonus, PolicyGradient
from tod.operators.preference import (
    ConservativeDpo,
    Dpo,
    Exo,
    Hinge,
    Ipo,
    Kto,
    Nca,
    OrPo,
    PairLoss,
    Pairs,
    Preference,
    PreferenceLoss,
    RobustDpo,
    SigmoidNorm,
    SimPo,
    log1mexp,
    pair_weights,
)
from tod.operators.proposals import (
    CHOICE,
    AlternatingProposal,
    AnyProposal,
    DatasetProposal,
    Dynamic,
    LinearRefresh,
    MixtureProposal,
    PairsProposal,
    PoolProposal,
    Proposal,
    ProposalSpec,
    ReplayProposal,
    due,
)
from tod.operators.pulls import KLPull, Pull, Residual, estimator
from tod.operators.selection import (
    BestOfK,
    MajorityVote,
    MinimumBayesRisk,
    Pool,
    RejectionSampling,
    Resample,
    Selection,
    SelectionRule,
    WeightedVote,
    best,
    first_accepted,
    minimum_risk,
    resample,
    resample_without_replacement,
    vote,
)
from tod.operators.trust_regions import (
    Clip,
    DualClip,
    Level,
    Mask,
    RootLengthClip,
    SoftGate,
    Truncate,
    TrustRegion,
    TrustRegionSpec,
    Unbounded,
    at_level,
    gated,
    mean_of_clipped,
)
from tod.operators.weighted_regression import (
    Accepted,
    Best,
    Exponentiated,
    KLBudget,
    TargetOfStep,
    TargetWeights,
    Uniform,
    WeightedRegression,
    WeightsSpec,
    WithinBudget,
    kl_budget,
)

__all__ = [
    "CHOICE",
    "Accepted",
    "Action",
    "AdvantageSpec",
    "AggregationSpec",
    "AlternatingProposal",
    "AnyCorrection",
    "AnyProposal",
    "Auxiliary",
    "Batch",
    "BatchZScore",
    "Best",
    "BestOfK",
    "Clip",
    "ConservativeDpo",
    "ConstantLength",
    "CorrectionSpec",
    "Credit",
    "Critic",
    "DatasetProposal",
    "Dpo",
    "DualClip",
    "Dynamic",
    "EntropyBonus",
    "Exo",
    "Exponentiated",
    "FullVocabulary",
    "Gae",
    "GeometricRejection",
    "GroupMean",
    "GroupZScore",
    "Hinge",
    "Ipo",
    "KLBudget",
    "KLPull",
    "Kto",
    "LeaveOneOut",
    "LeaveOneOutZScore",
    "Level",
    "LinearRefresh",
    "Listwise",
    "MajorityVote",
    "Mask",
    "MinimumBayesRisk",
    "MixtureProposal",
    "Moments",
    "Nca",
    "NoCredit",
    "Operator",
    "OrPo",
    "PairLoss",
    "Pairs",
    "PairsProposal",
    "PolicyGradient",
    "Pool",
    "PoolProposal",
    "Preference",
    "PreferenceLoss",
    "Product",
    "Proposal",
    "ProposalSpec",
    "Pull",
    "Raw",
    "RejectionSampling",
    "ReplayProposal",
    "Resample",
    "Residual",
    "ReturnToGo",
    "RobustDpo",
    "RootLengthClip",
    "Selection",
    "SelectionRule",
    "SequenceMask",
    "SequenceMeanTokenMean",
    "SequenceMeanTokenSum",
    "SequenceRejection",
    "SequenceTruncation",
    "Shrunk",
    "SigmoidNorm",
    "SimPo",
    "SoftGate",
    "StaleNegatives",
    "TargetOfStep",
    "TargetWeights",
    "TokenMask",
    "TokenMean",
    "TokenTruncation",
    "Totals",
    "Truncate",
    "TrustRegion",
    "TrustRegionSpec",
    "Unbounded",
    "Uniform",
    "UpdateRule",
    "WeightedRegression",
    "WeightedVote",
    "WeightsSpec",
    "Whitening",
    "WithinBudget",
    "at_level",
    "best",
    "discounted",
    "divergence",
    "due",
    "estimator",
    "first_accepted",
    "gae",
    "gated",
    "kl_budget",
    "log1mexp",
    "log_gap",
    "mean_of_clipped",
    "minimum_risk",
    "pair_weights",
    "resample",
    "resample_without_replacement",
    "rewards_of",
    "vote",
]
