"""Preference surrogates (Table 2 row 2)."""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.shared import ALL_MEANT, CHOICES, NO_REFERENCE, SINGLES, VERIFIER
from tod.operators import (
    ConservativeDpo,
    Exo,
    Hinge,
    Ipo,
    Kto,
    Listwise,
    Nca,
    Operator,
    OrPo,
    PairsProposal,
    PoolProposal,
    Preference,
    Proposal,
    RobustDpo,
    SimPo,
)
from tod.targets import FiniteCandidates

PREFERENCE = (
    Recipe(
        name="dpo",
        title="DPO: the logistic loss of choices",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"), action=Preference()
        ),
        family="preference_surrogate",
        shares_target="yes",
        differs=("hard labels put the optimum at infinity, choices drawn from the scores do not",),
        papers=("2305.18290",),
    ),
    Recipe(
        name="cdpo",
        title="Conservative DPO: labels smoothed by ε",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"),
            action=Preference(loss=ConservativeDpo()),
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=("labels are shrunk towards even: margins are smaller than the scores say",),
        papers=("2305.18290",),
    ),
    Recipe(
        name="robust_dpo",
        title="Robust DPO: unbiased if labels flip with probability ε",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"),
            action=Preference(loss=RobustDpo()),
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=("right for labels that flipped with probability ε alone; unbounded below",),
        papers=("2403.00409",),
    ),
    Recipe(
        name="ipo",
        title="IPO: squared distance of the per-token margin from 1/(2β)",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"), action=Preference(loss=Ipo())
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=(ALL_MEANT,),
        papers=("2310.12036",),
    ),
    Recipe(
        name="hinge",
        title="SLiC-style hinge with a reference",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"),
            action=Preference(loss=Hinge()),
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=("stops at the margin 1/β: a boundary, not a tilt",),
        papers=(
            "2305.10425",
            "2309.06657",
        ),
    ),
    Recipe(
        name="kto",
        title="KTO: single answers, desirable or not",
        target=SINGLES,
        operator=Operator(action=Preference(loss=Kto())),
        family="preference_surrogate",
        shares_target="no",
        differs=("a value function of single answers: no choice model, no tilt at its optimum",),
        papers=("2402.01306",),
    ),
    Recipe(
        name="simpo",
        title="SimPO: per-token log-probs and a margin, no reference",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"),
            action=Preference(loss=SimPo()),
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=(NO_REFERENCE,),
        papers=("2405.14734",),
    ),
    Recipe(
        name="orpo",
        title="ORPO: odds ratio beside the likelihood of the chosen",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"),
            action=Preference(loss=OrPo()),
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=(NO_REFERENCE,),
        papers=("2403.07691",),
    ),
    Recipe(
        name="exo",
        title="EXO on pairs: reverse KL to smoothed labels",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"), action=Preference(loss=Exo())
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=(ALL_MEANT,),
        papers=("2402.00856",),
    ),
    Recipe(
        name="nca",
        title="NCA on pairs: absolute likelihoods are held",
        target=CHOICES,
        operator=Operator(
            proposal=PairsProposal(source="pairs", utility="correct"), action=Preference(loss=Nca())
        ),
        family="preference_surrogate",
        shares_target="no",
        differs=("absolute likelihoods enter: another law than b·exp(ηU)",),
        papers=("2402.05369",),
    ),
    Recipe(
        name="pair_exact",
        title="Exact-target pair: the soft label of the target itself",
        target=VERIFIER,
        operator=Operator(proposal=Proposal(size=2), action=Listwise()),
        family="preference_surrogate",
        shares_target="yes",
        papers=(
            "2402.05369",
            "TOD",
        ),
    ),
    Recipe(
        name="listwise_exact",
        title="Exact-target listwise: the policy's softmax on candidates drawn to the target's",
        target=VERIFIER,
        operator=Operator(action=Listwise()),
        family="preference_surrogate",
        shares_target="yes",
        papers=(
            "2402.05369",
            "2402.00856",
        ),
        aliases=("info_nca",),
    ),
    Recipe(
        name="listwise_pool",
        title="Exact-target listwise on a fixed set: the posterior on distinct candidates",
        target=FiniteCandidates(eta=5.0, utility="correct", semantics="fixed"),
        operator=Operator(
            proposal=PoolProposal(
                source="pool", path="configs/data/candidates.jsonl", semantics="fixed"
            ),
            action=Listwise(),
        ),
        family="preference_surrogate",
        shares_target="yes",
        differs=(
            "on the candidates alone: what mass the policy has outside the set is not fitted",
        ),
        papers=("2402.05369", "TOD, Table 1 row 7"),
    ),
)
