"""The enumerated language: counts, states, and the chain rule both ways."""

import numpy as np
import pytest

from tod.base import SpecError
from tod.study.language import Language
from tod.study.world import normalised
from tolerance import double


@pytest.mark.parametrize(
    ("vocabulary", "length", "ends", "count", "states"),
    [(3, 3, False, 27, 13), (8, 3, False, 512, 73), (27, 1, False, 27, 1), (3, 3, True, 15, 7)],
)
def test_counts_of_sequences_and_states(vocabulary, length, ends, count, states):
    language = Language.of(vocabulary, length, ends=ends)
    assert len(language) == count
    assert language.state_count == states


def test_every_sequence_occurs_once_and_starts_in_the_first_state():
    language = Language.of(3, 3, ends=True)
    words = [tuple(word) for word in language.sequences.split(language.symbols)]
    assert len(set(words)) == len(words)
    assert all(0 not in word[:-1] for word in words)
    assert all(word[-1] == 0 or len(word) == 3 for word in words)
    assert set(language.states[language.sequences.offsets[:-1]]) == {0}


def test_a_state_is_a_prefix():
    language = Language.of(3, 3, ends=True)
    seen = {}
    for word, states in zip(
        language.sequences.split(language.symbols),
        language.sequences.split(language.states),
        strict=True,
    ):
        for t, state in enumerate(states):
            assert seen.setdefault(state, tuple(word[:t])) == tuple(word[:t])
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("ends", [False, True])
def test_the_chain_rule_there_and_back(rng, ends):
    language = Language.of(3, 3, ends=ends)
    law = normalised(2.0 * rng.standard_normal((4, len(language))))
    tokens = language.of_tokens(language.conditionals(law))
    np.testing.assert_allclose(language.of_sequences(tokens), law, rtol=0, atol=double(27 + 8, 16))


def test_conditionals_add_up_to_one_also_where_the_law_never_goes():
    language = Language.of(3, 2)
    law = np.full((1, 9), -np.inf)
    law[0, :2] = np.log([0.25, 0.75])  # only the first branch is ever taken
    conditionals = np.exp(language.conditionals(law))
    np.testing.assert_allclose(conditionals.sum(axis=2), 1.0)
    np.testing.assert_allclose(conditionals[0, 0], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(conditionals[0, 1], [0.25, 0.75, 0.0])


@pytest.mark.parametrize(("vocabulary", "length"), [(1, 3), (3, 0), (10, 9)])
def test_a_language_that_cannot_be_enumerated_is_refused(vocabulary, length):
    with pytest.raises(SpecError, match="cannot be enumerated"):
        Language.of(vocabulary, length)
