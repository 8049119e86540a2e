"""Run verl's own functions on random ragged batches and keep what they say.

    python tests/operators/against_verl/verl_values.py

writes ``values.npz`` beside this file: inputs, and of every case the advantages, the loss, and
−∂L/∂log π of every token. The tests compare with these numbers, so they need no verl. What verl's
functions import is heavy (ray), and verl 0.9.1 asks for older transformers than ours, so it is
installed by hand, in its own environment, beside torch, transformers and numpy:

    pip install --no-deps verl==0.9.1 ray==2.60.0 tensordict==0.10.0 omegaconf==2.4.0 \
        antlr4-python3-runtime==4.9.3 codetiming==1.4.0 cloudpickle==3.1.2 msgpack==1.2.4 \
        protobuf==7.36.2 pyvers==0.2.3 requests==2.34.2 urllib3==2.8.0 certifi==2026.10.18
"""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("values.npz")
SEEDS = (0, 1)
WIDTH = 40
"""Columns of a padded response."""


@dataclass(frozen=True)
class Draw:
    """Candidates in contexts of unequal sizes, tokens with holes (a tool's tokens) between them."""

    contexts: np.ndarray
    lengths: np.ndarray
    columns: np.ndarray
    log_policy: np.ndarray
    log_old: np.ndarray
    log_ref: np.ndarray
    log_mu: np.ndarray
    reward: np.ndarray
    greedy: np.ndarray
    values: np.ndarray
    new_values: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Sequence of every token."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def last(self) -> np.ndarray:
        """Index of the last token of every sequence."""
        return np.cumsum(self.lengths) - 1


def make_draw(seed: int) -> Draw:
    """Skewed lengths and rewards; drifts on which every bound of the cases acts."""
    rng = np.random.default_rng(100 + seed)
    contexts = np.array([4, 2, 5, 3, 6])
    lengths = np.minimum(1 + rng.geometric(0.2, contexts.sum()), WIDTH // 2)
    columns = np.concatenate([np.sort(rng.permutation(2 * n)[:n]) for n in lengths])
    tokens = len(columns)
    old = -rng.gamma(1.5, 0.8, tokens) - 0.01
    reward = rng.exponential(1.0, len(lengths)) ** 2
    reward[:4] = 0.3  # a context without a signal
    values = rng.standard_normal(tokens)
    return Draw(
        contexts,
        lengths,
        columns,
        np.minimum(old + 0.5 * (rng.gamma(2.0, 1.0, tokens) - 1.8), -1e-3),
        old,
        np.minimum(old + 0.4 * rng.standard_normal(tokens), -1e-3),
        np.minimum(old + 0.25 * rng.standard_normal(tokens), -1e-3),
        reward,
        rng.exponential(1.0, len(lengths)),
        values,
        values + 0.4 * rng.standard_normal(tokens),
    )


def lone(draw: Draw) -> Draw:
    """The same candidates, the first one alone in its context."""
    return replace(draw, contexts=np.array([1, *draw.contexts[1:-1], draw.contexts[-1] + 3]))


def far(draw: Draw) -> Draw:
    """A reference, and a policy's first token, so far off that verl's clamps act."""
    policy, ref = draw.log_policy.copy(), draw.log_ref.copy()
    policy[0] = draw.log_old[0] - 25.0
    ref[::3] = draw.log_policy[::3] + 3.0
    return replace(draw, log_policy=policy, log_ref=ref)


PPO = {"loss_mode": "vanilla", "estimator": "gae", "gamma": 1.0, "lam": 0.95}
KEPT = {"kept_denominators": True}
SEQ = {"loss_agg_mode": "seq-mean-token-mean"}
OPEN = {"clip_ratio_c": 1e9}

CASES: dict[str, dict[str, Any]] = {
    "grpo": SEQ,
    "grpo, no dual clip": {**SEQ, **OPEN},
    "grpo, vectorized": {**SEQ, "estimator": "grpo_vectorized"},
    "dr_grpo": {
        "loss_agg_mode": "seq-mean-token-sum-norm",
        "loss_scale_factor": 24,
        "norm_adv_by_std_in_grpo": False,
        **OPEN,
    },
    "dr_grpo, length left unset": {
        "loss_agg_mode": "seq-mean-token-sum-norm",
        "norm_adv_by_std_in_grpo": False,
        **OPEN,
    },
    "dapo": {"clip_ratio_high": 0.28, **OPEN},
    "token sum": {"loss_agg_mode": "token-sum", **OPEN},
    "sequence sum": {"loss_agg_mode": "seq-mean-token-sum", **OPEN},
    "gspo": {**SEQ, "loss_mode": "gspo", "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4},
    "gspo, wide": {**SEQ, "loss_mode": "gspo"},
    "gspo, token mean": {"loss_mode": "gspo"},
    "sapo": {**SEQ, "loss_mode": "sapo"},
    "sapo, other temperatures": {"loss_mode": "sapo", "tau_pos": 0.7, "tau_neg": 2.0},
    "cispo": {"loss_mode": "cispo", "clip_ratio_high": 0.28},
    "cispo, no floor": {"loss_mode": "cispo", "clip_ratio_low": 1.0, "clip_ratio_high": 4.0},
    "gmpo": {"loss_mode": "geo_mean", "clip_ratio_low": 0.4, "clip_ratio_high": 0.4},
    "gpg": {"loss_mode": "gpg", "estimator": "gpg"},
    "rloo": {"estimator": "rloo"},
    "rloo, vectorized": {"estimator": "rloo_vectorized"},
    "remax": {"estimator": "remax"},
    "reinforce++": {"estimator": "reinforce_plus_plus", "kl_in_reward": 0.05, "gamma": 0.9},
    "reinforce++, baseline": {"estimator": "reinforce_plus_plus_baseline"},
    "ppo": PPO,
    "ppo, kl in the reward": {**PPO, "kl_in_reward": 0.1, "gamma": 0.97},
    "kl k1": {**SEQ, "kl": "kl"},
    "kl k2": {**SEQ, "kl": "mse"},
    "kl k3": {**SEQ, "kl": "low_var_kl"},
    "kl k3, token mean": {"kl": "k3"},
    "kl k3+": {**SEQ, "kl": "k3+"},
    "kl k1+": {**SEQ, "kl": "k1+"},
    "tis": {**SEQ, "rollout_is": "token", "rollout_is_threshold": 2.0},
    "tis, cap 1.1": {**SEQ, "rollout_is": "token", "rollout_is_threshold": 1.1},
    "icepop": {**SEQ, "rollout_is": "token", "rollout_is_threshold": "0.8_1.2"},
    "sequence tis": {"rollout_is": "sequence", "rollout_is_threshold": 1.2},
    "mis": {"rollout_is": "sequence", "rollout_is_threshold": "0.6_1.5", "loss_mode": "gspo"},
    "rejection by sequence": {"rs": "seq_sum_k1", "rs_threshold": "0.5_1.4", **KEPT},
    "rejection by sequence, shrunk": {"rs": "seq_sum_k1", "rs_threshold": "0.5_1.4"},
    "rejection by mean": {**SEQ, "rs": "seq_mean_k1", "rs_threshold": "0.92_1.05", **KEPT},
    "mean rejection times tis": {
        "rs": "seq_mean_k1",
        "rs_threshold": "0.92_1.05",
        **KEPT,
        "rollout_is": "token",
        "rollout_is_threshold": 1e6,
    },
    "token rejection times tis": {
        "rs": "token_k1",
        "rs_threshold": "0.8_1.25",
        **KEPT,
        "rollout_is": "token",
        "rollout_is_threshold": 1e6,
    },
    "bypass, reinforce": {"loss_mode": "bypass_mode", "bypass": "reinforce"},
    "bypass, ppo": {"loss_mode": "bypass_mode", "bypass": "ppo_clip"},
    "distillation k1": {"distil": "k1", **OPEN},
    "lone candidate, grpo": {**SEQ, "draw": "lone"},
    "lone candidate, rloo": {**SEQ, "draw": "lone", "estimator": "rloo"},
    "lone candidate, rloo vectorized": {**SEQ, "draw": "lone", "estimator": "rloo_vectorized"},
    "dropped sequences": {**SEQ, "dropped": 3},
    "clamps": {**SEQ, "draw": "far", "kl": "k3"},
}
"""By name: what a user of verl would set; functions read the rest at their defaults."""


class Run:
    """One case on one draw, by verl's code."""

    def __init__(self, draw: Draw, case: dict[str, Any]) -> None:
        import torch

        self.torch, self.case = torch, case
        self.draw = {"lone": lone, "far": far}.get(case.get("draw", ""), lambda d: d)(draw)
        self.mask = self.padded(np.ones(len(draw.columns)))
        if case.get("dropped"):
            self.mask[:: case["dropped"]] = 0.0
        self.leaf = self.padded(self.draw.log_policy).requires_grad_()
        self.old = self.padded(self.draw.log_mu if "bypass" in case else self.draw.log_old)
        self.ref = self.padded(self.draw.log_ref)

    def padded(self, x: np.ndarray) -> Any:
        table = self.torch.full((len(self.draw.lengths), WIDTH), 0.0, dtype=self.torch.float64)
        table[self.draw.rows, self.draw.columns] = self.torch.from_numpy(np.asarray(x, float))
        return table

    def compact(self, table: Any) -> np.ndarray:
        found = table.detach().numpy()
        return np.asarray(found[self.draw.rows, self.draw.columns], np.float64)

    def advantages(self) -> dict[str, Any]:
        """Of verl's estimator, and the returns that a critic would learn."""
        from verl.trainer.config import AlgoConfig
        from verl.trainer.ppo import core_algos

        case, draw = self.case, self.draw
        if "distil" in case:
            found = -core_algos.kl_penalty(self.leaf, self.ref, case["distil"]).detach()
            return {"advantages": found, "returns": found}
        scores = np.zeros(len(draw.columns))
        scores[draw.last] = draw.reward
        rewards = self.padded(scores)
        if "kl_in_reward" in case:
            beta = case["kl_in_reward"]
            rewards = core_algos.compute_rewards(rewards, self.old, self.ref, beta) * self.mask
        name = case.get("estimator", "grpo")
        given: dict[str, Any] = {"token_level_rewards": rewards, "response_mask": self.mask}
        if name == "gae":
            values = self.padded(draw.values)
            given |= {"values": values, "gamma": case["gamma"], "lam": case["lam"]}
        elif name == "remax":
            given["reward_baselines"] = self.torch.from_numpy(draw.greedy)
        else:
            given["index"] = np.repeat(np.arange(len(draw.contexts)), draw.contexts)
            given["config"] = AlgoConfig(gamma=case.get("gamma", 1.0))
        if "norm_adv_by_std_in_grpo" in case:
            given["norm_adv_by_std_in_grpo"] = case["norm_adv_by_std_in_grpo"]
        advantages, returns = core_algos.get_adv_estimator_fn(name)(**given)
        return {"advantages": advantages, "returns": returns}

    def config(self) -> Any:
        """The actor's configuration."""
        from verl.workers.config import ActorConfig, PolicyLossConfig

        policy_loss = PolicyLossConfig(loss_mode=self.case.get("loss_mode", "vanilla"))
        if "bypass" in self.case:
            chosen = {"loss_type": self.case["bypass"], "rollout_is": "token"}
            policy_loss = SimpleNamespace(get=lambda *_: chosen, rollout_correction=chosen)
        names = {f.name for f in fields(ActorConfig)} - {"policy_loss"}
        given = {k: v for k, v in self.case.items() if k in names}
        config = ActorConfig(
            strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=1, use_dynamic_bsz=True,
            policy_loss=policy_loss, **given,
        )  # fmt: skip
        config.global_batch_info["loss_scale_factor"] = config.loss_scale_factor
        if self.case.get("kept_denominators"):
            config.global_batch_info["batch_num_tokens"] = int(self.mask.sum())
            config.global_batch_info["global_batch_size"] = len(self.draw.lengths)
        return config

    def correction(self) -> tuple[Any, Any]:
        """Weights of the sampler's mismatch, and the mask after a rejection."""
        from verl.trainer.ppo.rollout_corr_helper import (
            compute_rollout_correction_weights,
            compute_rollout_rejection_mask,
        )

        gap, case = self.old - self.padded(self.draw.log_mu), self.case
        weights, mask = None, self.mask
        if "rollout_is" in case:
            level, bound = case["rollout_is"], case["rollout_is_threshold"]
            weights, _ = compute_rollout_correction_weights(gap, mask, level, bound)
        if "rs" in case:
            mask, _ = compute_rollout_rejection_mask(gap, mask, case["rs"], case["rs_threshold"])
        return weights, mask

    def result(self) -> dict[str, Any]:
        """Advantages, loss and −∂L/∂log π, tokens compact."""
        from verl.trainer.ppo import core_algos

        found, config = self.advantages(), self.config()
        weights, mask = self.correction()
        loss, _ = core_algos.get_policy_loss_fn(self.case.get("loss_mode", "vanilla"))(
            old_log_prob=self.old,
            log_prob=self.leaf,
            advantages=found["advantages"],
            response_mask=mask,
            loss_agg_mode=config.loss_agg_mode,
            config=config,
            rollout_is_weights=weights,
        )
        if "kl" in self.case:
            matrix = core_algos.kl_penalty(self.leaf, self.ref, self.case["kl"])
            mode, info = config.loss_agg_mode, config.global_batch_info
            loss = loss + 0.04 * core_algos.agg_loss(matrix, mask, mode, **info)
        loss.backward()
        named = {name: self.compact(table) for name, table in found.items()}
        return {**named, "loss": float(loss.detach()), "gradient": -self.compact(self.leaf.grad)}


def value_loss(draw: Draw) -> dict[str, Any]:
    """verl's clipped value loss on the returns of GAE, and its slope."""
    from verl.trainer.ppo.core_algos import compute_value_loss

    run = Run(draw, PPO)
    returns = run.advantages()["returns"]
    leaf = run.padded(draw.new_values).requires_grad_()
    loss, _ = compute_value_loss(leaf, returns, run.padded(draw.values), run.mask, 0.2)
    loss.backward()
    return {"loss": float(loss.detach()), "gradient": run.compact(leaf.grad)}


def top_k(seed: int, clamp: float | None) -> dict[str, Any]:
    """verl's forward KL on the teacher's top 3 of 7 tokens, and its slope in the logits."""
    import torch
    from verl.trainer.distillation.fsdp.losses import compute_forward_kl_topk

    rng = np.random.default_rng(seed)
    student, teacher = 2.0 * rng.standard_normal((2, 6, 7)) + 4.0 * rng.standard_normal((2, 6, 7))
    leaf = torch.from_numpy(student)[None].requires_grad_()
    log_p, ids = torch.log_softmax(torch.from_numpy(teacher), -1).topk(3)
    nested = [torch.nested.as_nested_tensor([x], layout=torch.jagged) for x in (log_p, ids)]
    config = SimpleNamespace(
        distillation_loss=SimpleNamespace(use_chunked_topk=False, log_prob_min_clamp=clamp)
    )
    found = compute_forward_kl_topk(leaf, *nested, config, "thd")["distillation_losses"][0]
    found.sum().backward()
    names = ("student", "teacher", "loss", "gradient")
    return dict(zip(names, (student, teacher, found.detach().numpy(), leaf.grad[0].numpy())))  # noqa: B905


def everything() -> dict[str, np.ndarray]:
    """All inputs and outputs by name."""
    import torch

    torch.set_default_dtype(torch.float64)
    kept: dict[str, Any] = {}
    for seed in SEEDS:
        draw = make_draw(seed)
        kept |= {f"{seed}/draw/{f.name}": getattr(draw, f.name) for f in fields(Draw)}
        for name, case in CASES.items():
            found = Run(draw, case).result()
            kept |= {f"{seed}/{name}/{k}": v for k, v in found.items() if k != "returns"}
        kept |= {f"{seed}/value loss/{k}": v for k, v in value_loss(draw).items()}
        for clamp in (None, -10.0):
            name = "top k" if clamp is None else "top k, clamped"
            kept |= {f"{seed}/{name}/{k}": v for k, v in top_k(seed, clamp).items()}
    return {name: np.asarray(x) for name, x in kept.items()}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FILE)
    np.savez_compressed(parser.parse_args().output, **everything())


if __name__ == "__main__":
    main()
