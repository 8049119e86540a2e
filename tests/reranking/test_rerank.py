"""Reranking of files: answers, curves by enumeration, verdicts of planted cases, refusals."""

import json
from itertools import combinations
from math import comb, exp

import numpy as np
import polars as pl
import pytest

import tod
from tod.base import DataError, SpecError
from tod.reranking.words import headline, over_optimised, selection
from tolerance import chance, double


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(prompts=12, k=6, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "prompt": f"what is {p}?",
            "response": f"so <answer>{rng.integers(3)}</answer>",
            "reward": round(float(rng.random()), 1),
            "human": float(rng.random()),
        }
        for p in range(prompts)
        for _ in range(k)
    ]


def groups(table):
    """Rows by prompt, in order."""
    found = {}
    for row in table:
        found.setdefault(row["prompt"], []).append(row)
    return list(found.values())


def test_json_lines_and_parquet_of_usual_columns_give_one_answer_a_prompt(tmp_path):
    table = rows()
    lines = tod.rerank(write(tmp_path / "x.jsonl", table))
    pl.DataFrame(table).write_parquet(tmp_path / "x.parquet")
    parquet = tod.rerank(str(tmp_path / "x.parquet"))
    answers = lines.to_frame()
    assert answers.drop("prompt_id").equals(parquet.to_frame().drop("prompt_id"))
    assert answers["prompt"].to_list() == [group[0]["prompt"] for group in groups(table)]
    for answer, group in zip(answers.iter_rows(named=True), groups(table), strict=True):
        taken = group[answer["index"]]
        best = max(row["reward"] for row in group)
        assert taken["reward"] == answer["reward"] == best
        assert taken["response"] == answer["response"] == f"so <answer>{answer['answer']}</answer>"
        assert answer["weight"] == 1 / sum(row["reward"] == best for row in group)
    path = lines.write(tmp_path / "answers.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == answers.to_dicts()


def test_the_curve_of_the_best_is_the_mean_over_all_subsets(tmp_path):
    table = rows()
    found = tod.rerank(write(tmp_path / "x.jsonl", table), gold="human").to_dict()
    for point in found["rules"][0]["curve"]:
        k = point["k"]
        best, human = [], []
        for group in groups(table):
            for chosen in combinations(group, k):
                top = max(row["reward"] for row in chosen)
                best.append(top)
                human.append(np.mean([r["human"] for r in chosen if r["reward"] == top]))
        assert point["utility"] == pytest.approx(np.mean(best), abs=double(200))
        assert point["gold"] == pytest.approx(np.mean(human), abs=double(200))
        assert point["method"] == "exact"


def test_the_curve_of_the_vote_is_the_mean_over_all_subsets(tmp_path):
    table = rows(prompts=6)
    found = tod.rerank(write(tmp_path / "x.jsonl", table), "vote", subsets=3000).to_dict()
    for point in found["rules"][0]["curve"]:
        every = []
        for group in groups(table):
            for chosen in combinations(group, point["k"]):
                votes = [row["response"] for row in chosen]
                most = max(map(votes.count, votes))
                # which of the winners' candidates comes first is a matter of the subset's order
                winners = {v for v in votes if votes.count(v) == most}
                each = [
                    np.mean([r["reward"] for r in chosen if r["response"] == v]) for v in winners
                ]
                every.append(np.mean(each))
        near = chance(0.5, 3000) + double(3000)
        assert point["utility"] == pytest.approx(np.mean(every), abs=near)


def test_a_draw_by_weight_follows_the_hypergeometric_law(tmp_path):
    """0/1 rewards, b = μ: of k with c passes one passes with c·e^η/(c·e^η + k − c)."""
    eta, k, passes = 1.5, 3, [0, 2, 5, 6]
    table = [
        {"prompt": f"{p}", "response": "a", "reward": float(i < c)}
        for p, c in enumerate(passes)
        for i in range(6)
    ]
    found = tod.rerank(write(tmp_path / "x.jsonl", table), "sir", eta=eta, k=6, subsets=4000)
    by_size = dict(zip(found.ranked[0].sizes, found.ranked[0].outcomes, strict=True))
    for c, value in zip(passes, by_size[k].utility, strict=True):
        exact = sum(
            comb(c, j) * comb(6 - c, k - j) / comb(6, k) * j * exp(eta) / (j * exp(eta) + k - j)
            for j in range(k + 1)
        )
        assert value == pytest.approx(exact, abs=chance(0.5, 4000) + double(4000))


def test_several_rules_are_compared_in_pairs(tmp_path):
    found = tod.rerank(write(tmp_path / "x.jsonl", rows()), ["best_of_k", "vote"])
    first, second = found.to_dict()["rules"]
    assert first["curve"][-1]["against_first"] is None
    off = found.ranked[1].outcomes[-1].utility - found.ranked[0].outcomes[-1].utility
    against = second["curve"][-1]["against_first"]
    assert against["value"] == pytest.approx(off.mean())
    assert against["se"] == pytest.approx(off.std(ddof=1) / np.sqrt(len(off)))
    assert len(found.to_frame()) == 24
    assert second["effective"] == np.median(
        [
            max(map([r["response"] for r in group].count, [r["response"] for r in group]))
            for group in groups(rows())
        ]
    )


def test_the_first_k_are_the_file_with_no_others(tmp_path):
    table = rows(k=6)
    cut = [row for group in groups(table) for row in group[:4]]
    rules = ["best_of_k", "vote", "sir", "rejection", "weighted_vote", "mbr"]
    whole = tod.rerank(write(tmp_path / "x.jsonl", table), rules, k=4, eta=3.0, subsets=4)
    alone = tod.rerank(write(tmp_path / "y.jsonl", cut), rules, eta=3.0, subsets=4)
    assert whole.to_frame().equals(alone.to_frame())
    assert whole.to_dict()["rules"] == alone.to_dict()["rules"]


def test_short_groups_are_answered_and_left_out_of_the_curve(tmp_path):
    table = rows(prompts=10, k=4)[:-3]  # the last prompt has one candidate
    found = tod.rerank(write(tmp_path / "x.jsonl", table))
    told = found.to_dict()
    assert (told["contexts"], told["contexts_in_curve"], told["k"]["curve"]) == (10, 9, 4)
    assert len(found.to_frame()) == 10
    whole = tod.rerank(write(tmp_path / "y.jsonl", table[:-1]))
    assert whole.to_dict()["rules"][0]["curve"] == told["rules"][0]["curve"]


def test_an_answer_that_is_missing_votes_for_nothing(tmp_path):
    answers = [["a", "a", None, None, None], ["b", None, "c", "c", "c"], [None] * 5]
    table = [
        {"qid": p, "out": "x", "score": 1.0, "said": said}
        for p, group in enumerate(answers)
        for said in group
    ]
    names = {"utility": "score", "context": "qid", "completion": "out", "answer": "said"}
    found = tod.rerank(write(tmp_path / "x.jsonl", table), "vote", mapping=names)
    pl.DataFrame(table).write_parquet(tmp_path / "x.parquet")
    again = tod.rerank(str(tmp_path / "x.parquet"), "vote", mapping=names)
    for each in (found, again):
        assert each.to_frame()["index"].to_list() == [0, 2, None]
        weights = each.to_frame()["weight"].to_list()
        assert weights == [pytest.approx(2 / 5), pytest.approx(3 / 5), None]


def planted(tmp_path, gold):
    rng = np.random.default_rng(1)
    table = []
    for p in range(200):
        for _ in range(16):
            u = float(rng.random())
            table.append({"prompt": f"{p}", "response": "a", "reward": u, "true": gold(u, rng)})
    return tod.rerank(write(tmp_path / "x.jsonl", table), gold="true")


def test_a_reward_that_is_gamed_at_its_top_is_over_optimised(tmp_path):
    """gold = u(1 − u)·4: the best of k has E = 4(k/(k+1) − k/(k+2)), largest at k = 1 and 2."""
    found = planted(tmp_path, lambda u, rng: 4 * u * (1 - u))
    over = found.verdict.over_optimised
    assert over.answer == "yes"
    assert over.peak in (1, 2)
    curve = found.to_dict()["rules"][0]["curve"]
    for point in curve:
        k = point["k"]
        near = 5 * point["gold_se"]
        assert point["gold"] == pytest.approx(4 * (k / (k + 1) - k / (k + 2)), abs=near)
    assert "over-optimises" in headline(found)
    assert over_optimised(found).startswith("Yes")


def test_a_score_that_follows_the_reward_is_not_over_optimised(tmp_path):
    found = planted(tmp_path, lambda u, rng: (u + float(rng.random())) / 2)
    over = found.verdict.over_optimised
    assert over.answer == "no"
    gap = (16 / 17 - 1 / 2) / 2  # the reward gains 16/17 − 1/2, the score half of it
    assert over.gap is not None
    assert over.gap["value"] == pytest.approx(gap, abs=5 * over.gap["se"])


def test_without_a_second_score_over_optimisation_is_unknown(tmp_path):
    found = tod.rerank(write(tmp_path / "x.jsonl", rows()))
    assert found.verdict.over_optimised.answer == "unknown"
    assert found.to_dict()["verdict"]["over_optimised"]["loss"] is None


def test_enough_is_said_where_nothing_is_left_and_not_where_much_is(tmp_path):
    sure = [
        {"prompt": f"{p}", "response": "a", "reward": float(i < 12)}
        for p in range(400)
        for i in range(16)
    ]
    rare = [
        {"prompt": f"{p}", "response": "a", "reward": float(i == 0 and p % 4 == 0)}
        for p in range(400)
        for i in range(4)
    ]
    assert tod.rerank(write(tmp_path / "x.jsonl", sure)).verdict.enough == "yes"
    found = tod.rerank(write(tmp_path / "y.jsonl", rare))
    assert found.verdict.enough == "no"
    assert found.verdict.kl == pytest.approx(np.log(4) - 3 / 4)
    assert "more would help" in headline(found)
    assert "1.00 nats" not in selection(found)


def test_a_notebook_is_told_in_a_few_lines(tmp_path):
    table = [{**row, "prompt": row["prompt"] + "<b>"} for row in rows()]
    found = tod.rerank(write(tmp_path / "<i>.jsonl", table), ["best_of_k", "vote", "sir"], eta=2)
    assert len(repr(found).splitlines()) <= 12
    html = found._repr_html_()
    assert html.count("<dt>") == 3 + len(found.ranked)
    assert "best_of_k" in html
    assert "<i>" not in html


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"rules": "best_of_j"}, SpecError, "Did you mean 'best_of_k'"),
        ({}, {"gold": "humans"}, SpecError, "no such score .*Did you mean"),
        ({}, {"gold": "reward"}, SpecError, "the reward that the rules select by"),
        ({}, {"rules": "{kind: rejection, log_bond: 2}"}, SpecError, "Did you mean `log_bound`"),
        ({}, {"k": 1}, DataError, "leaves nothing to select"),
        ({"response": None}, {"rules": "vote"}, SpecError, "neither answers nor texts"),
        ({"response": None}, {"rules": "mbr"}, SpecError, "map completion=COLUMN"),
        ({"reward": None}, {}, DataError, "no column is called like a reward"),
        ({"prompt": None}, {}, DataError, "map context=COLUMN"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(change, options, error, message, tmp_path):
    table = [{k: v for k, v in row.items() if k not in change} for row in rows()]
    options = {"gold": None, **options}
    with pytest.raises(error, match=message):
        tod.rerank(write(tmp_path / "x.jsonl", table), **options)


def test_a_bad_value_is_named_by_file_line_field_and_value(tmp_path):
    table = rows()
    table[7]["reward"] = "high"
    with pytest.raises(DataError, match=r"x\.jsonl, row 8: reward.*high"):
        tod.rerank(write(tmp_path / "x.jsonl", table))


def test_prompts_of_one_candidate_leave_nothing_to_select(tmp_path):
    with pytest.raises(DataError, match="each of 5 prompts has one candidate"):
        tod.rerank(write(tmp_path / "x.jsonl", rows(prompts=5, k=1)))
