"""TRL 1.16's own loss code, run without a model on random ragged batches.

A trainer is made without its constructor; what it would ask of a model (token log-probs of the
policy, of the old policy, of the reference) it reads off a draw. Everything else is TRL's:
advantages, weights of the sampler's mismatch, losses, reductions. Gradients are with respect to
the token log-probs, which is what credit is: credit = −∂L/∂log π.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tod.base import Groups
from tod.operators import Batch, Totals

trl = pytest.importorskip("trl")


@dataclass(frozen=True)
class Draw:
    """C contexts of K candidates of unequal lengths, drifted from the policy that drew them."""

    size: int
    sequences: Groups
    log_policy: np.ndarray
    log_old: np.ndarray
    log_ref: np.ndarray
    log_mu: np.ndarray
    reward: np.ndarray

    @property
    def contexts(self) -> Groups:
        return Groups.equal(len(self.sequences) // self.size, self.size)

    @property
    def mask(self) -> torch.Tensor:
        length = torch.tensor(self.sequences.sizes)
        return (torch.arange(int(length.max())) < length[:, None]).long()

    def padded(self, values: np.ndarray, fill: float = 0.0) -> torch.Tensor:
        table = torch.full(self.mask.shape, fill, dtype=torch.float64)
        table[self.mask.bool()] = torch.from_numpy(np.asarray(values, np.float64))
        return table

    def batch(self, *, eta: float = 1.0, rho: float = 1.0, **changes: Any) -> Batch:
        given = {
            "contexts": self.contexts,
            "sequences": self.sequences,
            "log_policy": self.log_policy,
            "log_old": self.log_old,
            "value": self.reward,
            "tilt": eta * self.reward,
            "sharpness": eta,
            "totals": Totals.of(self.sequences, self.contexts),
            "log_base": self.sequences.sum(self.log_ref),
            "log_base_tokens": self.log_ref,
            "log_mu_tokens": self.log_mu,
            "log_mu": self.sequences.sum(self.log_mu),
            "pulled": {"ref": (self.log_ref, rho)},
        }
        return Batch(**{**given, **changes})

    def take(self, rows: np.ndarray) -> "Draw":
        """Some sequences, a multiple of the size."""
        sequences, at = self.sequences.take(rows)
        parts = (self.log_policy, self.log_old, self.log_ref, self.log_mu)
        return Draw(self.size, sequences, *(x[at] for x in parts), self.reward[rows])


def _draw(seed: int, contexts: int = 5, size: int = 4) -> Draw:
    """Skewed lengths and rewards; drifts that every clip of these tests acts on."""
    rng = np.random.default_rng(seed)
    sequences = Groups(1 + rng.geometric(0.25, contexts * size))
    old = -rng.gamma(1.5, 0.8, sequences.total) - 0.01
    policy = np.minimum(old + 0.5 * (rng.gamma(2.0, 1.0, sequences.total) - 1.8), -1e-3)
    ref = np.minimum(old + 0.4 * rng.standard_normal(sequences.total), -1e-3)
    mu = np.minimum(old + 0.25 * rng.standard_normal(sequences.total), -1e-3)
    reward = rng.exponential(1.0, contexts * size) ** 2
    reward[:size] = (0.3 * np.ones(size)).tolist()  # a context without a signal
    return Draw(size, sequences, policy, old, ref, mu, reward)


class Accelerator(SimpleNamespace):
    """One process."""

    device = torch.device("cpu")
    num_processes = 1
    process_index = 0
    sync_gradients = True

    def gather(self, x: Any) -> Any:
        return x

    gather_for_metrics = gather

    def reduce(self, x: Any, reduction: str = "sum") -> Any:
        return x


class Nothing(torch.nn.Module):
    """A model in training that nobody calls."""

    is_gradient_checkpointing = False


def _bare(kind: type, **attributes: Any) -> Any:
    """A trainer without its constructor."""
    trainer = object.__new__(kind)
    named = {
        "accelerator": Accelerator(),
        "model": Nothing(),
        "ref_model": SimpleNamespace(),
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    vars(trainer).update({**named, **attributes})
    return trainer


def _scores(trainer: Any, draw: Draw, leaf: torch.Tensor) -> None:
    """Answer the trainer's questions about models, generation and rewards from a draw."""
    old, ref = draw.padded(draw.log_old), draw.padded(draw.log_ref)

    def logps(model: Any, *_: Any, **__: Any) -> Any:
        known = {id(trainer.model): old, id(trainer.ref_model): ref}
        found = known.get(id(model), leaf)
        return (found, torch.zeros_like(old), None)

    rows = [np.zeros(int(n), np.int64).tolist() for n in draw.sequences.sizes]
    cuts = np.split(draw.log_mu, draw.sequences.offsets[1:-1])
    mu = [cut.tolist() for cut in cuts] if getattr(trainer, "use_vllm", False) else None
    grouped = isinstance(trainer, trl.GRPOTrainer)
    found = ([[0]] * len(rows), rows, None, [""] * len(rows), mu, {}, None, None)
    trainer._get_per_token_logps_and_entropies = logps
    trainer._generate = lambda prompts: found if grouped else (found[0], rows, found[3])
    trainer._calculate_rewards = lambda *_: torch.from_numpy(draw.reward)[:, None]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """TRL makes tensors of the default type; losses are compared in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=[0, 1, 2])
def draw(request: pytest.FixtureRequest) -> Draw:
    """A random ragged batch."""
    return _draw(request.param)


@pytest.fixture
def make_draw() -> Callable[..., Draw]:
    """Makes a random ragged batch from a seed."""
    return _draw


@pytest.fixture
def bare() -> Callable[..., Any]:
    """Makes a trainer without its constructor."""
    return _bare


GROUPED = {
    "beta": 0.0,
    "reward_weights": torch.ones(1),
    "reward_funcs": [None],
    "reward_func_names": ["r"],
    "mask_truncated_completions": False,
    "max_completion_length": 24,
    "epsilon_low": 0.2,
    "epsilon_high": 0.2,
    "pad_to_multiple_of": None,
    "_tokenizer": SimpleNamespace(pad_token_id=0),
    "eos_token_ids": [7],
    "tools": [],
    "environments": None,
    "environment_factories": None,
    "_pending_extra_logs": {},
    "_pending_metrics": {},
    "multi_objective_aggregation": "sum_then_normalize",
    "scale_rewards": "group",
    "loss_type": "grpo",
    "importance_sampling_level": "token",
    "off_policy_mask_threshold": None,
    "top_entropy_quantile": 1.0,
    "_entropy_bonus_enabled": False,
    "use_adaptive_entropy": False,
    "use_vllm": False,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "sequence_mask",
    "vllm_importance_sampling_clip_min": None,
    "vllm_importance_sampling_clip_max": 3.0,
    "current_gradient_accumulation_steps": 1,
    "num_iterations": 2,
    "normalize_advantages": False,
    "reward_clip_range": None,
}
"""What a grouped trainer's constructor copies from its configuration."""

ARGS = {
    "use_bias_correction_kl": True,
    "delta": None,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "steps_per_generation": 1,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing_kwargs": None,
    "per_device_train_batch_size": 64,
}


def _grouped(draw: Draw, kind: type = trl.GRPOTrainer, **settings: Any) -> Any:
    """A grouped trainer that reads a draw; ``settings`` are TRL's own names."""
    args = {name: settings.pop(name, value) for name, value in ARGS.items()}
    settings = {**GROUPED, **settings, "num_generations": draw.size}
    logs = {"rewards": defaultdict(list), **{k: [] for k in ("prompt", "completion", "advantages")}}
    trainer = _bare(kind, args=SimpleNamespace(**args), _logs=logs, **settings)
    trainer.leaf = draw.padded(draw.log_policy).requires_grad_()
    _scores(trainer, draw, trainer.leaf)
    return trainer


def _scored(trainer: Any, draw: Draw) -> dict[str, Any]:
    """TRL's advantages and everything else that its loss reads."""
    return trainer._generate_and_score_completions([{"prompt": ""} for _ in draw.reward])


def _theirs(draw: Draw, kind: type = trl.GRPOTrainer, **settings: Any) -> tuple[float, np.ndarray]:
    """TRL's loss and −∂L/∂log π of every token, [M]."""
    trainer = _grouped(draw, kind, **settings)
    loss = trainer._compute_loss(None, _scored(trainer, draw))
    loss.backward()
    return float(loss.detach()), -trainer.leaf.grad[draw.mask.bool()].numpy()


@pytest.fixture
def grouped() -> Callable[..., Any]:
    """Makes a grouped trainer that reads a draw."""
    return _grouped


@pytest.fixture
def scored() -> Callable[..., Any]:
    """Runs TRL's generation and scoring on a draw."""
    return _scored


@pytest.fixture
def theirs() -> Callable[..., tuple[float, np.ndarray]]:
    """TRL's loss, and −∂L/∂log π of every token."""
    return _theirs


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest entry."""
    assert np.abs(theirs).max() > 1e-6, "nothing to compare"
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(theirs).max())


@pytest.fixture
def gap() -> Callable[..., float]:
    """Distance of two gradients."""
    return _gap
