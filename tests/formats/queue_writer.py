"""verl's ``tq_batch.pt``, to the letter of what its queue and tensordict write.

tensordict is not installed here: stand-ins with its names make the pickle ask for them. The nested
tensors are real ones of torch.
"""

import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = {
    "tensordict": (),
    "tensordict._reductions": ("_make_td",),
    "tensordict._td": ("TensorDict",),
    "tensordict.tensorclass": ("NonTensorData", "NonTensorStack"),
}


@contextmanager
def tensordict_stand_in() -> Iterator[dict[str, Any]]:
    """Classes that pickle as tensordict's do, for as long as the block lasts."""
    found: dict[str, Any] = {}
    for name, members in _NAMES.items():
        module = types.ModuleType(name)
        for member in members:
            thing: Any = type(member, (), {}) if member[0] != "_" else (lambda *_: None)
            thing.__module__, thing.__qualname__, thing.__name__ = name, member, member
            setattr(module, member, thing)
            found[member] = thing
        sys.modules[name] = module
    make, kind = found["_make_td"], found["TensorDict"]
    kind.__reduce__ = lambda self: (make, (kind, vars(self)))
    try:
        yield found
    finally:
        for name in _NAMES:
            del sys.modules[name]


def _made(kind: Any, **state: Any) -> Any:
    thing = kind()
    vars(thing).update(state)
    return thing


def write_verl_batch(
    world: Any, root: Path, rewards: bool = True, log_probs: bool = True, strided: bool = False
) -> Path:
    """One batch a step: {step}/0/tq_batch.pt, weights one version old for group 2."""
    import torch

    layout = torch.strided if strided else torch.jagged

    def nested(rows: list[Any]) -> Any:
        with warnings.catch_warnings():  # the strided layout is a prototype, says torch
            warnings.simplefilter("ignore")
            return torch.nested.as_nested_tensor(rows, layout=layout)

    for step in world.steps:
        rows = world.of_step(step)
        order = list(range(len(rows)))[::-1]
        rows = [rows[i] for i in order]
        scores = [torch.zeros(len(r.ids)) for r in rows]
        for score, r in zip(scores, rows, strict=True):
            score[-1] = r.reward
        fields = {
            "prompts": nested([torch.tensor(r.prompt_ids) for r in rows]),
            "responses": nested([torch.tensor([*r.ids, 7]) for r in rows]),
            "response_mask": nested([torch.tensor([1] * len(r.ids) + [0]) for r in rows]),
        }
        if rewards:
            fields["rm_scores"] = nested(scores)
        if log_probs:
            fields["rollout_log_probs"] = nested([torch.tensor([*r.mu, 0.0]) for r in rows])
        with tensordict_stand_in() as names:

            def stack(values: list[Any], names: Any = names) -> Any:
                empty = _made(names["TensorDict"], _tensordict={}, batch_size=torch.Size([]))
                data = [
                    _made(
                        names["NonTensorData"],
                        _tensordict=empty,
                        non_tensordict={"data": value, "_is_non_tensor": True},
                    )
                    for value in values
                ]
                return _made(names["NonTensorStack"], stack_dim=0, tensordicts=data)

            fields["uid"] = stack([f"{r.step:04x}-{r.group:04x}" for r in rows])
            fields["raw_prompt"] = stack([[{"role": "user", "content": r.prompt}] for r in rows])
            extra = {"reward_extra_info": {"acc": 1.0, "why": "text"}, "min_global_steps": 0}
            fields["extra_fields"] = stack([extra] * len(rows))
            held = _made(
                names["TensorDict"], _tensordict=fields, batch_size=torch.Size([len(rows)])
            )
            tags = [
                {
                    "status": "success",
                    "prompt_len": len(r.prompt_ids),
                    "response_len": len(r.ids) + 1,
                    "seq_len": len(r.prompt_ids) + len(r.ids) + 1,
                    "global_steps": step,
                    "min_global_steps": step - 1 - (r.group == 2),
                    "max_global_steps": step - 1,
                }
                for r in rows
            ]
            keys = [f"{r.step:04x}-{r.group:04x}_{r.place}_0" for r in rows]
            payload = {"tensordict": held, "tags": tags, "keys": keys, "global_steps": step}
            folder = root / "GBS4_N4_in9_out9" / str(step) / "0"
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(payload, folder / "tq_batch.pt")
            (folder / "meta.json").write_text('{"global_steps": 1, "num_trajectories": 4}')
    return root
