"""What takes the places of DeepSpeed and vLLM in OpenRLHF's program, see openrlhf_world.py."""

import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
from openrlhf.models import Actor, PolicyLoss
from openrlhf.trainer.ray.launcher import BaseModelActor
from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoModelForCausalLM, AutoTokenizer


def model_of(pretrain: str) -> Any:
    kind = {"dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(pretrain, **kind)


class Worker(BaseModelActor):  # type: ignore[misc]
    def init_model_from_pretrained(
        self, strategy: Any, pretrain: str, steps: int = 0, engines: Any = None
    ) -> None:
        self.args, self.engines = strategy.args, engines
        self.strategy = strategy
        self.model = Actor(model_of(pretrain), temperature=self.args.rollout.temperature)
        self.model.packing_samples = False
        self.optimiser = torch.optim.AdamW(self.model.parameters(), self.args.actor.adam.lr)
        self.waiting: list[Any] = []

    def forward(self, sequences: Any, action_mask: Any, attention_mask: Any, **_: Any) -> Any:
        with torch.no_grad():
            return self.model(sequences, action_mask, attention_mask)

    def empty_cache(self) -> None:
        pass


class Policy(Worker):
    def reset(self) -> None:
        """A fresh optimiser."""
        self.optimiser = torch.optim.AdamW(self.model.parameters(), self.args.actor.adam.lr)

    def append(self, experience: Any) -> None:
        self.waiting.append(experience)

    def fit(self, kl_ctl: float = 0.0) -> dict[str, float]:
        settings, advantage = self.args.actor, self.args.algo.advantage
        loss_of = PolicyLoss(
            *settings.eps_clip_low_high,
            settings.dual_clip,
            settings.loss_agg_mode == "token-mean",
            settings.policy_loss_type,
            advantage.is_correction_level,
            advantage.is_correction_mode,
            advantage.is_correction_gating,
            advantage.is_correction_threshold,
        )
        total = clipped = 0.0
        for e in self.waiting:
            new = self.model(e.sequences, e.action_mask, e.attention_mask)
            loss, share, *_ = loss_of(
                new, e.action_log_probs, e.advantages, e.action_mask, e.rollout_log_probs
            )
            loss.backward()
            total, clipped = total + loss.item(), clipped + share.item()
        self.optimiser.step()
        self.optimiser.zero_grad()
        count, self.waiting = len(self.waiting), []
        return {
            "policy_loss": total / count,
            "ppo_clip_ratio": clipped / count,
            "kl_ctl": kl_ctl,
        }

    def broadcast_to_vllm(self) -> None:
        weights = ray.put(self.model.model.state_dict())
        ray.get([engine.load.remote(weights) for engine in self.engines])

    def save_checkpoint(self, tag: str, client_states: Any = None, **_: Any) -> None:
        place = Path(self.args.ckpt.path) / "_actor"
        place.mkdir(parents=True, exist_ok=True)
        torch.save((client_states, self.model.state_dict()), place / "state.pt")

    def get_checkpoint_states(self) -> Any:
        place = Path(self.args.ckpt.path) / "_actor" / "state.pt"
        states, weights = torch.load(place, weights_only=False)  # our own file
        self.model.load_state_dict(weights)
        return states

    def save_model(self) -> None:
        pass


class Engine:
    def __init__(self, pretrain: str, reward: str) -> None:
        self.model = model_of(pretrain).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(pretrain)
        self.executor = SingleTurnAgentExecutor(reward)
        self.drawn: dict[tuple[int, ...], int] = {}
        self.version = 0

    def load(self, weights: Any) -> None:
        self.model.load_state_dict(weights)
        self.version += 1

    def get_num_unfinished_requests(self) -> int:
        return 0

    async def generate_responses(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        num_samples: int = 1,
        images: Any = None,
    ) -> list[Any]:
        return [
            await self.executor.execute(
                prompt, label, sampling_params, max_length, hf_tokenizer, self, images
            )
            for _ in range(num_samples)
        ]

    async def generate(self, ids: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        count = self.drawn[tuple(ids)] = self.drawn.get(tuple(ids), 0) + 1
        source = torch.Generator().manual_seed(zlib.crc32(repr((ids, count)).encode()))
        tokens, values, past = [], [], None
        step = torch.tensor([ids])
        with torch.no_grad():
            while len(tokens) < params.max_tokens:
                out = self.model(step, past_key_values=past, use_cache=True)
                past = out.past_key_values
                log_p = (out.logits[0, -1] / params.temperature).log_softmax(-1)
                token = int(torch.multinomial(log_p.exp(), 1, generator=source))
                tokens.append(token)
                values.append({token: SimpleNamespace(logprob=float(log_p[token]))})
                if token == self.tokenizer.eos_token_id:
                    break
                step = torch.tensor([[token]])
        ended = tokens[-1] == self.tokenizer.eos_token_id
        one = SimpleNamespace(
            token_ids=tokens,
            text=self.tokenizer.decode(tokens),
            finish_reason="stop" if ended else "length",
            logprobs=None if params.logprobs is None else values,
        )
        return SimpleNamespace(outputs=[one])


def engines(count: int, _size: int, pretrain: str, *_: Any, remote_rm_url: str, **__: Any) -> list:
    """What `create_vllm_engines` returns."""
    kind = ray.remote(num_cpus=1)(Engine)
    return [kind.remote(pretrain, remote_rm_url) for _ in range(count)]


class Here:
    """A group of one worker in this process, with the two calls of a `RayActorGroup`."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def async_run_method(self, method_name: str, **named: Any) -> list[Any]:
        return [ray.put(getattr(self.worker, method_name)(**named))]

    def async_run_method_batch(self, method_name: str, **named: Any) -> list[Any]:
        rows = zip(*named.values(), strict=True)
        method = getattr(self.worker, method_name)
        return [ray.put([method(**dict(zip(named, row, strict=True))) for row in rows])]
