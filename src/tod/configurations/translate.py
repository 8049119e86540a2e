"""The same triple written for another framework, with what that one cannot express."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any, Literal

import yaml
from pydantic import ValidationError

import tod.operators as op
from tod.atlas.compare import ProcedureComparison, ProcedureDifference, Side, compare
from tod.base import SpecError
from tod.base.errors import InvalidSpec
from tod.configurations.carried import carried
from tod.configurations.locate import reader, side
from tod.configurations.point import Located
from tod.configurations.recognise import ConfigurationFile, Framework
from tod.configurations.toward import toward_settings
from tod.procedure import Procedure

__all__ = ["Language", "Translation", "translate"]

Language = Literal["trl", "verl", "tod"]
A = "actor_rollout_ref.actor."
R = "actor_rollout_ref.rollout."
NEVER = 1e9
"""A bound that no ratio reaches: how a cap that is not wanted is written."""


@dataclass(frozen=True)
class Translation:
    """A configuration for another framework.

    Attributes:
        to: Which framework.
        method: Its configuration class or program.
        text: The file: YAML for TRL and ours, a command for verl.
        same_target: What comparing both files says of their targets.
        cannot: Parts that the framework has no setting for: as here, and as it comes out there.
        carried: Settings outside the triple that were written over: here, and there.
        dropped: Settings of the file outside the triple that are not in what was written, with
            their values: models, data, rates; yours to write again.
    """

    to: Language
    method: str
    text: str
    same_target: str
    cannot: tuple[ProcedureDifference, ...]
    carried: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)


def translate(located: Located, to: Language) -> Translation:
    """A located configuration, written for another framework.

    Settings are written part by part, the written file is located, and where its law is another
    one the settings that decide the law are searched (`tod.configurations.toward`). What is left
    apart when both are compared is what cannot be expressed: it is read off the written file, not
    off a list.

    Args:
        located: What to write.
        to: ``trl``, ``verl`` or ``tod``.

    Raises:
        SpecError: Something that decides is unknown, the action has no composition, or the
            framework has no method of its kind.
    """
    if located.undetermined or located.operator is None or located.open:
        why = ", ".join([*located.undetermined, *sorted(located.open)]) or located.notes[0]
        raise SpecError(f"what is not known cannot be translated: {why}.")
    here, outside = side(located), carried(located, to)
    if to == "tod":
        made = _ours(located, here, outside.values)
    else:
        tried = [
            _written(here, to, method, {**written, **outside.values})
            for method, written in _WRITERS[to](located)
        ]
        made = next((one for one in tried if one.same_target == "yes"), tried[0])
    return replace(made, carried=outside.names, dropped=outside.dropped)


def _written(here: Side, to: Language, method: str, written: dict[str, Any]) -> Translation:
    """Settings near to what is written whose law is that of a side, as a file."""
    values = _near_law(here, to, method, written)
    made = compare(here, side(_read(to, method, values)))
    return Translation(to, method, _TEXTS[to](method, values), made.same_target, _left(made))


def _left(made: ProcedureComparison) -> tuple[ProcedureDifference, ...]:
    """What a comparison leaves apart, names aside."""
    return tuple(row for row in made.differences if row.part != "proposal.utility")


def _near_law(here: Side, to: Language, method: str, written: dict[str, Any]) -> dict[str, Any]:
    """The written settings, or those with the fewest changes that share the law."""
    there = side(_read(to, method, written))
    if not here.law.finite or compare(here, there).same_target == "yes":
        return written
    file = ConfigurationFile(_framework(to), written, *_named(to, method))
    found = toward_settings(here, file, method)
    if found.changes is None:
        return written
    return {**written, **{name: new for name, (_, new) in found.changes.items()}}


def _read(to: Language, method: str, values: Mapping[str, Any]) -> Located:
    try:
        return reader(ConfigurationFile(_framework(to), values, *_named(to, method)), to)
    except (InvalidSpec, ValidationError) as error:
        raise SpecError(f"{to}: {error}") from None


def _framework(to: Language) -> Framework:
    return "tod" if to == "tod" else to


def _named(to: Language, method: str) -> tuple[str | None, str | None]:
    """Method and program of a file, as its framework's reader takes them."""
    return (method, None) if to == "trl" else (None, method)


def _ours(located: Located, here: Side, outside: Mapping[str, Any]) -> Translation:
    """A recipe of ours: the triple as it stands."""
    procedure = located.procedure or _lawless(located)
    data = {
        "name": (located.recipe or located.method).split(":")[0].strip(),
        "target": procedure.target.model_dump(mode="json", exclude_none=True),
        "operator": procedure.operator.model_dump(mode="json", exclude_none=True),
    }
    train = {name.removeprefix("train."): value for name, value in outside.items()}
    if located.updates is not None:
        train = {"updates_per_batch": located.updates, **train}
    if train:
        data["train"] = train
    made = compare(here, side(reader(ConfigurationFile("tod", data), "tod")))
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return Translation("tod", "recipe", text, made.same_target, _left(made))


def _lawless(located: Located) -> Procedure:
    """A triple for what has no finite target: the reward at the policy itself."""
    if located.operator is None:
        raise SpecError("what has no composition cannot be translated.")
    target = {"kind": "tilt", "anchor": {"old": 1.0}, "tilts": [{"utility": "reward", "eta": 1.0}]}
    return Procedure.parse({"target": target, "operator": located.operator.model_dump(mode="json")})


def _gradient(located: Located, to: str) -> op.PolicyGradient:
    """The policy gradient of a configuration.

    Raises:
        SpecError: It has another action.
    """
    action = None if located.operator is None else located.operator.action
    if not isinstance(action, op.PolicyGradient):
        kind = "nothing" if action is None else action.kind.replace("_", " ")
        raise SpecError(f"{kind} is not written for {to}; policy gradients and pairs are.")
    return action


def _beta(located: Located) -> float:
    """The weight of the KL: one over the law's sharpness."""
    etas = list(located.law.etas.values())
    return 1.0 / etas[0] if located.law.finite and len(etas) == 1 and etas[0] > 0 else 0.0


def _trl(located: Located) -> list[tuple[str, dict[str, Any]]]:
    """GRPOConfig, and RLOOConfig, whose KL is a reward; that one first for sums of sequences."""
    operator = located.operator
    if operator is not None and isinstance(operator.action, op.Preference):
        return [("DPOConfig", _trl_pairs(operator.action, located))]
    action = _gradient(located, "TRL")
    region, drawn = action.trust_region, {**_trl_drawn(located), "beta": _beta(located)}
    low, high = getattr(region, "low", NEVER), getattr(region, "high", NEVER)
    rloo = ("RLOOConfig", {**drawn, "epsilon": low, "epsilon_high": high})
    grpo = ("GRPOConfig", {**drawn, **_trl_grpo(action, operator)})
    return [rloo, grpo] if action.level == "sequence_sum" else [grpo, rloo]


def _trl_grpo(action: op.PolicyGradient, operator: op.Operator | None) -> dict[str, Any]:
    region = action.trust_region
    values = {**_trl_region(region, action.aggregation), **_trl_correction(action.correction)}
    scale = {"group_zscore": "group", "batch_zscore": "batch"}.get(action.advantage.kind, "none")
    values["scale_rewards"] = scale
    if action.level == "sequence_mean":
        values["importance_sampling_level"] = "sequence"
    if isinstance(action.pull, op.KLPull):
        values["use_bias_correction_kl"] = action.pull.importance
    entropy = operator.auxiliary.entropy if operator is not None else None
    if entropy is not None:
        values["entropy_coef"] = entropy.weight
    return values


def _trl_correction(correction: op.CorrectionSpec | None) -> dict[str, Any]:
    """Weights of the sampler's mismatch, which TRL knows of vLLM alone."""
    modes: dict[type, str] = {
        op.TokenTruncation: "token_truncate",
        op.TokenMask: "token_mask",
        op.SequenceTruncation: "sequence_truncate",
        op.SequenceMask: "sequence_mask",
    }
    mode = modes.get(type(correction))
    if mode is None:
        return {}
    high = getattr(correction, "cap", None) or getattr(correction, "high", None)
    low = getattr(correction, "floor", None) or getattr(correction, "low", None)
    values = {"use_vllm": True, "vllm_importance_sampling_mode": mode}
    bounds = {
        "vllm_importance_sampling_clip_max": high,
        "vllm_importance_sampling_clip_min": low,
    }
    return {**values, **{name: x for name, x in bounds.items() if x is not None}}


def _trl_drawn(located: Located) -> dict[str, Any]:
    """K, decoding and updates."""
    proposal = located.operator.proposal if located.operator is not None else op.Proposal()
    return {
        "num_generations": proposal.size,
        "max_completion_length": proposal.max_new_tokens,
        "temperature": proposal.temperature,
        "top_p": 1.0 if proposal.top_p is None else proposal.top_p,
        "top_k": proposal.top_k or 0,
        **_trl_batches(located, proposal.prompts, proposal.size),
    }


def _trl_batches(located: Located, prompts: int, size: int) -> dict[str, Any]:
    """Batches and updates on one process: a prompt's rollouts a step, mini-batches as windows.

    TRL generates once in ``steps_per_generation · num_iterations`` steps and makes an update every
    ``gradient_accumulation_steps``: their ratio cuts the batch, the iterations repeat it.
    """
    passes, cuts = _passes(located)
    window = max(1, prompts // cuts)
    return {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": window,
        "steps_per_generation": window * cuts,
        "num_iterations": passes,
    }


def _passes(located: Located) -> tuple[int, int]:
    """How often each rollout is used, and into how many mini-batches the batch is cut."""
    updates = located.updates or 1
    passes = 1 if located.passes is None or updates % located.passes else located.passes
    return passes, updates // passes


def _trl_region(region: op.TrustRegionSpec, aggregation: op.AggregationSpec) -> dict[str, Any]:
    """Loss type and widths: TRL's loss type is a trust region and a reduction at once."""
    loss = {"sequence_mean_token_mean": "grpo", "constant": "dr_grpo"}.get(aggregation.kind, "dapo")
    if isinstance(region, op.SoftGate):
        gates = {"sapo_temperature_pos": region.tau_pos, "sapo_temperature_neg": region.tau_neg}
        return {"loss_type": "sapo", **gates}
    if isinstance(region, op.Truncate) and region.cap is not None and region.cap > 1.0:
        return {"loss_type": "cispo", "epsilon_high": region.cap}
    low, high = getattr(region, "low", None), getattr(region, "high", None)
    if low is None or high is None:
        return {"loss_type": loss, "epsilon": NEVER, "epsilon_high": NEVER}
    values = {"loss_type": loss, "epsilon": low, "epsilon_high": high}
    if isinstance(region, op.DualClip) and region.cap >= 1.0 + high:
        values["delta"] = region.cap
    return values


def _trl_pairs(action: op.Preference, located: Located) -> dict[str, Any]:
    kind = action.loss.kind
    names = {"dpo": "sigmoid", "ipo": "ipo", "hinge": "hinge", "exo": "exo_pair", "nca": "nca_pair"}
    smoothed = {"cdpo": "sigmoid", "robust_dpo": "robust"}
    if kind not in {**names, **smoothed}:
        raise SpecError(f"{kind}: TRL's DPOConfig has no loss of that kind.")
    beta = getattr(located.target, "beta", None)
    values: dict[str, Any] = {"loss_type": {**names, **smoothed}[kind]}
    if beta:
        values["beta"] = beta
    epsilon = getattr(action.loss, "epsilon", 0.0)
    return {**values, "label_smoothing": epsilon} if epsilon else values


def _verl(located: Located) -> list[tuple[str, dict[str, Any]]]:
    action = _gradient(located, "verl")
    proposal = located.operator.proposal if located.operator is not None else op.Proposal()
    passes, cuts = _passes(located)
    values: dict[str, Any] = {
        **_verl_advantage(action.advantage),
        **_verl_loss(action),
        "data.train_batch_size": proposal.prompts,
        A + "ppo_mini_batch_size": max(1, proposal.prompts // cuts),
        A + "ppo_epochs": passes,
        "data.max_response_length": proposal.max_new_tokens,
        R + "n": proposal.size,
        R + "temperature": proposal.temperature,
        R + "top_p": 1.0 if proposal.top_p is None else proposal.top_p,
        R + "top_k": proposal.top_k or -1,
        **_verl_pull(action.pull, _beta(located)),
        **_verl_correction(action.correction),
    }
    entropy = located.operator.auxiliary.entropy if located.operator is not None else None
    if entropy is not None:
        values[A + "entropy_coeff"] = entropy.weight
    return [("verl.trainer.main_ppo", values)]


def _verl_correction(correction: op.CorrectionSpec | None) -> dict[str, Any]:
    """Weights of the sampler's mismatch: by token or by sequence, a cap or two bounds."""
    name = "algorithm.rollout_correction.rollout_is"
    truncated = isinstance(correction, op.TokenTruncation | op.SequenceTruncation)
    masked = isinstance(correction, op.TokenMask | op.SequenceMask)
    if correction is None or not (truncated or masked):
        return {}
    level = "token" if isinstance(correction, op.TokenTruncation | op.TokenMask) else "sequence"
    low = getattr(correction, "low", None)
    high = getattr(correction, "cap" if truncated else "high", None)
    return {name: level, f"{name}_threshold": high if low is None else f"{low}_{high}"}


def _verl_advantage(advantage: op.AdvantageSpec) -> dict[str, Any]:
    name = "algorithm.adv_estimator"
    if isinstance(advantage, op.LeaveOneOut):
        return {name: "rloo"}
    if isinstance(advantage, op.LengthWeightedMean):
        return {name: "opo"}
    if isinstance(advantage, op.Gae):
        return {
            name: "gae",
            "algorithm.gamma": advantage.discount,
            "algorithm.lam": advantage.trace,
        }
    if isinstance(advantage, op.ReturnToGo):
        grouped = isinstance(advantage.baseline, op.GroupMean)
        own = "reinforce_plus_plus" + ("_baseline" if grouped else "")
        return {name: own, "algorithm.gamma": advantage.discount}
    scored = "zscore" in advantage.kind
    return {name: "grpo", "algorithm.norm_adv_by_std_in_grpo": scored}


def _verl_loss(action: op.PolicyGradient) -> dict[str, Any]:
    """Mode of the loss, widths and reduction."""
    region, aggregation = action.trust_region, action.aggregation
    names = {
        "sequence_mean_token_mean": "seq-mean-token-mean",
        "sequence_mean_token_sum": "seq-mean-token-sum",
        "constant": "seq-mean-token-sum-norm",
    }
    values: dict[str, Any] = {A + "loss_agg_mode": names.get(aggregation.kind, "token-mean")}
    if isinstance(aggregation, op.ConstantLength):
        values[A + "loss_scale_factor"] = aggregation.length
    if isinstance(region, op.SoftGate):
        gates = {A + "tau_pos": region.tau_pos, A + "tau_neg": region.tau_neg}
        return {**values, A + "policy_loss.loss_mode": "sapo", **gates}
    if isinstance(region, op.Truncate) and region.cap is not None and region.cap > 1.0:
        low = 1.0 if region.floor is None else 1.0 - region.floor
        widths = {A + "clip_ratio_low": low, A + "clip_ratio_high": region.cap - 1.0}
        return {**values, A + "policy_loss.loss_mode": "cispo", **widths}
    if isinstance(region, op.Truncate) and region.cap == region.floor == 1.0:  # no ratio
        return {**values, A + "policy_loss.loss_mode": "gpg"}
    low, high = getattr(region, "low", NEVER), getattr(region, "high", NEVER)
    values |= {A + "clip_ratio_low": low, A + "clip_ratio_high": high}
    if action.level == "sequence_mean":
        return {**values, A + "policy_loss.loss_mode": "gspo"}
    cap = region.cap if isinstance(region, op.DualClip) else NEVER
    return {**values, A + "clip_ratio_c": cap}


def _verl_pull(pull: object, beta: float) -> dict[str, Any]:
    if not beta:
        return {A + "use_kl_loss": False, "algorithm.use_kl_in_reward": False}
    if isinstance(pull, op.KLPull) and pull.place == "loss":
        kind = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}[pull.kind]
        return {
            A + "use_kl_loss": True,
            A + "kl_loss_coef": beta,
            A + "kl_loss_type": kind,
        }
    return {"algorithm.use_kl_in_reward": True, "algorithm.kl_ctrl.kl_coef": beta}


def _trl_text(method: str, values: Mapping[str, Any]) -> str:
    one = "steps_per_generation" in values
    batches = (
        "# batches are those of one process: of P, divide gradient_accumulation_steps and\n"
        "# steps_per_generation by P\n"
    )
    return f"# {method} of TRL\n{batches * one}" + yaml.safe_dump(dict(values), sort_keys=False)


def _verl_text(method: str, values: Mapping[str, Any]) -> str:
    words = " \\\n".join(f"  {name}={_word(value)}" for name, value in values.items())
    return f"#!/bin/sh\npython3 -m {method} \\\n{words}\n"


def _word(value: Any) -> str:
    return "null" if value is None else quote(str(value))


Writer = Callable[[Located], list[tuple[str, dict[str, Any]]]]
_WRITERS: dict[str, Writer] = {"trl": _trl, "verl": _verl}
_TEXTS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {"trl": _trl_text, "verl": _verl_text}
