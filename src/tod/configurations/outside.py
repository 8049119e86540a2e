"""Methods of the frameworks that are not in the algebra, each with its reason."""

from collections.abc import Mapping

_BY_SCORES = (
    "its baseline at a token weighs returns by squared scores, which need Σ π² of every token"
)
VERL_ESTIMATORS: Mapping[str, str] = {
    "remax": "its baseline is the reward of the greedy answer, which no proposal here draws; "
    "`leave_one_out` aims at the same law",
    "opo": "its baseline Σ L·U/Σ L mixes lengths into what a candidate is compared with; "
    "`group_mean` aims at the same law",
    "grpo_passk": "only the best candidate counts, by its lead over the second: it aims at the "
    "best of K, not at a tilt",
    "gdpo": "every reward is z-scored alone before the sum: η_k = w_k/σ_{k,c}, by reward and "
    "context",
    "optimal_token_baseline": _BY_SCORES,
    "tir_optimal_token_baseline": _BY_SCORES,
}
VERL_LOSSES: Mapping[str, str] = {
    "clip_cov": "drops tokens at random among those where advantage and log π vary together: its "
    "gate is no function of ρ and A",
    "kl_cov": "adds |log ρ| on the tokens of largest covariance of advantage and log π: a rank in "
    "the batch, no function of ρ and A",
    "dppo_tv": "its gate is on π − π_old of the token, not on their ratio",
    "dppo_kl": "its gate is on the token's binary KL, not on the ratio",
    "geo_mean by token": "the geometric mean has one advantage a sequence, this estimator one a "
    "token; theirs are averaged, which is the gradient of neither",
    "dro": "a square of log π/π_old pulls to π_old, which has no exponent in the target: iterated, "
    "its sharpness 1/β compounds",
}
TRL_GRPO: Mapping[str, str] = {
    "vespo": "tokens are weighted by w^k·e^{λ(1 − w)} of the sequence's ρ, k and λ by the sign of "
    "A: no trust region here has that shape",
}
_SORTED = "compares sorted log-ratios of the batch, not those of a pair: no loss of pairs"
TRL_DPO: Mapping[str, str] = {
    "bco_pair": "two logistic losses, one an answer: it classifies, and pairs only meet in the sum",
    "sppo_hard": "fits each log-ratio to ±1/(2β) by itself: its optimum has no latent score",
    "aot": _SORTED,
    "aot_unpaired": _SORTED,
    "apo_zero": "σ of each log-ratio by itself: bounded losses that no score of pairs explains",
    "apo_down": "pushes both answers down: its optimum is no tilt of π_ref",
    "discopop": "a found blend of a logistic and an exponential loss: its optimum is no choice "
    "model's",
}
TRL_KTO: Mapping[str, str] = {
    "apo_zero_unpaired": TRL_DPO["apo_zero"],
}
NEMO_ESTIMATORS: Mapping[str, str] = {
    "gdpo": VERL_ESTIMATORS["gdpo"],
    "opd": "the teacher's advantage rides on GRPO's rollouts, scaled by its own settings; "
    "`return_to_go` at γ = 0 with a residual towards the teacher is the nearest",
}


def why(name: str, reasons: Mapping[str, str], setting: str) -> str:
    """The note of a method that is not in the algebra; of one that is not known, that it is not."""
    if name in reasons:
        return f"{setting}={name}: not in the algebra: {reasons[name]}"
    return f"{setting}={name}: not known here, so no composition and no target is claimed"
