"""Targets that several recipes state, and what makes some of them aim elsewhere."""

from tod.targets import FiniteCandidates, Preference, ScalarReward, Teacher, TwoAnchor, Verifier

TWO_ANCHOR = TwoAnchor(tau=0.15, beta=0.05, utility="correct")
ONE_UPDATE = TwoAnchor(tau=0.2, beta=0.0, utility="correct")
VERIFIER = Verifier(eta=5.0, utility="correct")
FROM_MU = Verifier(eta=5.0, utility="correct", anchor={"mu": 1.0})
ON_CANDIDATES = FiniteCandidates(
    eta=5.0, utility="correct", semantics="sampled", anchor={"mu": 1.0}
)

Z_SCORE = "z-scored advantages: sharpness becomes η/σ_c, by context, and moves with the policy"
K3 = "k3 in the loss: its gradient is the forward KL, the tilt is rational, not exponential"
NO_PULL = "no pull to an anchor: only the trust region bounds a step, iterated nothing is finite"
FROZEN = "KL in the reward is frozen at π_old: correct only while μ is refreshed"
REF_ALONE = "the pull draws to π_ref alone, with weight β: it aims at b·exp(r/β), whatever τ is"
COMPOUNDS = "no b/μ in the weights: the target is μ·exp(ηU), sharper at every refresh"
FINITE_K = "at finite K its law is E[w̄] over candidate sets, which tends to q* like 1/K"
CHOICES = Preference(beta=0.5, noise_scale=0.2, utility="correct")
SINGLES = Preference(beta=0.1, utility="correct")
TAUGHT = Teacher(eta=1.0)
REWARDED = ScalarReward(eta=20.0, utility="correct")
PROMPTED = Verifier(eta=20.0, utility="correct")

ALL_MEANT = (
    "every pair is fitted to one margin, whatever its score gap: not b·exp(ηU) but its own law"
)
NO_REFERENCE = "no reference: b does not enter, the policy moves as far as the choices push"
