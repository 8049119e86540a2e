"""Recipes of verifier-driven reinforcement learning (Table 2 row 4)."""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.shared import FROZEN, NO_PULL, ONE_UPDATE, PROMPTED, VERIFIER, Z_SCORE
from tod.operators import (
    Clip,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Operator,
    PolicyGradient,
    Residual,
    ReturnToGo,
    SequenceMask,
    SequenceMeanTokenSum,
    SequenceRejection,
    TokenMean,
    TokenTruncation,
    Truncate,
    Unbounded,
    Whitening,
)
from tod.targets import MultiObjective, Verifier

VERIFIER_RL = (
    Recipe(
        name="dapo",
        title="DAPO: clip-higher, mean over tokens, no KL",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(low=0.2, high=0.28),
                advantage=GroupZScore(epsilon=1e-6),
                aggregation=TokenMean(),
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2503.14476",),
    ),
    Recipe(
        name="dapo_overlong",
        title="DAPO with its soft overlong punishment as a second utility",
        target=MultiObjective(etas={"correct": 5.0, "length": 5.0}, anchor={"old": 1.0}),
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(low=0.2, high=0.28),
                advantage=GroupZScore(),
                aggregation=TokenMean(),
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2503.14476",),
    ),
    Recipe(
        name="cispo",
        title="CISPO: truncated importance weights, every token keeps its gradient",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Truncate(cap=5.0), advantage=GroupZScore(), aggregation=TokenMean()
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2506.13585", "2510.13786"),
    ),
    Recipe(
        name="rloo",
        title="RLOO: leave-one-out baseline on whole sequences, KL in the reward",
        target=Verifier(eta=20.0, utility="correct"),
        operator=Operator(
            action=PolicyGradient(
                level="sequence_sum",
                trust_region=Clip(),
                advantage=LeaveOneOut(),
                aggregation=SequenceMeanTokenSum(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="verifier_rl",
        shares_target="on_policy",
        differs=(FROZEN,),
        papers=("2402.14740",),
    ),
    Recipe(
        name="reinforce_pp",
        title="REINFORCE++: returns-to-go whitened over the batch, KL in the reward",
        target=PROMPTED,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(),
                advantage=ReturnToGo(whiten=Whitening()),
                aggregation=TokenMean(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="verifier_rl",
        shares_target="on_policy",
        differs=(FROZEN,),
        papers=("2501.03262",),
    ),
    Recipe(
        name="vargrad",
        title="Log-ratio variance (VarGrad, trajectory balance): the residual is made constant",
        target=VERIFIER,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_sum",
                trust_region=Unbounded(),
                advantage=LeaveOneOut(),
                aggregation=SequenceMeanTokenSum(),
                pull=Residual(),
            )
        ),
        family="verifier_rl",
        shares_target="yes",
        papers=("2010.10436", "2201.13259"),
        aliases=("trajectory_balance",),
    ),
    Recipe(
        name="tis_grpo",
        title="GRPO without KL, tokens of another engine weighed by truncated π_old/μ",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(), advantage=GroupZScore(), correction=TokenTruncation()
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("Yao et al. 2025, off-policy RL from efficient rollout engines",),
    ),
    Recipe(
        name="mis_grpo",
        title="GRPO without KL, sequences weighed by π_old/μ of another engine, dropped above 3",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(), advantage=GroupZScore(), correction=SequenceMask()
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("Liu, Li et al. 2025, RL collapse from training-inference mismatch",),
    ),
    Recipe(
        name="sequence_mask_grpo",
        title="GRPO without KL, sequences of another engine dropped where π_old/μ leaves [0.5, 2]",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(), advantage=GroupZScore(), correction=SequenceRejection()
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("Liu, Li et al. 2025, RL collapse from training-inference mismatch",),
    ),
    Recipe(
        name="rlvr_partial",
        title="RLVR with partial credit: a mean as baseline, token clip, KL in the reward",
        target=Verifier(eta=20.0, utility="progress"),
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(),
                aggregation=SequenceMeanTokenSum(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="verifier_rl",
        shares_target="on_policy",
        differs=(FROZEN,),
        papers=("2411.15124", "2501.12948"),
        aliases=("rlvr",),
    ),
)
