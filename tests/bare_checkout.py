"""A copy of the project as a fresh clone would be, for tests that install it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copied(folder: Path) -> Path:
    """The files of the working tree that git does not ignore, in a folder of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    there = b"\0".join(
        name for name in listed.split(b"\0") if name and (ROOT / name.decode()).exists()
    )
    folder.mkdir(parents=True)
    packed = subprocess.run(
        ["tar", "cf", "-", "--null", "-T", "-"],
        cwd=ROOT,
        input=there,
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "xf", "-"], cwd=folder, input=packed.stdout, check=True)
    return folder
