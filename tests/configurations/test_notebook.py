"""Notebooks: what their code cells configure, as if they were one script."""

import json
from pathlib import Path
from typing import Any

import pytest

from tod.base import SpecError
from tod.configurations import locate


def notebook(path: Path, *cells: Any) -> Path:
    rows = [
        cell if isinstance(cell, dict) else {"cell_type": "code", "source": cell} for cell in cells
    ]
    path.write_text(json.dumps({"cells": rows, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


def test_a_notebook_is_its_code_cells_as_a_script(tmp_path: Path) -> None:
    cells = (
        ["!pip install trl==1.16\n", "%load_ext autoreload\n", "from trl import GRPOConfig\n"],
        {"cell_type": "markdown", "source": ["GRPOConfig(beta=9.0) is not this\n"]},
        "%%bash\naccelerate launch train.py --beta 3",
        "beta = 0.04",
        ["args = GRPOConfig(\n", "    beta=beta,\n", "    num_generations=4,\n", ")"],
    )
    found = locate(notebook(tmp_path / "a.ipynb", *cells))
    script = tmp_path / "a.py"
    script.write_text(
        "# pip install trl==1.16\nbeta = 0.04\nargs = GRPOConfig(beta=beta, num_generations=4)\n"
    )
    assert found.to_dict() == locate(script).to_dict()
    assert found.operator is not None
    assert found.operator.proposal.size == 4


def test_two_configurations_ask_for_one(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "a = GRPOConfig(beta=0.1)", "b = DPOConfig(beta=0.2)")
    with pytest.raises(SpecError, match="--method"):
        locate(path)
    assert locate(path, method="b").method == "DPOConfig"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "not valid JSON"),
        ("[]", "no list of `cells`"),
        ('{"cells": []}', "without code"),
        ('{"cells": [{"cell_type": "markdown", "source": "GRPOConfig()"}]}', "without code"),
        ('{"cells": [3, null, {"cell_type": "code", "source": "x ="}]}', "not valid Python"),
        ('{"cells": [{"cell_type": "code", "source": "x = 1"}]}', "no configuration object"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    with pytest.raises(SpecError, match=told):
        locate(path)
    with pytest.raises(SpecError, match=told):
        locate(path, "trl", "grpo")
