"""Losses of preferences against TRL 1.16's own code: values and gradients by token."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from tod.base import Groups
from tod.operators import Preference
from tolerance import of_credit, rounding

TOL = of_credit("float64")
BETA = 0.3
DPO: dict[str, tuple[dict[str, Any], Any]] = {
    "sigmoid": ({}, "dpo"),
    "sigmoid, label_smoothing is not read": ({"label_smoothing": 0.1}, "dpo"),
    "robust": ({"label_smoothing": 0.1}, {"kind": "robust_dpo", "epsilon": 0.1}),
    "ipo": ({}, "ipo"),
    "hinge": ({}, "hinge"),
    "exo_pair": ({"label_smoothing": 1e-3}, {"kind": "exo", "epsilon": 1e-3}),
    "exo_pair, smoother": ({"label_smoothing": 0.2}, {"kind": "exo", "epsilon": 0.2}),
    "nca_pair": ({}, "nca"),
    "sigmoid_norm": ({}, "sigmoid_norm"),
}


@pytest.fixture(params=[0, 1, 2])
def pairs(request: pytest.FixtureRequest, make_draw: Callable[..., Any]) -> Any:
    """Seven contexts of a chosen and a rejected completion."""
    draw = make_draw(request.param, contexts=7, size=2)
    draw.reward[:] = np.tile([1.0, 0.0], 7)
    return draw


class Model:
    """Token log-probs of the rows that ``order`` names, in the place of a forward pass."""

    def __init__(self, table: torch.Tensor, other: torch.Tensor | None = None) -> None:
        self.table, self.other = table, other

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        table = self.table if input_ids[0, 0] == 1 else self.other
        none = torch.zeros_like(table).detach()
        return SimpleNamespace(log_probs=table, entropy=none, mean_logits=none, is_top1=none > 0)


def inputs(mask: torch.Tensor, prefix: str = "", token: int = 1) -> dict[str, torch.Tensor]:
    """A prompt of one token and the completions."""
    whole = torch.nn.functional.pad(mask, (1, 0))
    ids = torch.full_like(whole, token)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": whole}
    return {prefix + name: tensor for name, tensor in given.items()}


def trainer(bare: Any, kind: type, ref: Any, **settings: Any) -> Any:
    given = {
        "beta": BETA,
        "ref_model": ref,
        "precompute_ref_logps": False,
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None),
        "label_smoothing": 0.0,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "loss_weights": [1.0],
        "use_weighting": False,
    }
    return bare(kind, **{**given, **settings})


def ours(draw: Any, loss: Any, **changes: Any) -> tuple[float, np.ndarray]:
    rule = Preference.parse({"kind": "preference", "loss": loss})
    batch = draw.batch(eta=1 / BETA, **changes)
    return rule.value(batch), np.asarray(rule.credit(batch).per_token)


@pytest.mark.parametrize("name", DPO)
def test_dpo_family(name: str, pairs: Any, bare: Any, gap: Any) -> None:
    settings, loss = DPO[name]
    order = [*range(0, 14, 2), *range(1, 14, 2)]  # chosen, then rejected
    leaf = pairs.padded(pairs.log_policy).requires_grad_()
    ref = Model(pairs.padded(pairs.log_ref)[order])
    them = trainer(bare, DPOTrainer, ref, loss_types=[name.split(",")[0]], **settings)
    found = them._compute_loss(Model(leaf[order]), inputs(pairs.mask[order]), False)
    found.backward()
    value, credit = ours(pairs, loss)
    assert value == pytest.approx(float(found.detach()), rel=TOL)
    assert gap(credit, -leaf.grad[pairs.mask.bool()].numpy()) <= TOL


@pytest.mark.parametrize("drift", [0.3, -0.3])
def test_kto(drift: float, pairs: Any, bare: Any, gap: Any) -> None:
    """z₀ is the mean over the mismatched samples, clipped at 0; either side of it."""
    pairs.reward[:5] = [1.0, 1.0, 1.0, 0.0, 1.0]
    rng = np.random.default_rng(5)
    mismatched = pairs.padded(pairs.log_mu)
    far = mismatched + drift + 0.1 * pairs.padded(rng.standard_normal(len(pairs.log_mu)))
    far = far * pairs.mask
    leaf = pairs.padded(pairs.log_policy).requires_grad_()
    ref = Model(pairs.padded(pairs.log_ref), mismatched)
    them = trainer(
        bare,
        KTOTrainer,
        ref,
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=1.3,
        undesirable_weight=0.8,
    )
    batch = {**inputs(pairs.mask), **inputs(pairs.mask, "KL_", token=2)}
    batch["label"] = torch.tensor(pairs.reward > 0.5)
    found = them._compute_loss(Model(leaf, far), batch, False)
    found.backward()
    z0 = max(0.0, float((far - mismatched).sum(1).mean()))
    assert (z0 > 0) == (drift > 0)
    loss = {"kind": "kto", "desirable": 1.3, "undesirable": 0.8}
    value, credit = ours(pairs, loss, reference_point=z0)
    assert value == pytest.approx(float(found.detach()), rel=TOL)
    assert gap(credit, -leaf.grad[pairs.mask.bool()].numpy()) <= TOL


CPO: dict[str, tuple[dict[str, Any], Any]] = {
    "simpo": ({"beta": 2.0, "simpo_gamma": 0.5}, {"kind": "simpo", "scale": 2.0, "margin": 0.5}),
    "sigmoid": ({}, "dpo"),
    "sigmoid, label_smoothing is read": (
        {"label_smoothing": 0.1},
        {"kind": "cdpo", "epsilon": 0.1},
    ),
    "hinge": ({}, "hinge"),
    "ipo": ({}, "ipo"),
}
"""CPO is DPO with a uniform reference: log b = 0."""


@pytest.mark.parametrize("name", CPO)
def test_cpo_and_simpo(name: str, pairs: Any, bare: Any, gap: Any) -> None:
    settings, loss = CPO[name]
    kind = name.split(",")[0]
    leaf = pairs.padded(pairs.log_policy).requires_grad_()
    them = bare(
        CPOTrainer,
        **{"alpha": 0.0, "label_smoothing": 0.0, "loss_type": kind, "beta": BETA, **settings},
    )
    sums = leaf.sum(1)
    if kind in ("ipo", "simpo"):  # the forward pass of CPOTrainer averages for these
        sums = sums / pairs.mask.sum(1)
    found = them.cpo_loss(sums[0::2], sums[1::2])[0].mean()
    found.backward()
    value, credit = ours(pairs, loss, log_base=np.zeros(14))
    assert value == pytest.approx(float(found.detach()), rel=TOL)
    assert gap(credit, -leaf.grad[pairs.mask.bool()].numpy()) <= TOL


def two_way(table: torch.Tensor) -> torch.Tensor:
    """Logits over two tokens whose first has the given log-prob."""
    return torch.stack([table, torch.log(-torch.expm1(table))], dim=-1)


def orpo_batch(draw: Any, width: int) -> dict[str, torch.Tensor]:
    """Token 0 everywhere; a prompt of ``width`` tokens without a label."""
    batch = {}
    for name, rows in (("chosen", slice(0, None, 2)), ("rejected", slice(1, None, 2))):
        mask = draw.mask[rows]
        whole = torch.cat([torch.ones(len(mask), width, dtype=torch.long), mask], dim=1)
        labels = torch.where(whole == 1, 0, -100)
        labels[:, :width] = -100
        batch[f"{name}_labels"] = labels
        batch[f"{name}_input_ids"] = torch.zeros_like(whole)
        batch[f"{name}_attention_mask"] = whole
    return batch


def orpo(draw: Any, bare: Any, width: int, weight: float) -> tuple[float, np.ndarray]:
    """TRL's whole ORPO loss, every prompt token having log-prob −0.7."""
    leaf = draw.padded(draw.log_policy, fill=-1.0).requires_grad_()
    first = torch.full((len(leaf), width - 1), -0.7)
    last = torch.full((len(leaf), 1), -0.7)
    order = [*range(0, len(leaf), 2), *range(1, len(leaf), 2)]
    table = torch.cat([first, leaf, last], dim=1)[order]
    them = bare(
        ORPOTrainer, beta=weight, is_encoder_decoder=False, padding_value=0, aux_loss_enabled=False
    )
    model = lambda *_, **__: SimpleNamespace(logits=two_way(table))  # noqa: E731
    found, _ = them.get_batch_loss_metrics(model, orpo_batch(draw, width))
    found.backward()
    return float(found.detach()), -leaf.grad[draw.mask.bool()].numpy()


def test_orpo_odds(pairs: Any, bare: Any, gap: Any) -> None:
    """The odds-ratio part alone, as the difference of two weights: TRL computes it in float32."""
    low, high = (orpo(pairs, bare, 1, weight) for weight in (0.0, 0.4))
    none, some = (ours(pairs, {"kind": "orpo", "weight": weight}) for weight in (0.0, 0.4))
    single = 2 * rounding("float32", 16)
    assert some[0] - none[0] == pytest.approx(high[0] - low[0], rel=single)
    assert gap(some[1] - none[1], high[1] - low[1]) <= single


@pytest.mark.parametrize("width", [1, 3])
def test_orpo_likelihood_is_another_mean(width: int, pairs: Any, bare: Any, gap: Any) -> None:
    """TRL: over all tokens of prompt and response; ours: by response, then over pairs."""
    loss, gradient = orpo(pairs, bare, width, 0.0)
    chosen = Groups(pairs.sequences.sizes[0::2])
    at = pairs.sequences.take(np.arange(0, 14, 2))[1]
    count = chosen.total + (width - 1) * len(chosen)
    total = -pairs.log_policy[at].sum() + 0.7 * (width - 1) * len(chosen)
    assert loss == pytest.approx(total / count, rel=TOL)
    assert gap(gradient[at], np.full(len(at), 1 / count)) <= TOL
    value, credit = ours(pairs, {"kind": "orpo", "weight": 0.0})
    means = chosen.mean(pairs.log_policy[at])
    assert value == pytest.approx(-means.mean(), rel=TOL)
    assert gap(credit, gradient) > 0.1


def test_ipo_by_sums_is_another_loss(pairs: Any, bare: Any) -> None:
    mean, total = (ours(pairs, {"kind": "ipo", "by_length": flag})[0] for flag in (True, False))
    assert abs(mean - total) > 0.05 * mean
