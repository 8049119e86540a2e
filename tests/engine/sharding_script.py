"""What test_sharding starts, in one process and in several: `sharding_script.py JOB FOLDER KIND …`.

KIND is fsdp2 or whole. `steps` trains some steps and writes what they came to; `memory` writes the
most bytes that were held; `run … NAME JSON` runs a small recipe with changes, to its end.
"""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch.distributed.tensor import DTensor

from tod.engine.collect import collect
from tod.engine.data.load import load_task
from tod.engine.distributed import World
from tod.engine.forecast import forecast
from tod.engine.forward.model_parts import layers_of
from tod.engine.models import load_tokenizer
from tod.engine.session import Session, open_session
from tod.engine.settings import RunSettings
from tod.engine.sharding import whole
from tod.engine.train import train
from tod.engine.update import update

STEPS, LEARNING_RATE, MAX_NORM = 2, 1e-3, 1e-3
DRAWN = {"prompts": 3, "size": 2, "max_new_tokens": 6}
"""Of two processes one has two prompts, the other one: they draw and score unequally often."""


def settings_of(folder: Path, sharding: str | None, **changes: Any) -> RunSettings:
    """A run of seconds whose reference stands beside the policy; ``changes`` of its blocks."""
    data: dict[str, Any] = {
        "name": folder.name,
        "target": {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"},
        "operator": {
            "proposal": DRAWN,
            "action": {"kind": "policy_gradient", "pull": {"kind": "residual", "at": "current"}},
        },
        "utilities": [{"name": "correct", "kind": "countdown", "partial": 0.3}],
        "evaluate": None,
        "output": str(folder),
    }
    training = {
        "steps": STEPS,
        "dtype": "float64",
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": MAX_NORM,
        "schedule": "constant",
        "checkpoint_every": 1,
        "max_tokens_per_micro_batch": 40,  # a micro-batch a prompt
        "sharding": sharding,
    }
    train_changes = changes.pop("train", {})
    return RunSettings.parse({**data, "train": {**training, **train_changes}, **changes})


def stepped(session: Session) -> list[float]:
    """Some steps of a session; the norms of their gradients before clipping."""
    settings, norms = session.settings, []
    for step in range(1, settings.train.steps + 1):
        session.refresh(step)
        evidence = collect(session, step)
        seen = update(session, evidence, settings.procedure.tilt, settings.operator.update, step)
        norms += seen.grad_norm
    return norms


def steps(folder: Path, world: World, sharding: str | None) -> None:
    """Parameters, gradients as they were stepped with, norms; and what was a DTensor."""
    session = open_session(settings_of(folder / "unused", sharding), world)
    held: list[Any] = []
    clipped: list[np.ndarray] = []

    def keep(*_: object) -> None:
        gradients = [p.grad for p in session.parameters if p.grad is not None]
        held.extend(gradients)
        clipped.append(np.concatenate([whole(g).double().numpy().ravel() for g in gradients]))

    session.optimiser.register_step_pre_hook(keep)
    norms = stepped(session)
    world.turns.end()
    held += [*session.policy.parameters(), *session.frozen["ref"].parameters()]
    moments = session.optimiser.state.values()
    held += [value for state in moments for name, value in state.items() if name != "step"]
    parameters = [whole(p.detach()).numpy().ravel() for p in session.parameters]
    session.close()
    np.savez(
        folder / f"{world.size}-{world.rank}.npz",
        norms=norms,
        clipped=np.stack(clipped),
        parameters=np.concatenate(parameters),
        sharded=[isinstance(tensor, DTensor) for tensor in held],
        share=[_local(t).numel() / t.numel() for t in held],
    )


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def memory(folder: Path, world: World, sharding: str | None) -> None:
    """The most bytes of model and optimiser held at any layer, forward or back, and at the step.

    Of the model in FOLDER/model.
    """
    alone = {
        "model": str(folder / "model"),
        "target": {"kind": "verifier", "eta": 1.0, "utility": "correct", "anchor": {"old": 1.0}},
        "operator": {
            "proposal": {**DRAWN, "max_new_tokens": 2},
            "action": {"kind": "policy_gradient"},
        },
        "train": {"dtype": "float32"},
    }
    settings = settings_of(folder / "unused", sharding, **alone)
    gc.collect()
    gc.freeze()  # what is there already is not of the run
    session = open_session(settings, world)
    assert not session.frozen
    peak = 0

    def look(*_: object) -> None:
        nonlocal peak
        peak = max(peak, held_bytes())

    def look_back(_module: object, inputs: Any, _named: object = None) -> None:
        # its gradient is there when those of the layer's parameters are
        if torch.is_grad_enabled():
            look()
            inputs[0].register_hook(look)

    for layer in layers_of(session.policy):
        layer.register_forward_pre_hook(look_back)
    session.optimiser.register_step_pre_hook(look)
    session.optimiser.register_step_post_hook(look)
    stepped(session)
    needed = forecast(settings, load_task(settings.task, 0), processes=world.size).memory
    told = [peak, needed.standing + needed.gradients]
    (folder / f"{world.size}-{world.rank}.json").write_text(json.dumps(told))
    session.close()


def write_model(folder: Path) -> None:
    """A model of random weights with as many layers as real ones, and little outside them."""
    config = hf.LlamaConfig(
        vocab_size=21, hidden_size=96, intermediate_size=256, num_hidden_layers=24,
        num_attention_heads=3, pad_token_id=0, eos_token_id=1, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    load_tokenizer("tod://tiny").save_pretrained(folder)


def held_bytes() -> int:
    """Bytes of all tensors but activations: parameters, gradients, moments, what is gathered."""
    storages = {}
    for item in gc.get_objects():
        if isinstance(item, torch.Tensor) and item.is_leaf:
            storage = _local(item.detach()).untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def run(folder: Path, world: World, sharding: str | None, words: list[str]) -> None:
    """A small recipe to its end: name, changes, and whether it goes on."""
    name, changes, resume = words[0], json.loads(words[1]), words[2:] == ["resume"]
    train(settings_of(folder / name, sharding, **changes), resume=resume, world=world)


JOBS: dict[str, Callable[..., None]] = {"steps": steps, "memory": memory}

if __name__ == "__main__":
    job, place, sharded, *rest = sys.argv[1:]
    kind = None if sharded == "whole" else sharded
    if job == "run":
        run(Path(place), World.join(), kind, rest)
    else:
        JOBS[job](Path(place), World.join(), kind)
