"""From logits to the distribution that is sampled, and from a uniform to a token."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tod.engine.sampling.params import SamplingParams

_BLOCK = 1 << 24  # elements of one block of rows x vocabulary: 128 MiB of float64


def processed_log_probs(
    logits: Float[Tensor, "n V"], params: SamplingParams
) -> Float[Tensor, "n V"]:
    """Log μ of every token: log-softmax of logits / temperature over the tokens that are kept.

    Order: temperature, then top-k, then top-p on what top-k left. Removed tokens
    have −∞. Computed in float32, or in float64 when the logits are.

    Source: definition of tempered and truncated sampling (equation sampled-log-prob)
    """
    x = logits if logits.dtype == torch.float64 else logits.float()
    if params.temperature != 1.0:
        x = x / params.temperature
    if params.top_k is not None and params.top_k < x.shape[-1]:
        kth = x.topk(params.top_k, dim=-1).values[:, -1:]
        x = x.masked_fill(x < kth, float("-inf"))
    if params.truncates_mass:
        x = _top_p(x, float(params.top_p or 1.0))
    return torch.log_softmax(x, dim=-1)


def _top_p(x: Float[Tensor, "n V"], p: float) -> Float[Tensor, "n V"]:
    """Keep, from the most likely down, every token before which less than p of the mass lies."""
    ordered, order = x.sort(dim=-1, descending=True, stable=True)
    mass = torch.softmax(ordered, dim=-1).to(torch.float64)
    before = mass.cumsum(-1) - mass
    drop = torch.zeros_like(x, dtype=torch.bool).scatter(-1, order, before >= p)
    return x.masked_fill(drop, float("-inf"))


def draw(log_probs: Float[Tensor, "n V"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The token whose stretch of the cumulative distribution holds u ∈ [0, 1), row by row.

    The cumulative sum is float64 and u is scaled by its total, so rounding loses no mass. A token
    of probability zero is never drawn: the stretch is open on the right (also at u = 0), and the
    result is clamped to the last token with positive probability.
    """
    cdf = log_probs.exp().cumsum(-1, dtype=torch.float64)
    total = cdf[:, -1:].contiguous()
    token = torch.searchsorted(cdf, u[:, None] * total, right=True)
    last = torch.searchsorted(cdf, total)  # the first place where the sum is complete
    # NaN logits would point past the end; the log-probability recorded there says NaN
    return torch.minimum(token, last).clamp_(max=log_probs.shape[-1] - 1).squeeze(-1)


def next_tokens(
    logits: Float[Tensor, "n V"], u: Float[Tensor, " n"], params: SamplingParams
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Draw one token per row and give its log μ; greedy takes the most likely (log μ then 0)."""
    if params.greedy:
        token = logits.argmax(-1)
        return token, torch.zeros_like(token, dtype=torch.float32)
    rows = max(1, _BLOCK // logits.shape[-1])
    tokens, log_mu = [], []
    for block, u_block in zip(torch.split(logits, rows), torch.split(u, rows), strict=True):
        log_probs = processed_log_probs(block, params)
        token = draw(log_probs, u_block)
        tokens.append(token)
        log_mu.append(log_probs.gather(-1, token[:, None]).squeeze(-1))
    if len(tokens) == 1:
        return tokens[0], log_mu[0]
    return torch.cat(tokens), torch.cat(log_mu)
