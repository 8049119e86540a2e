"""Data: batches as a function of the step, splits by hash, readers that name the bad row."""

import json
import subprocess
import sys
from collections import Counter

import polars
import pytest
from pydantic import TypeAdapter

from tod.base import DataError
from tod.engine.data.load import load_task
from tod.engine.data.prompts import fitting_ids, prompt_ids, prompt_text
from tod.engine.data.task import Example, Task
from tod.engine.data.task_specs import TaskSpec
from tod.engine.tasks import countdown
from tolerance import chance


def spec(**data):
    return TypeAdapter(TaskSpec).validate_python(data)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def numbers():
    return Task([Example(str(i), {}, str(i)) for i in range(23)], [], seed=4)


def test_every_epoch_is_a_permutation_and_no_two_are_alike(numbers):
    seen = [e.id for step in range(23) for e in numbers.batch(step, 3)]
    epochs = [seen[start : start + 23] for start in (0, 23, 46)]
    assert all(sorted(map(int, epoch)) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != [str(i) for i in range(23)]


def test_a_batch_depends_on_seed_and_step_alone(numbers):
    forwards = [numbers.batch(step, 5) for step in range(12)]
    again = Task(numbers.examples, [], seed=4)
    assert [again.batch(step, 5) for step in reversed(range(12))][::-1] == forwards
    assert [Task(numbers.examples, [], seed=5).batch(step, 5) for step in range(12)] != forwards


def test_a_batch_larger_than_the_data_goes_round_evenly(numbers):
    counts = Counter(example.id for example in numbers.batch(0, 50))
    assert sum(counts.values()) == 50
    assert set(counts.values()) <= {2, 3}


def test_orders_never_change_between_versions(numbers):
    """Recorded once: a resumed run relies on it."""
    assert [e.id for e in numbers.batch(3, 8)] == GOLDEN_BATCH


GOLDEN_BATCH = ["3", "11", "21", "10", "1", "8", "19", "5"]


def test_countdown_trains_on_one_split_and_holds_out_the_other():
    task = load_task(spec(kind="countdown", size=50), seed=3)
    assert len(task) == 50
    batch = task.batch(0, 50)
    assert len({example.id for example in batch}) == 50
    held = task.held_out(60)
    assert len({example.prompt for example in held}) == 60
    for example, split in [(e, "train") for e in batch] + [(e, "held_out") for e in held]:
        numbers, target = example.columns["numbers"], example.columns["target"]
        assert countdown.split_of(numbers, target) == split
        assert example.prompt == f"{' '.join(map(str, numbers))}={target}:"
        assert countdown.check(example.columns["answer"], numbers, target) == 1.0
    assert load_task(spec(kind="countdown"), seed=9).held_out(60) == held
    assert load_task(spec(kind="countdown", size=50), seed=9).batch(0, 50) != batch


ROWS = [
    {"prompt": f"question {i % 300}", "answer": i % 300, "level": {"a": [i]}} for i in range(400)
]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_give_every_row_with_its_columns(kind, tmp_path):
    path = tmp_path / f"rows.{kind}"
    write(path, ROWS) if kind == "jsonl" else polars.DataFrame(ROWS).write_parquet(path)
    task = load_task(spec(kind=kind, path=path))
    held = task.held_out(1000)
    train = task.batch(0, len(task))
    assert len(train) + len(held) == 400
    assert len(held) / 400 == pytest.approx(0.1, abs=chance(0.3, 300))
    assert not {e.prompt for e in held} & {e.prompt for e in train}
    got = sorted(
        ({"prompt": e.prompt, **e.columns} for e in train + held), key=lambda r: r["level"]["a"]
    )
    assert got == ROWS
    assert task.held_out(3) == held[:3]


def test_adding_rows_moves_none_between_the_sides(tmp_path):
    few = load_task(spec(kind="jsonl", path=write(tmp_path / "a.jsonl", ROWS[:100])))
    many = load_task(spec(kind="jsonl", path=write(tmp_path / "b.jsonl", ROWS)))
    assert {e.prompt for e in few.held} == {e.prompt for e in many.held} & {
        r["prompt"] for r in ROWS[:100]
    }


def test_the_sides_never_change_between_versions(tmp_path):
    """Recorded once: runs made with one version are compared with runs of the next."""
    task = load_task(spec(kind="jsonl", path=write(tmp_path / "a.jsonl", ROWS[:40])))
    assert [e.columns["answer"] for e in task.held] == GOLDEN_HELD


GOLDEN_HELD = [10, 19, 32, 36, 37]


def test_a_held_out_file_replaces_the_share(tmp_path):
    a, b = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", [{"prompt": "other"}])
    task = load_task(spec(kind="jsonl", path=a, held_out_path=b))
    assert len(task) == 400
    assert [e.prompt for e in task.held_out(5)] == ["other"]


def test_datasets_from_a_local_directory(tmp_path):
    pytest.importorskip("datasets")
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "test.jsonl", [{"prompt": "t", "answer": 1, "level": {"a": [1]}}])
    task = load_task(spec(kind="datasets", name=str(tmp_path), held_out_split="test"))
    assert len(task) == 400
    assert task.held_out(9)[0].columns == {"answer": 1, "level": {"a": [1]}}
    with pytest.raises(DataError, match=r"split 'dev'.*cannot be loaded"):
        load_task(spec(kind="datasets", name=str(tmp_path), split="dev"))


def test_reasoning_gym_questions_carry_what_its_scorer_needs():
    task = load_task(spec(kind="reasoning_gym", name="leg_counting", size=40, chat=True), seed=2)
    example = task.batch(0, 1)[0]
    assert example.prompt[0]["role"] == "user"
    assert {"answer", "metadata"} <= set(example.columns)
    assert example.columns["metadata"]["source_dataset"] == "leg_counting"
    with pytest.raises(DataError, match="Did you mean leg_counting"):
        load_task(spec(kind="reasoning_gym", name="leg_countin"))
    with pytest.raises(DataError, match="settings were refused"):
        load_task(spec(kind="reasoning_gym", name="leg_counting", options={"legs": 3}))


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]


class _Tokenizer:
    """A tokenizer of characters that marks its first token, with or without a template."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(
        self, messages, tokenize, add_generation_prompt, continue_final_message
    ):
        assert not tokenize
        text = "^" + "".join(f"<{m['role']}>{m['content']}" for m in messages)
        assert add_generation_prompt != continue_final_message
        return text + "<assistant>" if add_generation_prompt else text

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(c) for c in ("^" if add_special_tokens else "") + text]}


def test_messages_go_through_the_chat_template_once():
    tokenizer = _Tokenizer("template")
    assert prompt_text(MESSAGES, tokenizer) == "^<system>Be brief.<user>2+2?<assistant>"
    assert "".join(map(chr, prompt_ids(MESSAGES, tokenizer))).count("^") == 1
    continued = [*MESSAGES, {"role": "assistant", "content": "It is"}]
    assert prompt_text(continued, tokenizer).endswith("<assistant>It is")


def test_plain_text_stays_plain_and_gets_special_tokens():
    for template in (None, "template"):
        assert prompt_text("2+2?", _Tokenizer(template)) == "2+2?"
        assert prompt_ids("2+2?", _Tokenizer(template))[0] == ord("^")


def test_messages_without_a_template_are_their_contents():
    assert prompt_text(MESSAGES, _Tokenizer(None)) == "Be brief.\n2+2?"
    assert prompt_ids(MESSAGES, _Tokenizer(None))[0] == ord("^")


def test_a_real_chat_template():
    from transformers import AutoTokenizer

    from tod.engine import tiny

    tokenizer = AutoTokenizer.from_pretrained(tiny.path("tod://tiny"))
    tokenizer.chat_template = (
        "{% for m in messages %}({{ m['content'] }}){% endfor %}"
        "{% if add_generation_prompt %}={% endif %}"
    )
    messages = [{"role": "user", "content": "3 5"}]
    assert prompt_text(messages, tokenizer) == "(3 5)="
    assert prompt_ids(messages, tokenizer) == tokenizer("(3 5)=")["input_ids"]


def test_prompts_that_do_not_fit_are_named():
    example = Example("2+2?", {}, "rows.jsonl:7")
    assert len(fitting_ids(example, _Tokenizer(None), 5)) == 5
    with pytest.raises(DataError, match=r"rows.jsonl:7.* 5 tokens and at most 4"):
        fitting_ids(example, _Tokenizer(None), 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("\n\n", "no rows"),
        ('{"prompt": "a"}\n{"prompt": ', r"rows.jsonl, line 2: not JSON"),
        ('{"prompt": "a"}\n\n[1]', r"rows.jsonl, line 3: a list, not an object"),
        ('{"promt": "a"}', r"rows.jsonl:1: no column 'prompt'.*Did you mean `prompt: promt`"),
        ('{"x": "a"}', r"no column 'prompt'.*Columns: x"),
        ('{"prompt": "a"}\n{"prompt": null}', r"rows.jsonl:2: column 'prompt' holds None"),
        ('{"prompt": ""}', "which is no prompt"),
        ('{"prompt": []}', "which is no prompt"),
        ('{"prompt": [{"role": "user"}]}', "which is no prompt"),
    ],
)
def test_bad_files_are_refused_with_the_line(text, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_task(spec(kind="jsonl", path=path))


def test_bytes_that_are_not_text_are_refused_with_the_line(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff\xfe"}\n')
    with pytest.raises(DataError, match="line 2"):
        load_task(spec(kind="jsonl", path=tmp_path / "rows.jsonl"))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_task(spec(kind="jsonl", path=tmp_path / "none.jsonl"))
    (tmp_path / "rows.parquet").write_text("not parquet at all")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_task(spec(kind="parquet", path=tmp_path / "rows.parquet"))


def test_a_data_set_that_is_all_held_out_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"prompt": "one"}])
    assert len(load_task(spec(kind="jsonl", path=path, held_out=0))) == 1
    with pytest.raises(DataError, match="held_out: 0"):
        load_task(spec(kind="jsonl", path=path, held_out=0.999999))


def test_the_heavy_libraries_stay_unloaded():
    code = (
        "import sys, tod.engine.data.load, tod.engine.utilities.scorer, tod.engine.tiny;"
        "from tod.engine.data.load import *; load_task(CountdownTask()).batch(0, 2);"
        "heavy = 'torch transformers datasets polars pandas pyarrow sympy reasoning_gym'.split();"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr
