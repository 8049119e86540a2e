"""OpenRLHF's own program on one machine without accelerators.

    python tests/live/openrlhf_world.py FOLDER [--plain] OPTION ...

runs `python -m tod.live.openrlhf OPTION ...` (with ``--plain`` OpenRLHF's own program) over a few
countdown prompts. Arguments, Ray, both trainers, the samples generator, the executor of rollouts
with its reward file, the experience maker, logging and checkpoints of the trainer's state are
OpenRLHF's. In the place of DeepSpeed are `Policy` and `Worker`, which run its `Actor` and
`PolicyLoss` on the embedded model in single precision; in the place of vLLM is `Engine`, which
samples the same model (openrlhf_workers.py). flash-attn is built on CUDA alone: what is imported of
it is never called.
"""

import json
import os
import runpy
import shlex
import sys
from pathlib import Path

FLASH = {
    "__init__.py": "",
    "bert_padding.py": "index_first_axis = pad_input = rearrange = unpad_input = None\n",
    "utils/__init__.py": "",
    "utils/distributed.py": "all_gather = None\n",
}
OPTIONS = """
--data.input_key input --data.label_key label --data.max_len 64
--rollout.max_new_tokens 24 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4
--rollout.micro_batch_size 8 --train.batch_size 32 --train.micro_batch_size 8
--actor.num_gpus_per_node 1 --ref.num_gpus_per_node 1 --vllm.num_engines 1
--actor.adam.lr 1e-3 --algo.kl.init_coef 0.1 --logger.wandb.run_name run
"""
REWARD = """
import json
from tod.engine.tasks.countdown import check

def reward_func(queries, prompts, labels):
    label = json.loads(labels[0])
    answer = queries[0][len(prompts[0]):].split("<")[0]
    right = float(check(answer, label["numbers"], label["target"]))
    return {"rewards": right, "scores": right, "extra_logs": {"characters": float(len(answer))}}
"""


def flash(folder: Path) -> str:
    """Write the package that stands for flash-attn; the directory that finds it."""
    for name, text in FLASH.items():
        file = folder / "flash" / "flash_attn" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(folder / "flash")


def prepare(folder: Path, prompts: int = 24) -> list[str]:
    """Write what a training needs, and the options that name it."""
    from tod.engine import tiny
    from tod.engine.tasks.countdown import prompts as problems

    flash(folder)
    (folder / "reward.py").write_text(REWARD)
    rows = [
        {
            "input": row["prompt"],
            "label": json.dumps({"numbers": row["numbers"], "target": row["target"]}),
        }
        for row in problems("train", prompts)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        f"--actor.model_name_or_path={tiny.path('tod://tiny')}",
        f"--reward.remote_url={folder / 'reward.py'}",
        f"--data.prompt_dataset={folder / 'prompts.jsonl'}",
        f"--ckpt.path={folder / 'checkpoints'}",
        f"--logger.tensorboard_dir={folder / 'logs'}",
        *shlex.split(OPTIONS),
    ]


def main(words: list[str]) -> None:
    """Run the program with our workers in the places of those that need accelerators."""
    import ray

    plain = "--plain" in words
    words = [word for word in words if word != "--plain"]
    ray.init(num_cpus=16, num_gpus=4, include_dashboard=False, log_to_driver=True)
    import openrlhf.trainer.ray
    import openrlhf.trainer.ray.launcher
    import openrlhf.trainer.ray.ppo_actor
    from openrlhf_workers import Policy, Worker, engines

    openrlhf.trainer.ray.create_vllm_engines = engines
    openrlhf.trainer.ray.launcher.ReferenceModelActor = ray.remote(num_gpus=1)(Worker)
    openrlhf.trainer.ray.ppo_actor.PolicyModelActor = ray.remote(num_gpus=1)(Policy)
    if plain:
        sys.argv = ["train_ppo_ray", *words]
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)
    else:
        from tod.live.openrlhf.__main__ import main as watched

        watched(words)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    options = prepare(place)
    found = [flash(place), *sys.path[:1], os.environ.get("PYTHONPATH", "")]
    sys.path.insert(0, found[0])
    os.environ["PYTHONPATH"] = os.pathsep.join(found)
    main([*options, *sys.argv[2:]])
