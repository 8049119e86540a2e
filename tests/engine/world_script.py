"""What `torchrun` starts in test_world: one batch, its gradient written by the main process."""

import sys
from pathlib import Path

import numpy as np
import torch
from tests_engine_conftest import small_run  # type: ignore[import-not-found]

from tod.engine.collect import collect
from tod.engine.distributed import World
from tod.engine.session import open_session
from tod.engine.update import update


def main(output: Path, dtype: str, micro_batch: int, contexts: int) -> None:
    settings = small_run(
        output.parent / "unused",
        operator__proposal__prompts=contexts,
        train__dtype=dtype,
        train__max_tokens_per_micro_batch=micro_batch,
        train__max_grad_norm=None,
    )
    world = World.join()
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
            output,
            gradients=np.stack(gradients),
            ids=evidence.rollouts.ids,
            log_policy=updated.log_policy,
            activation=np.array(updated.activation),
            world_size=world.size,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
