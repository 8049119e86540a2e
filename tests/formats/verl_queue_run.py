"""Writes ``verl_queue``: a batch as verl's rollout cache saves it, by tensordict itself.

Run where tensordict (0.10 or later) is installed: ``python verl_queue_run.py DIRECTORY``. Fields,
tags and keys are those of verl's queue; every number is a simple function of its place.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

LENGTHS = (2, 5, 1, 3)


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    """As the queue returns rows of different lengths."""
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def main(root: Path) -> None:
    """Two prompts of two rollouts at step 3; the last rollout spans two versions."""
    n = len(LENGTHS)
    log_probs = [-torch.arange(1, k + 1) / 8 for k in LENGTHS]
    scores = [torch.zeros(k) for k in LENGTHS]
    for place, row in enumerate(scores):
        row[-1] = place / 4
    masks = [torch.ones(k, dtype=torch.int64) for k in LENGTHS]
    masks[1][2] = 0  # a token of a tool
    fields = {
        "prompts": nested([torch.arange(3), torch.arange(3), torch.arange(2), torch.arange(2)]),
        "responses": nested([torch.arange(k) for k in LENGTHS]),
        "response_mask": nested(masks),
        "loss_mask": nested(masks),
        "rollout_log_probs": nested(log_probs),
        "rm_scores": nested(scores),
        "global_steps": torch.tensor([3] * n),
        "num_turns": NonTensorStack(*[2] * n),
        "agent_name": NonTensorData("single_turn_agent"),
        "raw_prompt": NonTensorStack(
            *[np.array([{"role": "user", "content": f"q{i // 2}"}], dtype=object) for i in range(n)]
        ),
        "extra_fields": NonTensorStack(
            *[{"reward_extra_info": {"acc": np.float64(i % 2)}} for i in range(n)]
        ),
    }
    tags = [
        {"status": "success", "global_steps": 3, "min_global_steps": v, "max_global_steps": 2}
        for v in (2, 2, 2, 1)
    ]
    payload = {
        "tensordict": TensorDict(fields, batch_size=[n]),
        "tags": tags,
        "keys": [f"u{i // 2}_{i % 2}_0" for i in range(n)],
        "global_steps": 3,
    }
    folder = root / "3" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(payload, folder / "tq_batch.pt")
    (folder / "meta.json").write_text(json.dumps({"global_steps": 3, "num_trajectories": n}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
