"""One table of figures: nothing of a summary lacks a row, and no row lacks a figure."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import Summary, measure
from tod.runs.facts import BLOCKS, BY_PATH, FACTS, PLOTS, by_block, lookup, metrics

BY_LEG = ["population"]
"""Intervals of the legs: told by the words of the regime and not as figures."""


def leaves(record: type, path: str = "") -> list[str]:
    """Dotted paths of all that a record class holds, records opened."""
    found = []
    for name, hint in get_type_hints(record).items():
        options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        inner = next((option for option in options if is_dataclass(option)), None)
        found += [path + name] if inner is None else leaves(inner, f"{path}{name}.")
    return found


def test_every_figure_has_a_row_and_every_row_a_figure() -> None:
    assert sorted([*(fact.path for fact in FACTS), *BY_LEG]) == sorted(leaves(Summary))
    assert len(BY_PATH) == len(FACTS)


def test_every_block_has_a_heading_of_its_own() -> None:
    assert [*BLOCKS, *BY_LEG] == [item.name for item in fields(Summary)]
    assert len(set(BLOCKS.values())) == len(BLOCKS)


def test_what_a_row_refers_to_is_there() -> None:
    for fact in FACTS:
        assert fact.label
        assert fact.hint.endswith(".")
        for other in (fact.of, fact.ci):
            assert other is None or other in BY_PATH
        assert fact.plot is None or fact.plot in PLOTS
    assert {fact.plot for fact in FACTS} - {None} == set(PLOTS)
    assert len({fact.title for fact in FACTS if fact.title}) == sum(bool(f.title) for f in FACTS)


def test_a_plot_has_one_unit_and_one_way_of_writing() -> None:
    for title in PLOTS:
        drawn = [fact for fact in FACTS if fact.plot == title]
        assert len({(fact.unit, fact.form) for fact in drawn}) == 1, title


@pytest.fixture(scope="module")
def summary() -> Summary:
    rng = np.random.default_rng(3)
    contexts = Groups.equal(30, 8)
    tilt = rng.integers(0, 2, contexts.total).astype(float)
    tilt[:16] = 0.0
    return measure(tilt, tilt, contexts, utility=tilt).summary()


def test_metrics_are_the_figures_under_the_names_that_trackers_know(summary: Summary) -> None:
    found = metrics(summary.to_dict())
    assert found["ess_rel_median"] == summary.ess_rel.median
    assert found["ess_rel_q10"] == summary.ess_rel.q10
    assert found["max_weight_median"] == summary.tails.max_weight_median
    assert found["overlap_min"] == summary.overlap.minimum
    assert found["informative"] == summary.contexts.informative
    assert found["zero_information"] == summary.contexts.zero_information / 30
    assert "drift_ref" not in found
    whole: dict[str, Any] = {"drift": {"ref": 0.5}, "mismatch": {"k3": 0.25}}
    more = metrics(summary.to_dict() | whole)
    assert more == found | {"drift_ref": 0.5, "mismatch_k3": 0.25}


def test_what_is_known_stands_under_its_block_and_intervals_by_their_figure(
    summary: Summary,
) -> None:
    record = summary.to_dict()
    shown = {fact.path: text for _, known in by_block(record) for fact, text in known}
    known = {fact.path for fact in FACTS if lookup(record, fact.path) not in (None, [], (), {})}
    assert shown.keys() == known - {"ess_rel.median_ci90", "ess_rel.q10_ci90"}
    low, high = summary.ess_rel.median_ci90 or (None, None)
    assert shown["ess_rel.median"] == f"{summary.ess_rel.median:.2f} [{low:.2f}, {high:.2f}]"
    assert shown["contexts.candidates_per_context"] == "8"
