"""Trains the small models that the swap study on language models starts from.

Usage: python scripts/make_study_models.py [NAME ...] [--output studies/models]

``distance``: like ``tod://tiny`` with fewer steps, for countdown scored by distance. ``sums`` and
``sums-teacher``: on solved sums. ``countdown-warm``, ``distance-warm``, ``sums-warm``: the bases
after 150 steps towards a softer target (half the sharpness), with another seed than any arm. All
are seeded; the files are kept in the repository so that arms of different machines start alike.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import torch

from make_tiny import build_tokenizer, train
from tod.engine.settings import RunSettings
from tod.engine.tasks import countdown, sums
from tod.runs import RunDirectory

ROOT = Path(__file__).parents[1]
BASES: dict[str, tuple[ModuleType, int]] = {
    "distance": (countdown, 200),
    "sums": (sums, 600),
    "sums-teacher": (sums, 1500),
}
WARM = ("countdown-warm", "distance-warm", "sums-warm")
TASKS = {
    "countdown": ("countdown", {"name": "correct", "kind": "countdown"}, "tod://tiny"),
    "distance": (
        "countdown",
        {"name": "correct", "kind": "countdown", "distance": 3.0},
        "distance",
    ),
    "sums": ("sums", {"name": "correct", "kind": "sums"}, "sums"),
}


def warm(name: str, models: Path, output: Path) -> None:
    """Train a base towards half the sharpness by the variance of its log-ratio, and keep it."""
    from tod.engine.train import train as run

    kind, utility, base = TASKS[name.removesuffix("-warm")]
    start = base if base.startswith("tod://") else str(models / base)
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings.parse(
            {
                "name": name,
                "model": start,
                "task": {"kind": kind},
                "utilities": [utility],
                "target": {"kind": "verifier", "eta": 2.5, "utility": "correct"},
                "operator": {
                    "proposal": {"prompts": 32, "size": 16, "max_new_tokens": 24},
                    "action": {
                        "kind": "policy_gradient",
                        "level": "sequence_sum",
                        "trust_region": "unbounded",
                        "advantage": "leave_one_out",
                        "aggregation": "sequence_mean_token_sum",
                        "pull": {"kind": "residual", "at": "current"},
                    },
                },
                "train": {"steps": 150, "learning_rate": 1e-3, "seed": 4242},
                "evaluate": {"held_out_prompts": 200, "samples_per_prompt": 16},
                "output": f"{folder}/run",
            }
        )
        path = run(settings)
        first, *_, last = RunDirectory.open(path).steps.read()
        print(name, [end["held_out"]["pass_at_1"] for end in (first, last)], flush=True)
        shutil.rmtree(output / name, ignore_errors=True)
        shutil.copytree(path / "model", output / name)


def main() -> int:
    """Trains and saves the models named on the command line; all of them if none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*BASES, *WARM], metavar="NAME")
    parser.add_argument("--output", type=Path, default=ROOT / "studies" / "models")
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    for name in options.names:
        if name in WARM:
            warm(name, options.output, options.output)
            continue
        task, steps = BASES[name]
        model = train(tokenizer, options.steps or steps, task).to(torch.bfloat16)
        model.save_pretrained(options.output / name)
        tokenizer.save_pretrained(options.output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
