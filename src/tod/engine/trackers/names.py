"""The trackers that a recipe may name."""

from typing import Literal

TrackerName = Literal["mlflow", "tensorboard", "trackio", "wandb"]
"""A tracker by the name of its library."""
