"""Settings by the key of the person's framework, however a reader spells its name."""

import pytest

from tod.findings.settings import known_key, setting


@pytest.mark.parametrize("spelled", ["ms-swift", "ms_swift"])
def test_a_framework_is_known_in_both_spellings(spelled):
    assert setting("samples_per_prompt", spelled) == "--num_generations"
    assert known_key("samples_per_prompt", spelled)


def test_own_logs_have_own_keys():
    assert setting("samples_per_prompt", "own") == "proposal.k"


def test_without_a_known_key_the_words_stand():
    assert setting("reward_weights", "verl") == "the weights of the rewards"
    assert setting("reward_weights", None) == "the weights of the rewards"
    assert not known_key("reward_weights", "verl")
