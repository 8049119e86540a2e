"""Proximal policy-gradient recipes (Table 2 row 3)."""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.shared import (
    FROZEN,
    K3,
    NO_PULL,
    ONE_UPDATE,
    PROMPTED,
    REF_ALONE,
    REWARDED,
    TWO_ANCHOR,
    Z_SCORE,
)
from tod.operators import (
    Auxiliary,
    Clip,
    ConstantLength,
    Critic,
    DualClip,
    Gae,
    GroupMean,
    GroupZScore,
    KLPull,
    Operator,
    PolicyGradient,
    Residual,
    ReturnToGo,
    RootLengthClip,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    Unbounded,
    Whitening,
)

PROXIMAL = (
    Recipe(
        name="proximal_residual",
        title="Clipped policy gradient on the shaped residual (zero at the target)",
        target=TWO_ANCHOR,
        operator=Operator(action=PolicyGradient(trust_region=Clip(), pull=Residual())),
        family="proximal_rl",
        shares_target="one_update",
        differs=("π_old moves: iterated, the sharpness tends to 1/β, not 1/(τ+β)",),
        papers=("1707.06347", "TOD 2025, section 2.3"),
    ),
    Recipe(
        name="kl_control",
        title="KL-regularised reward by REINFORCE: a mean as baseline, KL in the reward",
        target=REWARDED,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Unbounded(),
                aggregation=SequenceMeanTokenSum(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="proximal_rl",
        shares_target="on_policy",
        differs=(FROZEN,),
        papers=("1805.00909", "2205.11275", "2203.02155"),
        aliases=("kl_regularised_rl",),
    ),
    Recipe(
        name="ppo_clip",
        title="PPO's clipped surrogate without a critic, KL in the reward",
        target=TWO_ANCHOR,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(),
                aggregation=TokenMean(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(REF_ALONE, FROZEN),
        papers=("1707.06347", "2203.02155"),
    ),
    Recipe(
        name="ppo",
        title="PPO: critic, GAE whitened over tokens, clipped, KL in the reward",
        target=PROMPTED,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(),
                advantage=Gae(whiten=Whitening()),
                aggregation=TokenMean(),
                pull=KLPull(kind="k1", place="reward"),
            ),
            auxiliary=Auxiliary(critic=Critic()),
        ),
        family="proximal_rl",
        shares_target="on_policy",
        differs=(FROZEN, "as right as the critic: λ < 1 trusts its values"),
        papers=("1707.06347", "1506.02438", "2203.02155"),
    ),
    Recipe(
        name="ppo_dual_clip",
        title="PPO with a dual clip: a negative advantage pushes no ratio above 3 down",
        target=PROMPTED,
        operator=Operator(
            action=PolicyGradient(
                trust_region=DualClip(cap=3.0),
                advantage=Gae(whiten=Whitening()),
                aggregation=TokenMean(),
                pull=KLPull(kind="k1", place="reward"),
            ),
            auxiliary=Auxiliary(critic=Critic()),
        ),
        family="proximal_rl",
        shares_target="on_policy",
        differs=(FROZEN, "as right as the critic: λ < 1 trusts its values"),
        papers=("1912.09729", "1506.02438"),
        aliases=("dual_clip_ppo",),
    ),
    Recipe(
        name="grpo",
        title="GRPO: group z-scores, token clip, k3 in the loss",
        target=TWO_ANCHOR,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(), advantage=GroupZScore(), pull=KLPull(kind="k3")
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(Z_SCORE, K3),
        papers=("2402.03300", "2501.12948"),
    ),
    Recipe(
        name="dr_grpo",
        title="Dr. GRPO: centred rewards, constant length, no KL",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(trust_region=Clip(), aggregation=ConstantLength(length=64))
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(NO_PULL,),
        papers=("2503.20783",),
    ),
    Recipe(
        name="gspo",
        title="GSPO: geometric-mean sequence weights, tight clip",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_mean",
                trust_region=Clip(low=3e-4, high=4e-4),
                advantage=GroupZScore(),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2507.18071",),
    ),
    Recipe(
        name="gspo_token",
        title="GSPO-token: the sequence's weight, an advantage of every token",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_mean",
                trust_region=Clip(low=3e-4, high=4e-4),
                advantage=ReturnToGo(discount=0.95, baseline=GroupMean()),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(NO_PULL, "discounted: early tokens are credited with less"),
        papers=("2507.18071",),
    ),
    Recipe(
        name="gmpo",
        title="GMPO: tokens clipped in log space before their geometric mean",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_mean_of_clipped",
                trust_region=Clip(low=0.3296799539643607, high=0.4918246976412703),
                advantage=GroupZScore(),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2507.20673",),
    ),
    Recipe(
        name="fspo",
        title="FSPO: true sequence weights in a band that grows with the root of the length",
        target=ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_sum",
                trust_region=RootLengthClip(),
                advantage=GroupZScore(),
                aggregation=SequenceMeanTokenSum(),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2509.09177",),
    ),
    Recipe(
        name="sapo",
        title="SAPO: a soft gate in the place of the clip",
        target=ONE_UPDATE,
        operator=Operator(action=PolicyGradient(trust_region=SoftGate(), advantage=GroupZScore())),
        family="proximal_rl",
        shares_target="no",
        differs=(Z_SCORE, NO_PULL),
        papers=("2511.20347",),
    ),
)
