"""Utilities: right values, TRL's signature, and failures that name the candidate."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tod.base import SpecError, UtilityError
from tod.engine.data.task import Example
from tod.engine.tasks import countdown
from tod.engine.utilities.scorer import Scorer, score
from tod.engine.utilities.utility_specs import UtilitySpec


def spec(name="u", **data):
    return TypeAdapter(UtilitySpec).validate_python({"name": name, **data})


def custom(function, name="u", **data):
    return spec(name, kind="custom", target=f"reward_samples:{function}", **data)


@pytest.fixture(autouse=True)
def _samples_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("reward_samples", None)


def batch(sizes, prompts="abcdefgh", **columns):
    """Examples of ragged contexts, each repeated for its candidates."""
    return [
        Example(prompts[c], {name: values[c] for name, values in columns.items()}, f"train/{c}")
        for c, size in enumerate(sizes)
        for _ in range(size)
    ]


def one(utility, examples, completions, **options):
    return score([utility], examples, completions, allow_imports=True, **options)[utility.name]


@pytest.mark.parametrize("workers", [0, 2])
def test_countdown_agrees_with_its_checker(workers):
    problems = [countdown.problem("held_out", i) for i in range(4)]
    examples, texts = [], []
    for c, p in enumerate(problems):
        columns = {"numbers": list(p.numbers), "target": p.target}
        examples += [Example(p.prompt, columns, str(c))] * 2
        texts += [p.solution, p.solution + "+1"]
    utility = spec(kind="countdown", workers=workers)
    np.testing.assert_array_equal(one(utility, examples, texts), [1, 0] * 4)
    assert one(utility, examples, texts).dtype == np.float64


def test_exact_match_strips_blanks_and_reads_its_column():
    examples = batch([3, 1], gold=["12", 7])
    utility = spec(kind="exact_match", answer="gold")
    got = one(utility, examples, [" 12\n", "12.0", "7", "7"])
    np.testing.assert_array_equal(got, [1, 0, 0, 1])


@pytest.mark.parametrize("workers", [0, 1])
def test_math_verify_knows_equal_mathematics(workers):
    examples = batch([4, 1], answer=["1/2", r"$x^2+1$"])
    texts = [r"so $\boxed{0.5}$", r"$\frac{2}{4}$", "$0.51$", "no idea", r"$1+x^2$"]
    utility = spec(kind="math_verify", workers=workers, timeout_seconds=600)
    np.testing.assert_array_equal(one(utility, examples, texts), [1, 1, 0, 0, 1])


def test_reasoning_gym_scores_with_its_own_scorer():
    import reasoning_gym

    data = reasoning_gym.create_dataset("leg_counting", size=3, seed=1)
    examples, texts, expected = [], [], []
    for i in range(3):
        columns = {"answer": data[i]["answer"], "metadata": data[i]["metadata"]}
        examples += [Example(data[i]["question"], columns, str(i))] * 2
        texts += [f"<answer>{data[i]['answer']}</answer>", "none"]
        expected += [
            data.score_answer(data[i]["answer"], data[i]),
            data.score_answer("none", data[i]),
        ]
    utility = spec(kind="reasoning_gym", timeout_seconds=600)  # the machine may be busy
    np.testing.assert_array_equal(one(utility, examples, texts), expected)
    assert expected[0] > expected[1]


def test_trl_functions_work_unchanged():
    examples = batch([2, 1, 3], answer=["p", "q", "r"])
    texts = ["p", "q", "q", "rr", "r", ""]
    with Scorer(
        [custom("length", "n"), custom("against_answer", "a"), custom("eventually", "e"),
         custom("group_share", "s", workers=2), custom("array", "v", workers=0),
         custom("token_count", "t")],
        allow_imports=True,
    ) as scorer:  # fmt: skip
        got = scorer.score(examples, texts, [[1] * k for k in (3, 1, 4, 1, 5, 9)])
    assert list(got) == ["n", "a", "e", "s", "v", "t"]
    np.testing.assert_array_equal(got["n"], [1, 1, 1, 2, 1, 0])
    np.testing.assert_array_equal(got["a"], [1, -0.5, 1, -0.5, 1, -0.5])
    np.testing.assert_array_equal(got["e"], [2] * 6)
    np.testing.assert_array_equal(got["v"], np.arange(6))
    np.testing.assert_array_equal(got["t"], [3, 1, 4, 1, 5, 9])
    # two workers: contexts {1} and {2, 3}; "q" occurs once in each of the two calls
    np.testing.assert_allclose(got["s"], [1 / 2, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3])


def test_completions_are_messages_where_prompts_are():
    example = Example([{"role": "user", "content": "hi"}], {}, "0")
    np.testing.assert_array_equal(one(custom("of_messages"), [example] * 2, ["abc", ""]), [3, 0])


def test_columns_that_a_row_lacks_are_none():
    examples = [Example("a", {"answer": "x"}, "0"), Example("b", {}, "1")]
    np.testing.assert_array_equal(one(custom("against_answer"), examples, ["x", "y"]), [1, -0.5])


def test_not_applicable_adds_nothing_beside_a_utility_that_applies():
    examples = batch([2, 1])
    got = score([custom("sometimes", "s"), custom("length", "n")], examples, ["p", "q", "r"], True)
    np.testing.assert_array_equal(got["s"], [0, 0, 3])


@pytest.mark.parametrize("names", [["sometimes"], ["never", "sometimes"]])
def test_a_candidate_without_any_utility_is_an_error(names):
    specs = [custom(name, name) for name in names]
    with pytest.raises(
        UtilityError, match=r"None \(not applicable\) for rollout 1 of 2 of prompt 2"
    ):
        score(specs, batch([1, 2], "ba"), ["p", "q", "r"], allow_imports=True)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "nan_on_x",
            r"returned nan for rollout 3 of 3 of prompt 2 of 3 \(train/1\), "
            "prompt 'b', completion 'x'",
        ),
        ("infinite_on_x", "returned -inf for rollout 3 of 3 of prompt 2 of 3"),
        ("short", r"returned \d+ values for \d+ rollouts"),
        ("scalar", "TypeError: it returned 1.0, not a list"),
        ("nested", "raised TypeError"),
        ("raise_on_x", "raised LookupError: no x please.*prompt '[ab]'"),
    ],
)
def test_bad_returns_name_the_utility_and_the_candidate(function, message, workers):
    with pytest.raises(UtilityError, match=message) as caught:
        one(custom(function, workers=workers), batch([2, 3, 1]), ["p", "q", "r", "s", "x", "t"])
    assert "reward 'u'" in str(caught.value)


def test_row_wise_failures_name_the_one_candidate():
    examples = [Example("a", {"answer": "1"}, "0"), Example("b", {}, "1")]
    with pytest.raises(UtilityError, match=r"no column 'answer'.*Columns: none.*prompt 2 of 2"):
        one(spec(kind="exact_match"), examples, ["1", "1"])
    with pytest.raises(UtilityError, match="no mathematics"):
        one(spec(kind="math_verify", workers=0), [Example("a", {"answer": ""}, "0")], ["1"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hung_utility_is_killed_in_time(workers):
    started = time.monotonic()
    with pytest.raises(UtilityError, match=r"did not answer within 0.5 s .*on_timeout"):
        one(custom("hang_on_x", workers=workers, timeout_seconds=0.5), batch([1, 1]), ["x", "p"])
    assert time.monotonic() - started < 20


def test_a_time_out_can_have_a_value_and_scoring_goes_on():
    utility = custom("hang_on_x", workers=2, timeout_seconds=1.0, on_timeout=-1.0)
    with Scorer([utility], allow_imports=True) as scorer:
        got = scorer.score(batch([1, 2, 2, 1]), ["p", "q", "r", "x", "p", "p"])["u"]
        np.testing.assert_array_equal(got, [1, 1, 1, -1, -1, -1])
        again = scorer.score(batch([1, 1]), ["p", "q"])["u"]
        np.testing.assert_array_equal(again, [1, 1])


def test_a_worker_that_dies_is_reported():
    with pytest.raises(UtilityError, match=r"its worker process ended \(exit status 7\)"):
        one(custom("die_on_x"), batch([1, 1]), ["p", "x"])


def test_workers_are_other_processes_and_stay_for_the_next_batch():
    with Scorer([custom("process", workers=2)], allow_imports=True) as scorer:
        first = scorer.score(batch([1] * 4), list("pqrs"))["u"]
        second = scorer.score(batch([1] * 4), list("pqrs"))["u"]
    assert os.getpid() not in first
    assert len({*first, *second}) <= 2
    for pid in {*first, *second}:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_import_paths_need_permission():
    utility = spec(kind="custom", target="reward_samples:length")
    with pytest.raises(SpecError, match="--allow-imports"):
        Scorer([utility])
    assert "reward_samples" not in sys.modules


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_at_all:f", "cannot be imported"),
        ("reward_samples:lenght", "no function 'lenght'.*length"),
        ("reward_samples:os", "no function 'os'"),
    ],
)
def test_import_paths_that_lead_nowhere(path, message):
    with pytest.raises(SpecError, match=message):
        Scorer([spec(kind="custom", target=path)], allow_imports=True)


REWARDS = """
from dataclasses import dataclass
from its_neighbour import FACTOR

@dataclass
class Scale:
    factor: float = FACTOR

def helpful(completions, **kwargs):
    return [Scale().factor * len(text) for text in completions]
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_function_of_a_file_needs_no_import_path(workers, tmp_path, monkeypatch):
    """In this process and in a worker: with a neighbour, and a dataclass, which asks its module."""
    (tmp_path / "my rewards").mkdir()
    (tmp_path / "my rewards/my_rewards.py").write_text(REWARDS)
    (tmp_path / "my rewards/its_neighbour.py").write_text("FACTOR = 2.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    utility = custom("helpful", workers=workers)
    utility = utility.revised(target="my rewards/my_rewards.py:helpful")
    with pytest.raises(SpecError, match="--allow-imports"):
        Scorer([utility])
    np.testing.assert_array_equal(one(utility, batch([2]), ["abc", "z"]), [6.0, 2.0])


def test_files_that_hold_no_such_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    Path("here.py").write_text("def other(): ...\n")
    Path("broken.py").write_text("1 / 0\n")
    for target, message in (
        ("here:other", "There is here.py here: write here.py:other"),
        ("nowhere.py:f", "there is no file .*nowhere.py"),
        ("here.py:f", "no function 'f'.*other"),
        ("broken.py:f", "cannot be run .ZeroDivisionError"),
    ):
        with pytest.raises(SpecError, match=message):
            Scorer([spec(kind="custom", target=target)], allow_imports=True)


def test_lists_of_utilities_that_mean_nothing():
    with pytest.raises(SpecError, match="empty"):
        Scorer([])
    with pytest.raises(SpecError, match="'u' is used twice"):
        Scorer([spec(kind="countdown"), spec(kind="exact_match")])


@pytest.mark.parametrize("function", ["os.system", "os:system:x", ":f", "a b:c"])
def test_functions_that_are_no_import_path(function):
    with pytest.raises(ValidationError):
        spec(kind="custom", target=function)


def test_an_empty_batch_has_empty_scores():
    assert one(custom("length"), [], []).shape == (0,)
