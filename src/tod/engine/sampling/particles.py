"""Answers that are drawn together and resampled while unfinished: sequential Monte Carlo.

Rows of the key-value cache are permuted with the particles. A particle that has ended keeps its
weight and draws nothing; its row stays in the batch, since it may have children.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tod.base import Groups, ModelError
from tod.base.uniforms import row_keys, uniforms
from tod.engine.models import plain
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.batching import Wanted, fitting_rows
from tod.engine.sampling.native import Decoding
from tod.engine.sampling.next_logits import evaluating
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.processors import next_tokens
from tod.engine.sampling.sampler_path import sampler_path
from tod.operators import SequentialMonteCarlo, incremental_log_weight
from tod.procedure import ParticleWeights

RESAMPLING_SEED = 49_979_687
"""Added to the run's seed: the uniforms that ancestors are drawn by."""

Twister = Callable[[Rollouts, Int[np.ndarray, " c"]], Float[np.ndarray, " n"]]
"""log ψ of unfinished answers, [n], nats, of the prompts with these places in the list."""


@dataclass(frozen=True)
class ParticleDraws:
    """Particles at the end, before the target's own weight.

    Attributes:
        rollouts: Their tokens, with log μ of each as it was drawn.
        log_gain: log ψ_s − log Ẑ_s of each particle at the last resampling s of its prompt, [N],
            nats; 0 where there was none. Added to Σ log μ it is the density after resampling.
        log_z: log Ẑ_s of every prompt up to there, [C], nats.
        resampled: How often each prompt was resampled, [C].
        ess_rel: ESS_rel of every prompt at every weighing, before resampling, [S, C]; NaN where a
            prompt has no positive weight, or its answers had all ended.
        drawn: Tokens that were drawn, those of particles without children too.
    """

    rollouts: Rollouts
    log_gain: Float[np.ndarray, " N"]
    log_z: Float[np.ndarray, " C"]
    resampled: Int[np.ndarray, " C"]
    ess_rel: Float[np.ndarray, "S C"]
    drawn: int


def sample_particles(
    model: Any,
    prompts: Sequence[Int[np.ndarray, " P"]],
    size: int,
    rule: SequentialMonteCarlo,
    twist: Twister,
    *,
    params: SamplingParams,
    pad_id: int,
    eos_ids: Sequence[int],
    seed: int,
    step: int,
    context_ids: Int[np.ndarray, " C"],
) -> ParticleDraws:
    """Draw K particles for each of C prompts, weighed and resampled every ``rule.every`` tokens.

    A token's random number is keyed by (seed, step, prompt, place of the particle, position), so
    that without resampling these are the draws of `sample`.

    Raises:
        ModelError: The model's cache cannot be permuted, or its logits are not finite.
    """
    model = plain(model)
    way, why = sampler_path(model)
    if way != "native":
        raise ModelError(
            f"smc permutes rows of the model's cache while it draws, and this model is sampled "
            f"through generate(): {why}. Use `resample`, which weighs finished answers."
        )
    prompts = tuple(np.asarray(prompt, dtype=np.int64) for prompt in prompts)
    longest = max(len(prompt) for prompt in prompts)
    many = max(1, fitting_rows(model, longest + params.max_new_tokens) // size)
    parts = []
    for start in range(0, len(prompts), many):
        at = np.arange(start, min(start + many, len(prompts)))
        keys = row_keys(seed, step, context_ids[at][:, None], np.arange(size)[None]).ravel()
        coins = row_keys(
            seed + RESAMPLING_SEED, step, context_ids[at][:, None], np.arange(size)[None]
        )
        chosen = [prompts[int(i)] for i in at]
        owner = np.repeat(np.arange(len(at)), size)
        wanted = Wanted(chosen, owner, keys, params, pad_id, eos_ids)
        with evaluating(model):
            parts.append(_Particles(model, wanted, size, rule, twist, at, coins).run())
    return _joined(parts)


class _Particles:
    """The particles of some prompts that are drawn together."""

    def __init__(
        self,
        model: Any,
        wanted: Wanted,
        size: int,
        rule: SequentialMonteCarlo,
        twist: Twister,
        places: Int[np.ndarray, " c"],
        coins: Any,
    ) -> None:
        self.state, self.wanted, self.size, self.rule = Decoding(model, wanted), wanted, size, rule
        self.twist, self.places, self.coins = twist, places, coins
        n, most = len(wanted.owner), wanted.params.max_new_tokens
        self.ids, self.log_mu = np.zeros((n, most), np.int64), np.zeros((n, most), np.float32)
        self.lengths, self.ended = np.zeros(n, np.int64), np.zeros(n, dtype=bool)
        self.weights = ParticleWeights.start(n // size, size)
        self.log_twist = np.zeros((n // size, size))
        self.log_gain = np.zeros((n // size, size))
        self.ess: list[np.ndarray] = []
        self.drawn = 0

    def run(self) -> ParticleDraws:
        """Draw until every particle has ended or is as long as it may be."""
        most = self.wanted.params.max_new_tokens
        for t in range(most):
            token = self._draw(t)
            if self.ended.all() or t + 1 == most:
                break
            if (t + 1) % self.rule.every == 0 and self.rule.twist.kind != "none":
                token = self._weigh(t, token)
            self.state.advance(token)
        return ParticleDraws(
            self._rollouts(),
            self.log_gain.ravel(),
            self.weights.log_z,
            self.weights.resampled,
            self._ess(),
            self.drawn,
        )

    def _ess(self) -> Float[np.ndarray, "S C"]:
        """ESS_rel of every weighing that there could have been; NaN where all had ended."""
        most, none = self.wanted.params.max_new_tokens, self.rule.twist.kind == "none"
        count = 0 if none else (most - 1) // self.rule.every
        found = np.full((count, len(self.places)), np.nan)
        if self.ess:
            found[: len(self.ess)] = self.ess
        return found

    def _draw(self, t: int) -> torch.Tensor:
        """One token of every particle that has not ended."""
        u = torch.from_numpy(uniforms(self.wanted.keys, t)).to(self.state.logits.device)
        token, log_mu = next_tokens(self.state.logits, u, self.wanted.params)
        host, going = token.cpu().numpy(), ~self.ended
        self.ids[going, t], self.log_mu[going, t] = host[going], log_mu.cpu().numpy()[going]
        self.lengths[going] = t + 1
        self.ended |= going & np.isin(host, np.asarray(self.wanted.eos_ids))
        self.drawn += int(going.sum())
        return token

    def _weigh(self, t: int, token: torch.Tensor) -> torch.Tensor:
        """Weigh all particles by their twist, resample where it is due; their tokens."""
        log_twist = self.twist(self._rollouts(), self.places).reshape(self.log_twist.shape)
        none = np.zeros_like(log_twist)  # tokens are drawn from what the weights stand on
        step = incremental_log_weight(none, none, log_twist, self.log_twist)
        self.weights, self.log_twist = self.weights.add(step), log_twist
        self.ess.append(self.weights.ess_rel)
        due = self.weights.due(self.rule.resample_below)
        if not due.any():
            return token
        self.weights, ancestors = self.weights.resample(
            self.rule.resample_below, uniforms(self.coins, t), self.rule.resampling
        )
        rows = (ancestors + np.arange(len(ancestors))[:, None] * self.size).ravel()
        for name in ("ids", "log_mu", "lengths", "ended"):
            setattr(self, name, getattr(self, name)[rows])
        self.log_twist = np.take_along_axis(self.log_twist, ancestors, axis=1)
        gain = self.log_twist - self.weights.log_z[:, None]
        self.log_gain = np.where(due[:, None], gain, self.log_gain)
        return self.state.select(rows, token)

    def _rollouts(self) -> Rollouts:
        """The particles as they are now."""
        inside = np.arange(self.ids.shape[1])[None] < self.lengths[:, None]
        log_mu = self.log_mu[inside]
        if not np.isfinite(log_mu).all():
            raise ModelError(
                "the model gave logits that are not finite: its weights are broken or its "
                "precision overflows. Go back to the last good checkpoint, or use float32."
            )
        return Rollouts(
            prompts=tuple(self.wanted.prompts),
            contexts=Groups.equal(len(self.places), self.size),
            sequences=Groups(self.lengths.copy()),
            ids=self.ids[inside],
            log_mu=log_mu,
            truncated=~self.ended,
        )


def _joined(parts: list[ParticleDraws]) -> ParticleDraws:
    """Prompts that were drawn apart, one after another."""
    return ParticleDraws(
        Rollouts.concatenate([part.rollouts for part in parts]),
        np.concatenate([part.log_gain for part in parts]),
        np.concatenate([part.log_z for part in parts]),
        np.concatenate([part.resampled for part in parts]),
        np.concatenate([part.ess_rel for part in parts], axis=1),
        sum(part.drawn for part in parts),
    )
