"""Settings of a framework's method as a located point, without a file."""

from typing import Any

from tod.configurations import Located
from tod.configurations.locate import reader
from tod.configurations.recognise import ConfigurationFile

FRAMEWORKS = ("trl", "verl", "nemo_rl", "openrlhf")
PROGRAMS = {"ppo": "openrlhf.cli.train_ppo_ray", "pairs": "openrlhf.cli.train_dpo"}


def read(framework: str, method: str, values: dict[str, Any]) -> Located:
    program = PROGRAMS[method] if framework == "openrlhf" else None
    named = None if framework in ("verl", "openrlhf") else method
    return reader(ConfigurationFile(framework, values, named, program), "here")  # type: ignore[arg-type]
