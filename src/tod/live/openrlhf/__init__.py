"""OpenRLHF: its own PPO trainer watched, or its experiences written as rollouts.

`python -m tod.live.openrlhf` starts what `python -m openrlhf.cli.train_ppo_ray` starts.
"""

from tod.live.openrlhf.exporter import OpenRLHFExporter

__all__ = ["OpenRLHFExporter"]
