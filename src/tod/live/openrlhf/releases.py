"""Releases of OpenRLHF whose classes were read."""

from importlib.metadata import PackageNotFoundError, version

from tod.base import SpecError

EXPORTED = ("0.9", "0.10", "0.11")
"""The fields of `Experience` are the same in 0.9.10, 0.10.4 and 0.11.2."""
WATCHED = ("0.11",)
"""`BasePPOTrainer.train_step` and the options are those of 0.11.2."""


def installed() -> str:
    """Its release.

    Raises:
        SpecError: It is not installed here.
    """
    try:
        return version("openrlhf")
    except PackageNotFoundError:
        raise SpecError(
            "openrlhf is not installed in this environment: install tod where it is."
        ) from None


def require(known: tuple[str, ...], what: str, otherwise: str) -> str:
    """The installed release, if it is one of those that were read.

    Args:
        known: Them, by major and minor.
        what: What needs one, for the message.
        otherwise: What can be done without.

    Raises:
        SpecError: It is another one.
    """
    there = installed()
    if ".".join(there.split(".")[:2]) not in known:
        raise SpecError(
            f"{what} is for OpenRLHF {', '.join(known)} and this is {there}, whose classes nobody "
            f"looked at. {otherwise}"
        )
    return there
