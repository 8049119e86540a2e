"""`python -m tod.live.openrlhf`: OpenRLHF's PPO training, watched.

It takes every option of ``openrlhf.cli.train_ppo_ray`` and passes them on as they are, and some of
its own behind ``--tod.``.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Sequence

from tod.base import SpecError, TodError
from tod.live.openrlhf.recorder import PROGRAM
from tod.live.openrlhf.releases import WATCHED, require
from tod.live.recorder import RecorderSettings

_FLAGS = ("extras", "overwrite", "no_findings")


def main(words: Sequence[str]) -> None:
    """Take our options out, put the watched trainers in place, and run OpenRLHF's program.

    Raises:
        SpecError: Another release, or an option of ours that is none.
    """
    own, theirs = split(words)
    settings = settings_of(own, help_wanted=not theirs or "--help" in theirs or "-h" in theirs)
    version = require(
        WATCHED,
        "python -m tod.live.openrlhf",
        f"Run python -m {PROGRAM}, and call OpenRLHFExporter where the experiences are made.",
    )
    from tod.live.openrlhf.training import watch

    watch(theirs, settings, version)
    sys.argv = [PROGRAM, *theirs]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, and those of OpenRLHF, each in their order."""
    own: list[str] = []
    theirs: list[str] = []
    takes = False
    for word in words:
        if word.startswith("--tod."):
            own.append(word)
            name, equal, _ = word.removeprefix("--tod.").partition("=")
            takes = not equal and name not in _FLAGS
        elif takes:
            own.append(word)
            takes = False
        else:
            theirs.append(word)
    return own, theirs


def settings_of(words: Sequence[str], help_wanted: bool = False) -> RecorderSettings:
    """The settings that our words are; with ``help_wanted`` the options are printed instead.

    Raises:
        SpecError: One is none of ours, or has a value that it cannot have.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tod.live.openrlhf",
        description=f"OpenRLHF's PPO training ({PROGRAM}), watched: diagnostics, findings and "
        "verdict in its own tracking as train/tod/…, and every rollout in a run directory that "
        "`tod diagnose` reads.",
        epilog=f"Every other option is passed on to {PROGRAM}; python -m {PROGRAM} --help shows "
        "those.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--tod.output", metavar="DIR", help="the run directory")
    parser.add_argument(
        "--tod.target",
        metavar="JSON",
        help="q*, instead of what the command implies: "
        '\'{"anchor": {"ref": 1}, "tilts": [{"utility": "reward", "eta": 10}]}\'',
    )
    parser.add_argument(
        "--tod.extras", action="store_true", help="other numbers of a reward function too"
    )
    parser.add_argument(
        "--tod.overwrite", action="store_true", help="replace an earlier run in the directory"
    )
    parser.add_argument(
        "--tod.arc",
        metavar="JSON",
        help="a controller of sharpness, which turns the KL's coefficient: "
        "'{\"damage_limit\": 0.4}'",
    )
    parser.add_argument("--tod.no_findings", action="store_true", help="ask no detectors")
    if help_wanted:
        parser.print_help()
        raise SystemExit(0)
    try:
        values, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise SpecError(f"{error}.") from None
    if unknown:
        raise SpecError(f"{unknown[0]} is no option of tod: see python -m tod.live.openrlhf --help")
    named = {name.removeprefix("tod."): value for name, value in vars(values).items()}
    named["findings"] = not named.pop("no_findings")
    for name in ("target", "arc"):
        if named[name] is not None:
            named[name] = _json(name, named[name])
    return RecorderSettings.parse(named, "--tod")


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"--tod.{name}: no JSON ({error}).") from None


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TodError as error:
        sys.exit(f"tod: {error}")
