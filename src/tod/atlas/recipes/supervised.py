"""Supervised recipes (Table 2 row 1) and weighted likelihood."""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.shared import COMPOUNDS, FROM_MU, VERIFIER
from tod.operators import (
    Accepted,
    Best,
    DatasetProposal,
    Exponentiated,
    Operator,
    Proposal,
    TokenMean,
    Uniform,
    WeightedRegression,
    WithinBudget,
)
from tod.targets import Data, ScalarReward, Verifier

BUDGET = "η is what the KL budget allows in each step: of the declared target b and U are read"

SUPERVISED = (
    Recipe(
        name="sft",
        title="Supervised fine-tuning: likelihood of the data, a mean over tokens",
        target=Data(),
        operator=Operator(
            proposal=DatasetProposal(source="dataset"),
            action=WeightedRegression(weights=Uniform(), aggregation=TokenMean()),
        ),
        family="supervised",
        shares_target="yes",
        papers=("TOD, Table 2 row 1",),
    ),
    Recipe(
        name="sft_likelihood",
        title="Supervised fine-tuning by its second lens: b flat, U = log p of a model of the data",
        target=ScalarReward(utility="likelihood", eta=1.0, anchor={"ref": 0.0}),
        operator=Operator(action=WeightedRegression()),
        family="supervised",
        shares_target="yes",
        differs=("its target is p, which is the data only as far as p was fitted to them",),
        papers=("TOD, Table 2 row 1",),
    ),
    Recipe(
        name="dft",
        title="DFT: likelihood weighted by the probability of the token itself",
        target=Data(),
        operator=Operator(
            proposal=DatasetProposal(source="dataset"),
            action=WeightedRegression(
                weights=Uniform(), aggregation=TokenMean(), by_probability=True
            ),
        ),
        family="supervised",
        shares_target="no",
        differs=(
            "tokens count by their own probability: likely ones are made likelier than in the data",
        ),
        papers=("2508.05629",),
    ),
    Recipe(
        name="weighted_mle",
        title="Weighted maximum likelihood: the forward-KL projection of the target",
        target=VERIFIER,
        operator=Operator(action=WeightedRegression()),
        family="supervised",
        shares_target="yes",
        differs=("with few candidates off-policy: self-normalised weights are biased by O(1/K)",),
        papers=("1806.06920", "1910.00177"),
        aliases=("wmle",),
    ),
    Recipe(
        name="weighted_mle_centred",
        title="Weighted maximum likelihood less the policy's own weights",
        target=VERIFIER,
        operator=Operator(action=WeightedRegression(centred=True)),
        family="supervised",
        shares_target="yes",
        papers=("1806.06920", "TOD"),
        aliases=("wmle_centred",),
    ),
    Recipe(
        name="rwr",
        title="Reward-weighted regression: softmax of the reward, no b/μ",
        target=FROM_MU,
        operator=Operator(action=WeightedRegression()),
        family="supervised",
        shares_target="no",
        differs=(COMPOUNDS,),
        papers=(
            "Peters and Schaal 2007",
            "Peters, Mülling and Altun 2010",
        ),
    ),
    Recipe(
        name="reps",
        title="REPS: softmax of the reward at the temperature that spends a KL budget from μ",
        target=FROM_MU,
        operator=Operator(action=WeightedRegression(weights=WithinBudget(budget=0.5))),
        family="supervised",
        shares_target="no",
        differs=(BUDGET, COMPOUNDS),
        papers=("Peters, Mülling and Altun 2010",),
    ),
    Recipe(
        name="mpo",
        title="MPO's E-step: b/μ·exp(U/T) from a lagging π_old, T by the dual of a KL budget",
        target=Verifier(eta=5.0, utility="correct", anchor={"old": 1.0}),
        operator=Operator(
            proposal=Proposal(refresh=10),
            action=WeightedRegression(weights=WithinBudget(budget=0.1)),
        ),
        family="supervised",
        shares_target="no",
        differs=(
            BUDGET,
            "its anchor is π_old: a step of ε from it at every refresh, sharper without end",
            "without the trust region of MPO's M-step",
        ),
        papers=("1806.06920",),
        aliases=("mpo_e_step",),
    ),
    Recipe(
        name="awr",
        title="Advantage-weighted regression: exp(A) capped, not normalised",
        target=FROM_MU,
        operator=Operator(action=WeightedRegression(weights=Exponentiated())),
        family="supervised",
        shares_target="no",
        differs=(
            COMPOUNDS,
            "the cap bends the exponential",
        ),
        papers=("1910.00177",),
    ),
    Recipe(
        name="rft",
        title="Rejection-sampling fine-tuning: likelihood of what passes",
        target=FROM_MU,
        operator=Operator(action=WeightedRegression(weights=Accepted(threshold=1.0))),
        family="supervised",
        shares_target="no",
        differs=(COMPOUNDS, "the threshold is the limit η → ∞"),
        papers=("2304.06767", "2308.01825"),
        aliases=("raft", "star"),
    ),
    Recipe(
        name="raft_top_k",
        title="Rejection sampling that keeps the best of every context",
        target=FROM_MU,
        operator=Operator(action=WeightedRegression(weights=Best(count=2))),
        family="supervised",
        shares_target="no",
        differs=(
            COMPOUNDS,
            "the best k of K is another law than a tilt",
        ),
        papers=(
            "2304.06767",
            "2308.08998",
        ),
    ),
)
