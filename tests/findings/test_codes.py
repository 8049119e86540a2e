"""Codes against dictionaries, and the figures of texts that are made of them."""

from collections import Counter

import numpy as np
import pytest

from tod.base import Groups
from tod.findings.codes import bounded, by_appearance, distinct
from tod.findings.detectors.groups import split_inputs
from tod.findings.detectors.verifier import contradictions
from tod.findings.rollout_series import distinct_per_group, series_of
from tod.findings.run import RolloutTable
from tolerance import double


def drawn(seed: int, texts: int, wide: bool, mixed: bool) -> RolloutTable:
    """Three steps of groups of uneven sizes; codes as far apart as digests are, if ``wide``."""
    rng = np.random.default_rng(seed)
    groups = Groups(rng.integers(1, 6, 30))
    step = np.sort(rng.integers(1, 4, 30))
    text = rng.integers(0, texts, groups.total)
    prompt = rng.integers(0, 8, groups.total if mixed else 30)
    rows = prompt if mixed else groups.spread(prompt)
    if wide:
        of = rng.integers(-(2**62), 2**62, 1000)
        text, rows = of[text], of[rows]
    reward = rng.integers(0, 2, groups.total).astype(float)
    return RolloutTable(groups, step, reward, input=rows, text=text)


def test_codes_of_digests() -> None:
    """Equal where the digests are, by dictionaries."""
    values = np.array([7, -(2**60), 7, 2**60, -(2**60), 0])
    assert by_appearance(values).tolist() == [0, 1, 0, 2, 1, 3]
    small = bounded(values)
    assert small.min() >= 0
    assert small.max() < 2 * len(values)
    assert len(set(zip(small.tolist(), values.tolist(), strict=True))) == len(set(values.tolist()))
    assert distinct(values).tolist() == sorted(set(values.tolist()))
    assert distinct(values[:0]).tolist() == [] == bounded(values[:0]).tolist()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("texts", [2, 400])
@pytest.mark.parametrize("mixed", [False, True])
def test_figures_of_texts_by_counting(wide: bool, texts: int, mixed: bool) -> None:
    """Different texts of a group, pairs of equal answers, and prompts in several groups."""
    for seed in range(20):
        table = drawn(seed, texts, wide, mixed)
        assert table.text is not None
        assert table.input is not None
        owner, step = table.groups.owner.tolist(), table.step_of_row.tolist()
        texts_of = [set() for _ in range(len(table.groups))]
        places: dict[tuple[int, int], list[int]] = {}
        answers: dict[tuple[int, int], Counter[float]] = {}
        rows = zip(owner, step, table.input.tolist(), table.text.tolist(), strict=True)
        for (group, at, prompt, text), reward in zip(rows, table.reward.tolist(), strict=True):
            texts_of[group].add(text)
            places.setdefault((at, prompt), []).append(group)
            answers.setdefault((prompt, text), Counter())[reward] += 1
        assert distinct_per_group(table.groups, table.text).tolist() == [*map(len, texts_of)]
        pairs = sum(n.total() * (n.total() - 1) // 2 for n in answers.values())
        unequal = sum(n[0.0] * n[1.0] for n in answers.values())
        assert contradictions(table)[:2] == (pairs, unequal)
        split = split_inputs(table)
        several = [groups for groups in places.values() if len(set(groups)) > 1]
        assert (split.inputs, split.split) == (len(places), len(several))
        if several:
            assert split.groups == np.median([len(set(groups)) for groups in several])
            assert split.rows == np.median([len(groups) for groups in several])


def test_the_share_of_groups_with_the_most_frequent_text() -> None:
    """By counting; of equally frequent ones the smallest code."""
    for seed in range(20):
        table = drawn(seed, 5, wide=False, mixed=False)
        assert table.text is not None
        series = series_of(table)["same_text"]
        for at, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
            there = table.step_of_row == at
            count = Counter(table.text[there].tolist())
            modal = min(count, key=lambda text: (-count[text], text))
            groups = table.groups.owner[there]
            held = set(groups[table.text[there] == modal].tolist())
            assert value == pytest.approx(
                len(held) / len(set(groups.tolist())), rel=double(30), abs=0
            )
