"""TRL's DPO, CPO, ORPO, KTO, SFT and distillation."""

from typing import Any

from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.draft import REWARD, Draft, coefficient, proposal_of
from tod.configurations.outside import TRL_DPO, TRL_KTO, why
from tod.configurations.settings import Settings
from tod.configurations.trl_rl import cut_decoding
from tod.operators import (
    AlternatingProposal,
    Auxiliary,
    ConservativeDpo,
    DatasetProposal,
    Dpo,
    Exo,
    Hinge,
    Ipo,
    Kto,
    Nca,
    NoCredit,
    OrPo,
    PairsProposal,
    Preference,
    RobustDpo,
    SigmoidNorm,
    SimPo,
    TokenMean,
    Uniform,
    WeightedRegression,
)
from tod.operators.proposals import Proposal
from tod.targets import Data, Teacher
from tod.targets import Preference as PreferenceTarget

SCORE = "preference"
"""The latent score of choices; no configuration names it."""


def preference_target(beta: float) -> PreferenceTarget | None:
    """π_ref·exp(r/β) of choices with unit noise; None at β = 0."""
    return PreferenceTarget(utility=SCORE, beta=beta) if beta > 0 else None


def dpo(s: Settings, method: str, version: str) -> Draft:
    """DPOConfig; one ``loss_type``, or several with weights."""
    beta = coefficient(s, "beta")
    draft = _pairs(s, method, version, preference_target(beta))
    losses = s["loss_type"] if isinstance(s["loss_type"], list) else [str(s["loss_type"])]
    if not losses:
        raise SpecError("loss_type: an empty list: there is no loss to locate.")
    if len(losses) > 1:
        draft.target, draft.no_target = None, f"{' + '.join(losses)}: a sum of losses has no target"
        draft.law = Law("other", why=draft.no_target)
        draft.change("loss_type", "the optimum of a sum is the target of none of its parts")
        _reference(draft, s)
        return draft
    if losses[0] == "sft":
        return _chosen_alone(draft)
    loss = _dpo_loss(losses[0], s.number("label_smoothing"))
    if loss is None:
        draft.target, draft.no_target = None, why(losses[0], TRL_DPO, "loss_type")
    else:
        draft.action = Preference(loss=loss)
        draft.said["loss"] = s.said("loss_type")
    _dpo_changes(draft, s, losses[0])
    return draft


def _chosen_alone(draft: Draft) -> Draft:
    """``loss_type=sft``: the likelihood of the chosen answers, and nothing of a pair."""
    draft.target, draft.target_family, draft.family = Data(), None, "supervised"
    draft.action = WeightedRegression(weights=Uniform(), aggregation=TokenMean())
    draft.proposal, draft.likely = DatasetProposal(source="dataset"), ("sft",)
    draft.change("loss_type", "fits the chosen answers: no pair, no π_ref and no β is read")
    return draft


def _dpo_loss(kind: str, smoothing: float) -> Any:
    if kind == "robust":
        return RobustDpo(epsilon=smoothing)
    if kind == "exo_pair":
        return Exo(epsilon=smoothing or 1e-3)
    return {
        "sigmoid": Dpo(),
        "hinge": Hinge(),
        "ipo": Ipo(by_length=True),
        "nca_pair": Nca(),
        "sigmoid_norm": SigmoidNorm(),
    }.get(kind)


def _dpo_changes(draft: Draft, s: Settings, kind: str) -> None:
    read = ("robust", "exo_pair", "aot", "aot_unpaired")
    if s.number("label_smoothing") and kind not in read:
        draft.change(
            "label_smoothing",
            f"ignored by loss_type={kind!r}: its labels are not smoothed (only "
            f"{', '.join(read)} read it)",
        )
    if kind == "exo_pair" and not s.number("label_smoothing"):
        draft.change("label_smoothing", "TRL puts 1e-3 in the place of 0, which would be infinite")
    if s["f_divergence_type"] != "reverse_kl":
        draft.change(
            "f_divergence_type", "another divergence to π_ref: q* is no exponential tilt of it"
        )
        draft.law = Law("other", why=f"f-divergence {s['f_divergence_type']}")
        draft.target, draft.no_target = None, "an f-divergence's target is no exponential tilt"
    if s["ld_alpha"] is not None:
        draft.change("ld_alpha", "tokens beyond the shorter answer weigh less: log π is no density")
    if s.flag("use_weighting"):
        draft.change("use_weighting", "pairs are weighted by π: other pairs count than were drawn")
    _reference(draft, s)
    draft.change(
        "max_length", "answers beyond it are cut: the density compared is that of a prefix"
    )


def _reference(draft: Draft, s: Settings) -> None:
    if s.flag("sync_ref_model"):
        draft.change(
            "sync_ref_model",
            f"π_ref follows the policy every {s['ref_model_sync_steps']} steps: sharpness "
            "compounds, no fixed law",
        )
        draft.law = Law("climbs", why="π_ref follows the policy")


def _pairs(s: Settings, method: str, version: str, target: Any) -> Draft:
    draft = Draft("trl", version, method, s, "preference_surrogate", target=target, updates=None)
    draft.proposal = PairsProposal(source="pairs")
    draft.target_family = "preference"
    if target is None and not draft.no_target:
        draft.no_target = "no KL coefficient: no finite target"
    draft.notes.append(
        "μ is the data set's unknown author: overlap cannot be computed without its log-probs"
    )
    return draft


def cpo(s: Settings, method: str, version: str) -> Draft:
    """CPOConfig; with ``loss_type=simpo`` and ``cpo_alpha=0`` it is SimPO."""
    draft = _pairs(s, method, version, None)
    draft.no_target = "no reference policy: nothing is tilted"
    kind = s["loss_type"]
    if kind == "simpo":
        draft.action = Preference(
            loss=SimPo(scale=s.number("beta"), margin=s.number("simpo_gamma"))
        )
        draft.said["loss"], draft.likely = s.said("loss_type"), ("simpo",)
    elif s.number("alpha"):
        draft.no_target = (
            f"{s.said('alpha')}: not in the algebra: AlphaPO's reward (1 − π^−α)/α is no log π"
        )
    else:
        draft.action = Preference(loss=_flat_loss(s, str(kind)))
        draft.said["loss"] = s.said("loss_type")
        draft.notes.append("scored without a reference: b is flat over strings of any length")
    if s.number("cpo_alpha"):
        draft.change("cpo_alpha", "adds the likelihood of the chosen answers: not SimPO alone")
    if s.number("label_smoothing") and kind == "sigmoid":
        draft.change("label_smoothing", "read as cDPO here, unlike in DPOConfig")
    draft.law = Law("climbs", why="no reference policy")
    return draft


def _flat_loss(s: Settings, kind: str) -> Any:
    """CPO's loss of a pair; log-ratios to a flat b are the log-probs themselves."""
    smooth = s.number("label_smoothing")
    logistic = ConservativeDpo(epsilon=smooth) if smooth else Dpo()
    known = {"sigmoid": logistic, "hinge": Hinge(), "ipo": Ipo(by_length=True)}
    return s.choice("loss_type", {**known, "simpo": None}) if kind != "simpo" else None


def orpo(s: Settings, method: str, version: str) -> Draft:
    """ORPOConfig: its ``beta`` is the weight λ of the odds, no KL coefficient."""
    draft = _pairs(s, method, version, None)
    draft.no_target = "no reference policy: nothing is tilted"
    draft.action = Preference(loss=OrPo(weight=coefficient(s, "beta")))
    draft.said["loss"], draft.likely = f"ORPO {s.said('beta')}", ("orpo",)
    draft.change("beta", "λ of the odds ratio, not a KL coefficient: 1/β is no sharpness")
    return draft


def kto(s: Settings, method: str, version: str) -> Draft:
    """KTOConfig."""
    draft = _pairs(s, method, version, preference_target(coefficient(s, "beta")))
    draft.likely, draft.proposal = ("kto",), DatasetProposal(source="dataset")
    if s["loss_type"] == "kto":
        draft.action = Preference(
            loss=Kto(
                desirable=s.number("desirable_weight"), undesirable=s.number("undesirable_weight")
            )
        )
        draft.said["loss"] = s.said("loss_type")
    else:
        draft.target, draft.no_target = None, why(str(s["loss_type"]), TRL_KTO, "loss_type")
    if s["desirable_weight"] != s["undesirable_weight"]:
        draft.change("desirable_weight", "weights the two kinds: moves the optimum, not its shape")
    _reference(draft, s)
    return draft


def sft(s: Settings, method: str, version: str) -> Draft:
    """SFTConfig: likelihood of the data."""
    draft = Draft("trl", version, method, s, "supervised", target=Data(), updates=None)
    draft.proposal = DatasetProposal(source="dataset")
    kind = s["loss_type"]
    draft.action = WeightedRegression(
        weights=Uniform(), aggregation=TokenMean(), by_probability=kind == "dft"
    )
    draft.likely = ("dft",) if kind == "dft" else ("sft",)
    if kind == "dft":
        draft.said["by_probability"] = s.said("loss_type")
    if s.flag("packing") and s["packing_strategy"] == "wrapped":
        draft.change("packing_strategy", "examples are cut across rows: continuations lose context")
    if s["completion_only_loss"] is False:
        draft.change("completion_only_loss", "prompts are fitted too: q̂_data of whole texts")
    draft.change("max_length", "examples beyond it are cut: the target is that of prefixes")
    return draft


def online_dpo(s: Settings, method: str, version: str) -> Draft:
    """OnlineDPOConfig: of two draws of the policy the one with the larger reward is chosen."""
    beta = coefficient(s, "beta")
    draft = _pairs(s, method, version, preference_target(beta))
    draft.notes = [
        f"two draws of π a prompt; labels are the larger {REWARD}, never a random choice"
    ]
    names = {name: name for name in ("temperature", "top_p", "top_k", "max_new_tokens")}
    drawn = proposal_of(s, names, s.whole("per_device_train_batch_size"), size=2)
    draft.proposal, draft.updates = drawn, 1
    losses = {"sigmoid": Dpo(), "ipo": Ipo(by_length=False)}
    draft.action = Preference(loss=s.choice("loss_type", losses))
    draft.said["loss"] = s.said("loss_type")
    draft.said |= {name: s.said(name) for name in ("temperature", "top_p", "top_k")}
    if s["loss_type"] == "sigmoid":
        draft.law = Law("climbs", why="labels are hard: their optimum is at infinity")
    if s["missing_eos_penalty"] is not None:
        draft.change("missing_eos_penalty", "U of cut answers is lowered: a second utility")
    if s["reward_weights"] is not None:
        draft.change("reward_weights", "U = Σ_k w_k U_k: pairs are ranked by the sum")
    draft.changes += cut_decoding(s)
    return draft


def distillation(s: Settings, method: str, version: str) -> Draft:
    """DistillationConfig: divergence over the vocabulary on the student's own rollouts."""
    return _distilled(s, method, version, 1.0, coefficient(s, "beta"))


def gkd(s: Settings, method: str, version: str) -> Draft:
    """GKDConfig: a share λ of student rollouts, a generalised JSD."""
    return _distilled(s, method, version, s.number("lmbda"), coefficient(s, "beta"))


def _distilled(s: Settings, method: str, version: str, share: float, beta: float) -> Draft:
    draft = Draft("trl", version, method, s, "on_policy_distillation", updates=1)
    draft.target, draft.target_family = Teacher(eta=1.0), "teacher"
    names = {0.0: "forward KL", 1.0: "reverse KL"}
    draft.notes.append(
        f"{names.get(beta, f'JSD at β = {beta:g}')} to the teacher, token by token over the "
        "vocabulary; the student's states are held fixed"
    )
    if 0.0 < beta < 1.0:
        draft.change("beta", "a JSD: the teacher is its optimum only if the student can be it")
    if share < 1.0:
        draft.change("lmbda", "a share 1 − λ of batches is the data's: μ is a mixture, off-policy")
    draft.said["temperature"] = s.said("temperature")
    longest = "max_completion_length" if "max_completion_length" in s.defaults else "max_new_tokens"
    drawn = {
        "prompts": s.whole("per_device_train_batch_size"),
        "size": 1,
        "temperature": s.number("temperature"),
        "max_new_tokens": s.whole(longest),
    }
    draft.proposal = Proposal(source="old", **drawn)
    if share < 1.0:
        draft.proposal = AlternatingProposal(source="alternating", on_policy=share, **drawn)
    draft.action = NoCredit()
    divergence = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(beta, "jsd")
    inner = {"beta": beta} if divergence == "jsd" else {}
    draft.auxiliary = Auxiliary.model_validate(
        {"distillation": {"divergence": divergence, **inner}}
    )
    draft.likely = ("gkd", "opd_full", "opd")
    return draft
