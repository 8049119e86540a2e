"""On-policy distillation and self-training (Table 2 row 5)."""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.shared import COMPOUNDS, FROM_MU, TAUGHT
from tod.operators import (
    Accepted,
    AlternatingProposal,
    Auxiliary,
    FullVocabulary,
    NoCredit,
    Operator,
    PolicyGradient,
    Proposal,
    Residual,
    ReturnToGo,
    TokenMean,
    Unbounded,
    WeightedRegression,
)

DISTILLATION = (
    Recipe(
        name="opd_sampled",
        title="On-policy distillation by the sampled reverse KL of every token",
        target=TAUGHT,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Unbounded(),
                advantage=ReturnToGo(discount=0.0),
                aggregation=TokenMean(),
                pull=Residual(),
            )
        ),
        family="on_policy_distillation",
        shares_target="yes",
        papers=(
            "Thinking Machines Lab 2025, on-policy distillation",
            "2306.13649",
        ),
        aliases=("opd",),
    ),
    Recipe(
        name="opd_full",
        title="On-policy distillation by the reverse KL over the vocabulary",
        target=TAUGHT,
        operator=Operator(action=NoCredit(), auxiliary=Auxiliary(distillation=FullVocabulary())),
        family="on_policy_distillation",
        shares_target="yes",
        papers=(
            "2306.13649",
            "2306.08543",
        ),
    ),
    Recipe(
        name="opd_top_k",
        title="On-policy distillation by the forward KL on the teacher's likeliest tokens",
        target=TAUGHT,
        operator=Operator(
            action=NoCredit(),
            auxiliary=Auxiliary(distillation=FullVocabulary(divergence="forward_kl", top_k=8)),
        ),
        family="on_policy_distillation",
        shares_target="no",
        differs=("outside the teacher's top 8 only their whole mass is fitted, not which token",),
        papers=("2306.13649",),
    ),
    Recipe(
        name="gkd",
        title="GKD: generalised Jensen-Shannon divergence, on draws and on data in turn",
        target=TAUGHT,
        operator=Operator(
            proposal=AlternatingProposal(source="alternating", on_policy=0.5),
            action=NoCredit(),
            auxiliary=Auxiliary(distillation=FullVocabulary(divergence="jsd")),
        ),
        family="on_policy_distillation",
        shares_target="yes",
        papers=("2306.13649",),
    ),
    Recipe(
        name="seq_kd",
        title="Likelihood of the teacher's samples: forward KL of whole sequences",
        target=TAUGHT,
        operator=Operator(
            proposal=Proposal(source="teacher"),
            action=WeightedRegression(aggregation=TokenMean()),
        ),
        family="on_policy_distillation",
        shares_target="yes",
        papers=("1606.07947",),
    ),
    Recipe(
        name="self_training",
        title="Self-training: rejection sampling from a policy that is refreshed in rounds",
        target=FROM_MU,
        operator=Operator(
            proposal=Proposal(refresh=10),
            action=WeightedRegression(weights=Accepted(threshold=1.0)),
        ),
        family="on_policy_distillation",
        shares_target="no",
        differs=(
            COMPOUNDS,
            "the threshold is the limit η → ∞",
        ),
        papers=(
            "2203.14465",
            "2308.08998",
        ),
        aliases=("rest",),
    ),
)
