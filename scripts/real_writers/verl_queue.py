"""Remakes tests/live/verl_queue.json: a batch as verl's own queue holds it, and our figures of it.

Usage: make verl-environment; build/verl/bin/python scripts/real_writers/verl_queue.py

verl's `fit` runs one step (tests/live/verl_world.py says what of it is real): what its queue
returned, its configuration, and what its Tracking was told are written down.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "live"), str(ROOT / "scripts" / "real_writers")]
os.environ["VERL_USE_EXTERNAL_MODULES"] = "tod.live.verl.plugin"

import verl_world as world  # noqa: E402
from given import tokenizer  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from tod.live.verl.queue import asked, fetched  # noqa: E402

OUT = ROOT / "tests" / "live" / "verl_queue.json"


def main() -> None:
    """One step, written down."""
    folder = Path(tempfile.mkdtemp())
    tracked = world.tracking(folder)
    settings = world.config(folder)
    held: dict[str, Any] = {}
    with world.started(settings):
        trainer = world.trainer_of(settings, 1, tokenizer())
        whole: Any = OmegaConf.to_container(settings, resolve=True)
        inner = trainer.tod.step

        def step(step: int, get: Any, keys: Any, tags: Any, logged: Any, *rest: Any) -> None:
            rows = asked(keys, tags)
            fields = plain(fetched(get, rows, extras=True))
            held.update(keys=list(keys), tags=list(tags), logged=dict(logged), fields=fields)
            inner(step, get, keys, tags, logged, *rest)

        trainer.tod.step = step
        world.drive(trainer, [world.rollouts(1, prompts=4, size=4, length=8)])
    (row,) = [json.loads(line) for line in tracked.read_text().splitlines()]
    figures = {name: x for name, x in row["data"].items() if name.startswith("tod/")}
    logged = {name: float(x) for name, x in held.pop("logged").items()}
    whole["trainer"]["default_local_dir"] = "checkpoints"
    recorded = {"settings": whole, **held, "logged": logged, "figures": figures}
    OUT.write_text(json.dumps(recorded, indent=None, separators=(",", ":"), default=str) + "\n")
    print(f"{OUT}: {len(held['keys'])} rows, {len(figures)} figures, verl {version('verl')}")


def plain(data: Any) -> dict[str, Any]:
    """What the queue returned: a jagged field as its rows, any other as a list."""
    found = {}
    for name in data.keys():  # noqa: SIM118 - a TensorDict iterates over its rows
        field = data[name]
        if getattr(field, "is_nested", False):
            found[name] = {
                "dtype": str(field.dtype).removeprefix("torch."),
                "rows": [x.tolist() for x in field.unbind()],
            }
        else:
            found[name] = {"list": [getattr(x, "data", x) for x in field]}
    return found


if __name__ == "__main__":
    main()
