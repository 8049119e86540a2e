"""A study small enough to be run in a test; files of this folder that are no tests are imported."""

import sys
from pathlib import Path

import pytest

from tod.operators import (
    Clip,
    GroupMean,
    LeaveOneOut,
    Operator,
    PairsProposal,
    PolicyGradient,
    Preference,
    Residual,
    Truncate,
    WeightedRegression,
)
from tod.operators.aggregation import SequenceMeanTokenSum
from tod.study.swap.exact_spec import ExactSpec

sys.path.insert(0, str(Path(__file__).parent))


def gradient(region, advantage=None, level="token", **rest):
    """A policy gradient of the shaped residual, sequences as sums."""
    return PolicyGradient(
        level=level,
        trust_region=region,
        advantage=advantage or GroupMean(),
        aggregation=SequenceMeanTokenSum(),
        **{"pull": Residual(), **rest},
    )


OPERATORS = {
    "centred": Operator(action=WeightedRegression(centred=True)),
    "dpo": Operator(
        proposal=PairsProposal(source="pairs", utility="u", size=8), action=Preference()
    ),
    "log_ratio_variance": Operator(action=gradient(Truncate(cap=1, floor=1), LeaveOneOut())),
    "token_clip": Operator(action=gradient(Clip())),
    "sequence_clip": Operator(action=gradient(Clip(), level="sequence_mean")),
    "weighted_mle": Operator(action=WeightedRegression()),
}


@pytest.fixture(scope="session")
def tiny() -> ExactSpec:
    """Nine sequences in two contexts, two worlds, two seeds, twelve steps, three proposals."""
    return ExactSpec(
        worlds=2,
        seeds=2,
        vocabulary=3,
        length=2,
        contexts=2,
        size=8,
        steps=12,
        rate=0.1,
        legs_every=1,
        eta=(1.0,),
        mu={
            "base": {"kind": "base"},
            "hole": {"kind": "hole", "strength": 0.3},
            "on-policy": {"kind": "base", "refresh": 4},
        },
        operators=OPERATORS,
        contrast=("weighted_mle",),
        controls={"negative": "centred", "ladder": "centred", "ladder_eta": (0.0, 5.0)},
    )
