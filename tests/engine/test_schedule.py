"""The learning rate of every update, written out by hand."""

import math

import pytest

from tod.engine.settings import Train
from tod.engine.update import learning_rate
from tolerance import double

UPDATES = 10
RATES = {
    # a warm-up of two updates ends on the full rate; the decay begins with the update after it
    ("constant", 0.0): [1.0] * 10,
    ("constant", 0.2): [0.5] + [1.0] * 9,
    ("linear", 0.0): [1 - i / 10 for i in range(10)],
    ("linear", 0.2): [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8],
    ("cosine", 0.0): [(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)],
    ("cosine", 0.2): [0.5, 1.0] + [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)],
    ("linear", 0.9): [(i + 1) / 9 for i in range(9)] + [1.0],
}


@pytest.mark.parametrize(("schedule", "warmup"), RATES)
@pytest.mark.parametrize("per_batch", [1, 2, 5])
def test_every_update_has_its_rate(schedule, warmup, per_batch):
    train = Train(
        steps=UPDATES // per_batch,
        updates_per_batch=per_batch,
        learning_rate=3e-4,
        schedule=schedule,
        warmup=warmup,
    )
    rates = [learning_rate(train, update) / 3e-4 for update in range(UPDATES)]
    assert rates == pytest.approx(RATES[schedule, warmup], rel=double(8), abs=double(8))
