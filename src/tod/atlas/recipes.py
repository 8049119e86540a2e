"""The named recipes. Each is a composition; the settings are those of its paper where it has one.

Targets are stated for a utility called ``correct``, proposals at the size of a small run: a run's
own YAML says what it really uses.
"""

from tod.atlas.recipe import Recipe
from tod.operators import (
    Accepted,
    BestOfK,
    Clip,
    ConstantLength,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    MajorityVote,
    MinimumBayesRisk,
    Operator,
    PolicyGradient,
    Rejection,
    Resample,
    Residual,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    Truncate,
    WeightedRegression,
    WeightedVote,
)
from tod.targets import FiniteCandidates, TwoAnchor, Verifier

_TWO_ANCHOR = TwoAnchor(tau=0.15, beta=0.05, utility="correct")
_ONE_UPDATE = TwoAnchor(tau=0.2, beta=0.0, utility="correct")
_VERIFIER = Verifier(eta=5.0, utility="correct")
_FROM_MU = Verifier(eta=5.0, utility="correct", anchor={"mu": 1.0})
_ON_CANDIDATES = FiniteCandidates(
    eta=5.0, utility="correct", semantics="sampled", anchor={"mu": 1.0}
)

_Z_SCORE = "z-scored advantages: sharpness becomes η/σ_c, by context, and moves with the policy"
_K3 = "k3 in the loss: its gradient is the forward KL, the tilt is rational, not exponential"
_NO_PULL = "no pull to an anchor: only the trust region bounds a step, iterated nothing is finite"
_FROZEN = "KL in the reward is frozen at π_old: correct only while μ is refreshed"
_REF_ALONE = "the pull draws to π_ref alone, with weight β: it aims at b·exp(r/β), whatever τ is"
_COMPOUNDS = "no b/μ in the weights: the target is μ·exp(ηU), sharper at every refresh"
_FINITE_K = "at finite K its law is E[w̄] over candidate sets, which tends to q* like 1/K"

_ENTRIES = (
    Recipe(
        name="proximal_residual",
        title="Clipped policy gradient on the shaped residual (zero at the target)",
        target=_TWO_ANCHOR,
        operator=Operator(action=PolicyGradient(trust_region=Clip(), pull=Residual())),
        family="proximal_rl",
        shares_target="one_update",
        differs=("π_old moves: iterated, the sharpness tends to 1/β, not 1/(τ+β)",),
        papers=("1707.06347", "TOD 2025, section 2.3"),
    ),
    Recipe(
        name="ppo_clip",
        title="PPO's clipped surrogate without a critic, KL in the reward",
        target=_TWO_ANCHOR,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(),
                aggregation=TokenMean(),
                pull=KLPull(kind="k1", place="reward"),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(_REF_ALONE, _FROZEN),
        papers=("1707.06347", "2203.02155"),
        aliases=("ppo",),
    ),
    Recipe(
        name="grpo",
        title="GRPO: group z-scores, token clip, k3 in the loss",
        target=_TWO_ANCHOR,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(), advantage=GroupZScore(), pull=KLPull(kind="k3")
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(_Z_SCORE, _K3),
        papers=("2402.03300", "2501.12948"),
    ),
    Recipe(
        name="dr_grpo",
        title="Dr. GRPO: centred rewards, constant length, no KL",
        target=_ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(trust_region=Clip(), aggregation=ConstantLength(length=64))
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(_NO_PULL,),
        papers=("2503.20783",),
    ),
    Recipe(
        name="dapo",
        title="DAPO: clip-higher, mean over tokens, no KL",
        target=_ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Clip(low=0.2, high=0.28),
                advantage=GroupZScore(),
                aggregation=TokenMean(),
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(_Z_SCORE, _NO_PULL),
        papers=("2503.14476",),
    ),
    Recipe(
        name="gspo",
        title="GSPO: geometric-mean sequence weights, tight clip",
        target=_ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                level="sequence_mean",
                trust_region=Clip(low=3e-4, high=4e-4),
                advantage=GroupZScore(),
            )
        ),
        family="proximal_rl",
        shares_target="no",
        differs=(_Z_SCORE, _NO_PULL),
        papers=("2507.18071",),
    ),
    Recipe(
        name="sapo",
        title="SAPO: a soft gate in the place of the clip",
        target=_ONE_UPDATE,
        operator=Operator(action=PolicyGradient(trust_region=SoftGate(), advantage=GroupZScore())),
        family="proximal_rl",
        shares_target="no",
        differs=(_Z_SCORE, _NO_PULL),
        papers=("2511.20347",),
    ),
    Recipe(
        name="cispo",
        title="CISPO: truncated importance weights, every token keeps its gradient",
        target=_ONE_UPDATE,
        operator=Operator(
            action=PolicyGradient(
                trust_region=Truncate(cap=5.0), advantage=GroupZScore(), aggregation=TokenMean()
            )
        ),
        family="verifier_rl",
        shares_target="no",
        differs=(_Z_SCORE, _NO_PULL),
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
        differs=(_FROZEN,),
        papers=("2402.14740",),
    ),
    Recipe(
        name="weighted_mle",
        title="Weighted maximum likelihood: the forward-KL projection of the target",
        target=_VERIFIER,
        operator=Operator(action=WeightedRegression()),
        family="supervised",
        shares_target="yes",
        differs=("with few candidates off-policy: self-normalised weights are biased by O(1/K)",),
        papers=("1806.06920", "1910.00177"),
        aliases=("wmle", "mpo_e_step"),
    ),
    Recipe(
        name="weighted_mle_centred",
        title="Weighted maximum likelihood less the policy's own weights",
        target=_VERIFIER,
        operator=Operator(action=WeightedRegression(centred=True)),
        family="supervised",
        shares_target="yes",
        papers=("1806.06920", "TOD"),
        aliases=("wmle_centred",),
    ),
    Recipe(
        name="rft",
        title="Rejection-sampling fine-tuning: likelihood of what passes",
        target=_FROM_MU,
        operator=Operator(action=WeightedRegression(weights=Accepted(threshold=1.0))),
        family="supervised",
        shares_target="no",
        differs=(_COMPOUNDS, "the threshold is the limit η → ∞"),
        papers=("2304.06767", "2308.01825"),
        aliases=("raft", "star"),
    ),
    Recipe(
        name="best_of_k",
        title="Best of K: the candidate of the largest utility",
        target=_FROM_MU,
        operator=Operator(action=BestOfK()),
        family="test_time",
        shares_target="no",
        differs=("the law of the best is F(u)^K: no member of the tilt family at any η",),
        papers=("2401.01879", "2112.09332"),
        aliases=("best_of_n", "bon"),
    ),
    Recipe(
        name="sir",
        title="Sampling-importance-resampling: one draw by the weights q*/μ",
        target=_VERIFIER,
        operator=Operator(action=Resample()),
        family="test_time",
        shares_target="yes",
        differs=(_FINITE_K,),
        papers=("Rubin 1987", "2505.03156"),
    ),
    Recipe(
        name="soft_best_of_n",
        title="Soft best-of-n: one draw by softmax(ηU), the proposal being the anchor",
        target=_FROM_MU,
        operator=Operator(action=Resample()),
        family="test_time",
        shares_target="yes",
        differs=(_FINITE_K,),
        papers=("2505.03156",),
        aliases=("soft_best_of_k",),
    ),
    Recipe(
        name="rejection",
        title="Rejection sampling with a bound: exact draws from the target, or none",
        target=_FROM_MU,
        operator=Operator(action=Rejection(log_bound=5.0)),
        family="test_time",
        shares_target="yes",
        differs=("exact while M ≥ sup w, here e^η for U ≤ 1: a smaller M aims at μ·min(w, M)",),
        papers=("von Neumann 1951", "2309.06657"),
    ),
    Recipe(
        name="majority_vote",
        title="Self-consistency: the most frequent answer",
        target=_FROM_MU,
        operator=Operator(action=MajorityVote()),
        family="test_time",
        shares_target="no",
        differs=("the vote reads no utility: as K → ∞ it puts out the mode of μ's answers",),
        papers=("2203.11171",),
        aliases=("self_consistency",),
    ),
    Recipe(
        name="weighted_vote",
        title="Weighted vote: the answer of the largest summed weight",
        target=_ON_CANDIDATES,
        operator=Operator(action=WeightedVote()),
        family="test_time",
        shares_target="no",
        differs=("as K → ∞ it puts out the mode of q*'s answers, not a draw",),
        papers=("2206.02336", "2203.11171"),
        aliases=("best_of_n_weighted",),
    ),
    Recipe(
        name="mbr",
        title="Minimum Bayes risk: the candidate most alike the others, weighed by q*/μ",
        target=_ON_CANDIDATES,
        operator=Operator(action=MinimumBayesRisk()),
        family="test_time",
        shares_target="no",
        differs=("as K → ∞ it puts out the consensus of q* under G, not a draw",),
        papers=("Kumar and Byrne 2004", "2310.01387"),
        aliases=("minimum_bayes_risk",),
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ENTRIES}
"""The open registry: add an entry by building a Recipe."""
