"""A library that is not installed is named with the command that brings it."""

import importlib.metadata
import importlib.util
import re
import sys

import pytest

from tod.base import DataError, MissingPackage
from tod.base.extras import load, missing, require
from tod.engine.data import readers
from tod.engine.models import LoraSpec, load_model
from tod.engine.utilities.scorer import Scorer
from tod.engine.utilities.utility_specs import MathVerifyUtility, ReasoningGymUtility

COMMAND = r"is not installed: pip install 'tod-posttrain\[{}\]'"


@pytest.fixture
def hide(monkeypatch):
    """Makes a library as good as not installed."""

    class Hidden:
        def __init__(self, name):
            self.name = name

        def find_spec(self, name, *_):
            if name.partition(".")[0] == self.name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def now(name):
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        found = importlib.util.find_spec
        monkeypatch.setattr(sys, "meta_path", [Hidden(name), *sys.meta_path])
        hidden = lambda n: None if n == name else found(n)  # noqa: E731
        monkeypatch.setattr("tod.base.extras.find_spec", hidden)

    return now


def test_every_package_of_an_extra_is_known():
    lines = importlib.metadata.requires("tod-posttrain")
    wanted = {
        m
        for line in lines
        if "extra ==" in line and "dev" not in line.split("extra ==")[1]
        for m in re.findall(r"^[\w-]+", line)
    }
    assert {"torch", "peft", "datasets", "math-verify", "reasoning-gym", "trl"} <= wanted
    for package in wanted:
        assert "tod-posttrain[" in missing(package)


def use_lora():
    load_model("tod://tiny", lora=LoraSpec())


USES = {
    "peft": ("train", use_lora),
    "datasets": ("data", lambda: next(readers.datasets("x", None, "train"))),
    "reasoning_gym": ("data", lambda: next(readers.reasoning_gym("countdown", 1, 0, {}))),
    "math_verify": ("data", lambda: Scorer([MathVerifyUtility(name="u")])),
}


@pytest.mark.parametrize("library", USES)
def test_its_use_says_so(hide, library):
    hide(library)
    extra, use = USES[library]
    with pytest.raises(MissingPackage, match=f"needs {library}.*" + COMMAND.format(extra)):
        use()


def test_scorers_say_so_before_anything_is_sampled(hide):
    hide("reasoning_gym")
    with pytest.raises(MissingPackage, match=COMMAND.format("data")):
        Scorer([ReasoningGymUtility(name="u")])


def test_what_is_installed_is_loaded():
    assert load("json").loads("1") == 1
    require("json")


def test_a_fault_inside_the_package_is_not_hidden():
    with pytest.raises(ModuleNotFoundError) as caught:
        load("tod.nothing")
    assert not isinstance(caught.value, MissingPackage)


def test_a_broken_generator_is_still_bad_data():
    pytest.importorskip("reasoning_gym")
    with pytest.raises(DataError, match="no generator 'countdwn'"):
        next(readers.reasoning_gym("countdwn", 1, 0, {}))
