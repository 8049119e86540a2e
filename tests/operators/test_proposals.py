"""How many candidates each model of a mixture draws, and what a proposal is by default."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec_values import kind_of, members
from tod.base import SpecError
from tod.operators.proposals import MixtureProposal, PairsProposal, ProposalSpec

MODELS = ("old", "ref", "teacher")


def mixture(shares, size):
    return MixtureProposal.parse({"source": "mixture", "shares": shares, "size": size})


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.integers(2, 40),
)
def test_largest_remainders_share_out_all_candidates(parts, size):
    """Every model gets its quota rounded down or up, and those rounded up have the larger rests."""
    shares = dict(zip(MODELS, map(float, parts), strict=False))
    try:
        counts = mixture(shares, size).counts
    except SpecError:
        return  # a share without a candidate: the test below
    assert sum(counts.values()) == size
    quota = {
        name: Fraction(size) * Fraction(x) / sum(parts)
        for name, x in zip(shares, parts, strict=True)
    }
    rest = {name: quota[name] - int(quota[name]) for name in shares}
    up = {name for name in shares if counts[name] > int(quota[name])}
    assert all(0 <= counts[name] - int(quota[name]) <= 1 for name in shares)
    assert all(rest[a] >= rest[b] for a in up for b in shares.keys() - up)


def test_half_and_half_of_five_is_three_and_two():
    assert sorted(mixture({"old": 0.5, "ref": 0.5}, 5).counts.values()) == [2, 3]
    assert mixture({"old": 3.0, "teacher": 1.0}, 8).counts == {"old": 6, "teacher": 2}
    with pytest.raises(SpecError, match="no rollout out of 4"):
        mixture({"old": 0.95, "ref": 0.05}, 4)


@pytest.mark.parametrize("member", members(ProposalSpec), ids=kind_of)
def test_by_default_the_policy_itself_is_sampled(member):
    """Log-probs at a temperature of 1 are those of the model, so that log μ needs no correction."""
    fields = member.model_fields
    assert fields["temperature"].default == 1.0
    assert getattr(member, "top_p", 1.0) in (1.0, None) or fields["top_p"].default == 1.0
    assert "top_k" not in fields or fields["top_k"].default is None


def test_pairs_are_drawn_from_a_model_only_where_a_utility_chooses_among_them():
    """Else both completions stand in columns, and no model samples."""
    assert PairsProposal.parse({"source": "pairs", "size": 2}).samplers == ()
    drawn = PairsProposal.parse({"source": "pairs", "utility": "r", "size": 4, "model": "ref"})
    assert drawn.samplers == ("ref",)
    with pytest.raises(SpecError, match="size is 2"):
        PairsProposal.parse({"source": "pairs", "size": 4})
