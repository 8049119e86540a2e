"""The runs of a sweep, from its words."""

from pathlib import Path

import pytest
import yaml

from tod.atlas import recipe
from tod.base import SpecError
from tod.engine.settings import RunSettings
from tod.study.sweep.grid import grid_of, parse_words

CLIP = "{kind: clip, low: 0.1, high: 0.3}"


def made(recipe, *words):
    return grid_of(recipe, parse_words(words))


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("target.eta=1,2", (1, 2)),
        ("train.steps=20", (20,)),
        ("operator=grpo,gspo", ("grpo", "gspo")),
        ("operator.action.trust_region={kind: clip, low: 0.1, high: 0.3},null",
         ({"kind": "clip", "low": 0.1, "high": 0.3}, None)),
        ("operator.proposal.refresh=[1, 2],4", ([1, 2], 4)),
        ("model='a,b',c", ("a,b", "c")),
    ],
)  # fmt: skip
def test_a_comma_inside_brackets_or_quotes_is_its_own(word, values):
    assert parse_words([word]) == {word.partition("=")[0]: values}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target.eta"], "is not `path=value`"),
        (["target.eta="], "is not `path=value`"),
        (["target.eta=1,1"], "1 is there twice"),
        (["target.eta=1", "target.eta=2"], "there twice"),
        (["seeds=0"], "one seed at least"),
        (["seeds=1.5"], "how many, or which ones"),
        (["seeds=2", "train.seed=1,2"], "give one of them"),
        (["seeds=1000000000"], "1,000,000,000 are more than the 4,096 runs"),
        (["seeds=" + "9" * 30], "very many are more than"),
        (["seeds=100", "target.eta=" + ",".join(map(str, range(1, 51)))], "100 x 50 are more than"),
        (["train.steps=" + ",".join(map(str, range(5000)))], "5,000 are more than"),
        (["task.split=train,test"], "same held-out prompts"),
        (["evaluate.every=1,2"], "same held-out prompts"),
        (["output=runs/a"], "Name the folder with -o"),
        (["operator=grpo,gsop"], "Did you mean 'gspo'"),
        (["target.etta=1,2"], "unknown key"),
        (["operator=grpo,best_of_k", "train=null"], "train"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_runs(words, said):
    with pytest.raises(SpecError, match=said):
        made("weighted_mle", *words)


def test_a_search_is_refused():
    with pytest.raises(SpecError, match="tod rerank"):
        made("best_of_k", "operator.proposal.size=4,8")


def test_every_combination_at_every_seed_has_a_name_of_its_own():
    grid = made("weighted_mle", "target.eta=1,2", "operator=grpo,gspo", "seeds=2")
    assert [run.name for run in grid.runs] == [
        f"eta-{eta}--{operator}--seed-{seed}"
        for seed in (0, 1)
        for eta in (1, 2)
        for operator in ("grpo", "gspo")
    ]
    assert [(axis.path, axis.name) for axis in grid.axes] == [
        ("target.eta", "eta"),
        ("operator", "operator"),
    ]
    for run in grid.runs:
        eta, operator = run.values
        assert run.recipe["target"]["eta"] == eta
        assert run.recipe["train"]["seed"] == run.seed
        assert run.recipe["operator"] == recipe(operator).operator.model_dump(mode="json")
        assert run.reported == "correct"
    assert not grid.unequal


def test_a_run_is_the_one_that_tod_run_does():
    grid = made("weighted_mle", "target.eta=1,2", "train.steps=7", "seeds=[3]")
    words = ("target.eta=2", "train.steps=7", "train.seed=3")
    path = Path(recipe.__code__.co_filename).parent / "recipes/weighted_mle.yaml"
    same = RunSettings.load(path, words).plain()
    own = grid.runs[1].settings(Path("runs/x")).plain()
    assert own.pop("output") == "runs/x/eta-2--seed-3"
    assert own.pop("name") == "eta-2--seed-3"
    del same["output"], same["name"]
    assert own == same


def test_settings_inside_an_operator_are_laid_over_it():
    grid = made("weighted_mle", "operator.proposal.size=4,8", "operator=grpo,gspo")
    assert {(run.recipe["operator"]["proposal"]["size"], run.values) for run in grid.runs} == {
        (size, (size, name)) for size in (4, 8) for name in ("grpo", "gspo")
    }


def test_the_sharpness_turns_a_target_that_has_no_key_for_it():
    grid = made("quickstart", "target.eta=2,4")
    for run in grid.runs:
        target = run.recipe["target"]
        assert target["kind"] == "two_anchor"
        assert target["tau"] / target["beta"] == pytest.approx(3.0)
        assert 1 / (target["tau"] + target["beta"]) == pytest.approx(run.values[0])


def test_operators_with_other_proposals_are_told():
    grid = made("weighted_mle", "operator=quickstart,grpo")
    assert grid.unequal == ("prompts: quickstart 64, grpo 32", "size: quickstart 8, grpo 16")
    even = made("weighted_mle", "operator=quickstart,grpo", "operator.proposal.size=8")
    assert even.unequal == ("prompts: quickstart 64, grpo 32",)


def test_seeds_are_a_number_or_a_list():
    assert made("weighted_mle", "seeds=3").seeds == (0, 1, 2)
    assert made("weighted_mle", "seeds=4,7").seeds == (4, 7)
    assert made("weighted_mle", "train.seed=4,7").seeds == (4, 7)
    assert made("weighted_mle", "target.eta=1,2").seeds == (0,)
    assert [run.name for run in made("weighted_mle", "seeds=2").runs] == ["seed-0", "seed-1"]


def test_long_values_are_numbered_and_no_two_names_are_one():
    region = f"operator.action.trust_region={CLIP},{{kind: unbounded}},{{kind: clip}}"
    names = [run.name for run in made("grpo", region).runs]
    assert len(set(names)) == 3
    assert "trust_region-unbounded--seed-0" in names
    assert all(len(name) < 60 for name in names)


def test_equal_words_find_their_folder_again_and_others_never(tmp_path):
    first = made("weighted_mle", "target.eta=1,2", "train.steps=5").folder
    both = ["operator=grpo,gspo", "target.eta=1,2"]
    assert made("weighted_mle", *both).folder == made("weighted_mle", *both[::-1]).folder
    assert first == made("weighted_mle", "train.steps=5", "target.eta=1,2,4", "seeds=3").folder
    assert first.parent == Path("runs")
    assert first.name.startswith("weighted_mle-by-eta-")
    others = [
        made("weighted_mle", "target.eta=1,2", "train.steps=6").folder,
        made("weighted_mle", "train.learning_rate=1e-3,1e-4", "train.steps=5").folder,
        made("weighted_mle_centred", "target.eta=1,2", "train.steps=5").folder,
    ]
    assert len({first, *others}) == 4


def test_an_operator_may_be_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    operator = recipe("grpo").operator.model_dump(mode="json")
    operator["action"]["trust_region"] = {"kind": "clip", "low": 0.1, "high": 0.1}
    file.write_text(yaml.safe_dump({"operator": operator}))
    grid = made("weighted_mle", f"operator=grpo,{file}")
    assert [run.name for run in grid.runs] == ["grpo--seed-0", "mine--seed-0"]
    assert grid.runs[1].recipe["operator"] == operator
    file.write_text("target: {}")
    with pytest.raises(SpecError, match="no block `operator`"):
        made("weighted_mle", f"operator=grpo,{file}")
