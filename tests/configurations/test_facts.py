"""The facts recorded of frameworks, against the frameworks where they are installed."""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tod.configurations import locate
from tod.configurations.framework import facts

trl = pytest.importorskip("trl")
VERSION, DEFAULTS, NEUTRAL = facts("trl").version, facts("trl").defaults, facts("trl").neutral
HOMES = {"CPOConfig": "cpo", "ORPOConfig": "orpo", "GKDConfig": "gkd", "GMPOConfig": "gmpo"}
HOMES["OnlineDPOConfig"] = "online_dpo"
OLDER = set(facts("trl").renamed)


def config_class(name: str) -> Any:
    if name in HOMES:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(f"trl.experimental.{HOMES[name]}"), name)
    return getattr(trl, name)


@pytest.mark.skipif(trl.__version__ != VERSION, reason=f"facts are of TRL {VERSION}")
@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_defaults_are_those_of_trl(name: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(config_class(name))}
    for key, expected in DEFAULTS[name].items():
        field = fields[key]
        given = field.default
        if given is dataclasses.MISSING:
            given = field.default_factory()
        given = given[0] if isinstance(given, list) and len(given) == 1 else given
        assert given == expected, f"{name}.{key}"


@pytest.mark.skipif(trl.__version__ != VERSION, reason=f"facts are of TRL {VERSION}")
@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_no_field_of_trl_is_unknown(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(config_class(name))}
    strange = {
        key for key in fields - set(DEFAULTS[name]) - NEUTRAL - OLDER if not key.startswith("_")
    }
    assert not strange


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.skipif(trl.__version__ != VERSION, reason=f"facts are of TRL {VERSION}")
def test_a_dump_of_trl_itself_is_located(tmp_path: Path) -> None:
    """What the trainer would write as its arguments, unchanged."""
    config = trl.GRPOConfig(
        output_dir=str(tmp_path / "out"),
        beta=0.02,
        scale_rewards="none",
        report_to="none",
        use_cpu=True,
        bf16=False,
    )
    (tmp_path / "training_args.json").write_text(config.to_json_string(), encoding="utf-8")
    found = locate(tmp_path / "training_args.json")
    assert (found.method, found.unknown) == ("GRPOConfig", ())
    assert found.procedure is not None
    assert found.law.letters == "π_ref·exp(50·reward), token by token"
    assert found.law.scale == "constant"


@pytest.mark.skipif(
    importlib.util.find_spec("verl") is None,
    reason="verl is not installed; tests/operators/against_verl/verl_values.py says how",
)
def test_defaults_are_those_of_verl() -> None:
    """Every setting of its generated configuration is known, with its default."""
    from tod.base import read_yaml
    from tod.configurations.framework import flat

    spec = importlib.util.find_spec("verl")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "trainer" / "config" / "_generated_ppo_trainer.yaml"
    theirs, known = flat(read_yaml(path)), facts("verl")
    ours = {name: value for name, value in known.defaults["ppo"].items() if "overlong" not in name}
    assert {name: theirs.get(name, "absent") for name in ours} == ours
    strange = [k for k in theirs if k not in ours and k not in known.neutral]
    assert [k for k in strange if not k.startswith(known.sections["all"])] == []
