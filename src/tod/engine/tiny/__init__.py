"""The two embedded models, ``tod://tiny`` and ``tod://tiny-teacher``, as files of the package."""

from importlib.resources import files
from pathlib import Path

from tod.base.errors import ModelError

SCHEME = "tod://"
NAMES = ("tiny", "tiny-teacher")


def path(name: str) -> Path:
    """Local directory of an embedded model, loadable by ``AutoModelForCausalLM``.

    Args:
        name: ``tod://tiny`` or ``tod://tiny-teacher``; the scheme may be left out.

    Raises:
        ModelError: No embedded model has this name, or the installation lacks its files.
    """
    short = name.removeprefix(SCHEME)
    known = ", ".join(SCHEME + each for each in NAMES)
    if short not in NAMES:
        raise ModelError(
            f"{name!r} is not an embedded model. Known: {known}. "
            "Other models are named by a directory or a Hugging Face id, without `tod://`."
        )
    directory = Path(str(files(__package__))) / short.replace("-", "_")
    if not (directory / "model.safetensors").is_file():
        raise ModelError(
            f"{name!r} has no weights in {directory}: the installation is incomplete. "
            "Install the package again, or rebuild the models with `make tiny`."
        )
    return directory


def resolve(model: str) -> str:
    """A model id as transformers understands it: ``tod://`` names become local directories."""
    return str(path(model)) if model.startswith(SCHEME) else model
