"""What one process and several must agree on: run in the test's process, and under `torchrun`.

`python world_cases.py FOLDER DTYPE CASE …` writes FOLDER/CASE.npz, the gradients of three steps,
and runs the recipe into FOLDER/CASE/. A DTYPE of `float64-fsdp2` has the models in shards.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tod.engine.distributed import World
from tod.engine.proposals.propose import propose
from tod.engine.search.job import search
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.sharding import whole
from tod.engine.train import train
from tod.engine.update import update

STEPS = 3
LEARNING_RATE = 1e-3
DRAWN = {"prompts": 5, "size": 4, "max_new_tokens": 16}
TAUGHT = {
    "anchors": {"teacher": "tod://tiny-teacher"},
    "target": {"kind": "teacher", "eta": 1.0},
    "action": {"kind": "auxiliary"},
}
RESIDUAL = {"kind": "policy_gradient", "pull": {"kind": "residual", "at": "current"}}
CASES: dict[str, dict[str, Any]] = {
    "replay": {
        "proposal": {"source": "replay", "fresh": 3, "capacity": 4, **DRAWN},
        "action": RESIDUAL,
    },
    "critic": {
        "action": {
            "kind": "policy_gradient",
            "advantage": {"kind": "gae", "whiten": {}},
            "pull": {"kind": "k1", "place": "reward"},
        },
        "auxiliary": {"critic": {}},
    },
    "dynamic": {"proposal": {**DRAWN, "dynamic": {"max_rounds": 6}}, "action": RESIDUAL},
    "full_vocabulary": {
        **TAUGHT,
        "auxiliary": {"distillation": {"divergence": "jsd"}, "entropy": {"weight": 0.01}},
    },
    "turns": {
        **TAUGHT,
        "proposal": {"source": "alternating", **DRAWN},
        "auxiliary": {"distillation": {"divergence": "reverse_kl", "top_k": 4}},
    },
    "whole_step": {
        "probe": {"prompts": 3, "size": 4, "every": 2},
        "utilities": [{"name": "correct", "kind": "countdown", "partial": 0.3}],
        "proposal": {**DRAWN, "top_p": 0.8},
        "action": {
            "kind": "policy_gradient",
            "advantage": "batch_zscore",
            "correction": {"kind": "shrunk", "of": {"kind": "token_mask", "low": 0.9}},
        },
    },
    "kto": {
        "target": {"kind": "preference", "utility": "correct", "beta": 0.1},
        "action": {"kind": "preference", "loss": "kto"},
    },
    "likelihood": {
        "utilities": [
            {"name": "correct", "kind": "countdown"},
            {"name": "likelihood", "kind": "log_likelihood", "model": "tod://tiny-teacher"},
        ],
        "target": {
            "kind": "scalar_reward",
            "utility": "likelihood",
            "eta": 0.5,
            "anchor": {"ref": 0.5},
        },
        "action": {"kind": "weighted_regression", "weights": "target_of_step"},
    },
    "budget": {
        "utilities": [{"name": "correct", "kind": "countdown", "partial": 0.3}],
        "target": {"kind": "verifier", "eta": 5.0, "utility": "correct"},
        "proposal": {**DRAWN, "refresh": [1, 2]},
        "action": {"kind": "weighted_regression", "weights": {"kind": "kl_budget", "budget": 0.2}},
    },
    "mixture": {
        **TAUGHT,
        "proposal": {"source": "mixture", "shares": {"old": 0.5, "teacher": 0.5}, **DRAWN},
        "action": {"kind": "weighted_regression"},
    },
    "search": {
        "target": {"kind": "verifier", "eta": 5.0, "utility": "correct", "anchor": {"mu": 1.0}},
        "action": {"kind": "resample"},
    },
}


def settings_of(name: str, folder: Path, dtype: str) -> RunSettings:
    """A small run of a case; ``dtype`` is the forward's."""
    case = CASES[name]
    data: dict[str, Any] = {
        "name": name,
        "target": case.get(
            "target", {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"}
        ),
        "operator": {
            "proposal": case.get("proposal", DRAWN),
            "action": case["action"],
            "auxiliary": case.get("auxiliary", {}),
        },
        "output": str(folder / name),
        **{key: case[key] for key in ("anchors", "utilities", "probe", "peft") if key in case},
    }
    if name == "search":
        return RunSettings.parse({**data, "search": {"contexts": 13, "dtype": dtype}})
    precision, _, sharding = dtype.partition("-")
    training = {
        "steps": STEPS,
        "dtype": precision,
        "sharding": sharding or None,
        "max_grad_norm": None,
        "learning_rate": LEARNING_RATE,
    }
    evaluate = {"held_out_prompts": 5, "samples_per_prompt": 2}
    return RunSettings.parse({**data, "train": training, "evaluate": evaluate})


def run(name: str, folder: Path, dtype: str, world: World) -> None:
    """The case's gradients, and its whole run."""
    settings = settings_of(name, folder, dtype)
    if settings.selects:
        search(settings, world=world)
        return
    train(settings, world=world)
    session = open_session(settings, world)
    found: dict[str, Any] = {"gradient": [], "critic": []}

    def keep(of: str, parameters: Any) -> Any:
        def hook(*_: object, **__: object) -> None:
            held = [p.grad for p in parameters() if p.grad is not None]
            flat = [whole(gradient).double().reshape(-1) for gradient in held]
            found[of].append(torch.cat(flat).numpy().copy())

        return hook

    session.optimiser.register_step_pre_hook(keep("gradient", lambda: session.parameters))
    if session.critic is not None:
        critic = session.critic
        critic.optimiser.register_step_pre_hook(keep("critic", lambda: critic.parameters))
    target, action = settings.procedure.tilt, settings.operator.update
    ids = []
    for step in range(1, STEPS + 1):
        session.refresh(step)
        evidence = propose(session, step)
        ids.append(evidence.rollouts.ids)
        update(session, evidence, target, action, step)
    session.close()
    if world.main:
        arrays = {of: np.stack(rows) for of, rows in found.items() if rows}
        np.savez(folder / f"{name}.npz", ids=np.concatenate(ids), size=world.size, **arrays)


def main(folder: Path, dtype: str, names: list[str]) -> None:
    """Every case in turn, in this world."""
    world = World.join()
    for name in names:
        run(name, folder, dtype, world)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
