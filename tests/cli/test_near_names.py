"""What a person meant: the right word, command or settings are named where the wrong ones stand."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import tod
from tod.base import SpecError, TodError
from tod.base.errors import InvalidSpec
from tod.cli.main import app
from tod.engine.which_recipe import foreign_to, settings_of
from tod.formats.detect import check_roles
from tod.formats.roles import LOGS, NEAR, ROLES
from tod.targets import TwoAnchor

TRL = "from trl import GRPOConfig\nargs = GRPOConfig(beta=0.04)\n"
VERL = "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo data.train_batch_size=8\n"


def said(*words: str) -> str:
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, TodError), error
    return str(error)


@pytest.mark.parametrize(
    ("name", "text", "framework"),
    [
        ("train.py", TRL, "TRL"),
        ("train.sh", VERL, "verl"),
        ("grpo.yaml", "num_generations: 8\nbeta: 0.04\nlearning_rate: 1.0e-6\n", "TRL"),
        ("ppo.yaml", "actor_rollout_ref: {actor: {clip_ratio: 0.2}}\n", "verl"),
    ],
)
def test_another_framework_s_file_names_the_command_that_reads_it(
    name: str, text: str, framework: str, tmp_path: Path
) -> None:
    file = tmp_path / "my runs" / name
    file.parent.mkdir()
    file.write_text(text)
    told = said("run", str(file), "--dry-run")
    assert f"a configuration of {framework}" in told
    assert f"`tod atlas locate '{file}'`" in told
    assert f"`tod atlas translate '{file}' --to tod" in told
    assert "Known:" not in told


def test_a_recipe_s_own_mistake_is_not_taken_for_another_framework(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: a\ntarget: {kind: verifier}\noperatr: {}\n")
    assert "operatr: unknown key. Did you mean `operator`?" in said("run", str(file))
    (tmp_path / "notes.yaml").write_text("a: 1\n")
    assert foreign_to(tmp_path / "notes.yaml") is None


def test_a_run_and_an_override_in_the_place_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert "--resume` goes on with it" in said("run", str(tmp_path))
    assert "name that first, as in `tod run quickstart train.steps=3`" in said(
        "run", "train.steps=3"
    )


def test_a_command_of_a_group_is_named_whole() -> None:
    told = CliRunner().invoke(app, ["locate", "x.sh"])
    assert told.exit_code == 2
    assert "Did you mean `tod atlas locate`?" in " ".join(told.stderr.split())


def test_a_configuration_given_as_a_target_goes_to_config(tmp_path: Path) -> None:
    file = tmp_path / "train.sh"
    file.write_text(VERL)
    rollouts = Path(__file__).parents[1] / "formats/fixtures/completions"
    assert f"--config {file}" in said("diagnose", str(rollouts), "--target", str(file))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("target.eta=4",), "For eta = 4 at the same tau:beta give tau=0.1875 beta=0.0625"),
        (("target.eta=x",), "eta = 1/(tau + beta). Give tau and beta"),
        (("target.eta=0",), "Give tau and beta"),
        (("target.eta=2", "target.tau=0", "target.beta=0"), "Give tau and beta"),
    ],
)
def test_eta_on_two_anchors_says_how_tau_and_beta_make_it(
    overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(SpecError) as error:
        settings_of("quickstart", overrides, resume=False)
    assert told in str(error.value)
    said = f"quickstart.yaml with {', '.join(overrides)}: target: a two_anchor target"
    assert said in str(error.value)
    assert "Did you mean" not in str(error.value)


def test_the_tau_and_beta_that_are_told_make_that_eta() -> None:
    told = {"tau": 0.1875, "beta": 0.0625}
    assert TwoAnchor(**told, utility="r").eta == 4.0
    assert told["tau"] == 3 * told["beta"], "as 0.15 is of 0.05"


@pytest.mark.parametrize("word", NEAR)
def test_a_framework_s_word_names_the_role(word: str) -> None:
    with pytest.raises(SpecError, match=rf"Did you mean {NEAR[word]}=c\?"):
        check_roles({word: "c"})
    assert NEAR[word] in ("utility", *ROLES, *LOGS)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: tod.Target(anchr={"mu": 1.0}),
            "Target: anchr: unknown key. Did you mean `anchor`?",
        ),
        (lambda: tod.Proposal(siz=3), "Proposal: siz: unknown key. Did you mean `size`?"),
        (
            lambda: tod.Procedure(
                target=tod.Target(anchor={"mu": 1.0}),
                operator={"action": {"kind": "policy_gradint"}},
            ),
            "Procedure: operator.action: unknown kind 'policy_gradint'. Did you mean "
            "`policy_gradient`?",
        ),
        (
            lambda: tod.Procedure(tod.Target(anchor={"mu": 1.0}), {"action": {"kind": "bst_of_k"}}),
            "Procedure: operator.action: unknown kind 'bst_of_k'. Did you mean `best_of_k`?",
        ),
        (lambda: tod.Thresholds(overlap_stabel=0.5), "Did you mean `overlap_stable`?"),
        (lambda: tod.ArcConfig(knob="eat"), "ArcConfig: knob: "),
    ],
)
def test_a_constructor_complains_as_the_command_line_does(make: object, told: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        make()  # type: ignore[operator]
    assert told in str(error.value)
    assert "pydantic" not in str(error.value)


def test_what_is_nested_keeps_its_path() -> None:
    """A constructor within another's validation does not wrap the complaint in one of its own."""
    with pytest.raises(SpecError) as error:
        tod.Procedure.parse(
            {
                "target": {"anchor": {"mu": 1}},
                "operator": {"action": {"kind": "policy_gradient"}, "proposal": {"siz": 1}},
            },
            "mine.yaml",
        )
    lines = str(error.value).splitlines()
    assert any(line.startswith("mine.yaml: operator.proposal.") for line in lines), lines


def test_a_name_that_tod_lacks_is_told_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"'diagnos'\. Did you mean 'diagnose'"):
        tod.diagnos  # noqa: B018
