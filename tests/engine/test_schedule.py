"""The learning rate of every update, written out by hand."""

import math

import pytest

from tod.base import SpecError
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


@pytest.mark.parametrize(("schedule", "warmup"), RATES)
def test_a_schedule_is_laid_over_its_own_steps(schedule, warmup):
    told = {"learning_rate": 1.0, "schedule": schedule, "warmup": warmup}
    short = Train(steps=4, schedule_steps=UPDATES, **told)
    rates = [learning_rate(short, update) for update in range(4)]
    assert rates == pytest.approx(RATES[schedule, warmup][:4], rel=double(8), abs=double(8))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_no_run_goes_on_where_the_rate_is_0(schedule):
    with pytest.raises(SpecError, match="steps 5 go beyond schedule_steps 4, where the"):
        Train(steps=5, schedule_steps=4, schedule=schedule)


def test_a_constant_rate_has_no_end():
    train = Train(steps=9, schedule_steps=4, schedule="constant", warmup=0.5, learning_rate=1.0)
    assert [learning_rate(train, update) for update in range(9)] == [0.5] + [1.0] * 8
