"""The learning rate as a pure function of the update: nothing to checkpoint."""

import math

from tod.engine.settings import Train


def learning_rate(train: Train, update: int) -> float:
    """Rate of update ``update`` (from 0) of steps·updates_per_batch in all.

    Linear warm-up over a share of the updates, then constant, or decay to zero at the end.
    """
    total = train.steps * train.updates_per_batch
    warm = round(train.warmup * total)
    if update < warm:
        return train.learning_rate * (update + 1) / warm
    if train.schedule == "constant":
        return train.learning_rate
    progress = (update - warm) / max(total - warm, 1)
    if train.schedule == "linear":
        return train.learning_rate * (1.0 - progress)
    return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
