"""Runs of the embedded model that a benchmark compares: trained once, read ever after."""

from typing import Any

from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory


def records(settings: RunSettings) -> list[dict[str, Any]]:
    """Records of every step of a run; it is trained, or goes on, where they are not all there."""
    place = settings.directory
    begun = RunDirectory.begun(place)
    done = [*RunDirectory.open(place).steps.read()] if begun else []
    if not done or done[-1]["step"] < settings.train.steps:
        train(settings, resume=begun)
    return [*RunDirectory.open(place).steps.read()]
