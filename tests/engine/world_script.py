"""What test_world starts: gradients of one batch by settings, written by the main process."""

import sys
from pathlib import Path

import numpy as np
import torch
from tests_engine_conftest import small_run  # type: ignore[import-not-found]

from tod.engine.collect import collect
from tod.engine.distributed import World
from tod.engine.session import open_session
from tod.engine.update import update


def write(world: World, folder: Path, name: str) -> None:
    """Write one batch's gradient, of settings named as ``dtype-tokens-prompts``."""
    dtype, micro_batch, contexts = name.split("-")
    settings = small_run(
        folder / "unused",
        operator__proposal__prompts=int(contexts),
        train__dtype=dtype,
        train__max_tokens_per_micro_batch=int(micro_batch),
        train__max_grad_norm=None,
    )
    session = open_session(settings, world)
    gradients: list[np.ndarray] = []

    def keep(*_: object, **__: object) -> None:
        flat = [p.grad.double().reshape(-1) for p in session.parameters if p.grad is not None]
        gradients.append(torch.cat(flat).numpy())

    session.optimiser.register_step_pre_hook(keep)
    evidence = collect(session, 1)
    updated = update(session, evidence, settings.procedure.tilt, settings.operator.action, 1)
    if world.main:
        np.savez(
            folder / f"{name}.npz",
            gradients=np.stack(gradients),
            ids=evidence.rollouts.ids,
            log_policy=updated.log_policy,
            activation=np.array(updated.activation),
            world_size=world.size,
        )


if __name__ == "__main__":
    joined = World.join()
    for settings_name in sys.argv[2:]:
        write(joined, Path(sys.argv[1]), settings_name)
