"""Bash itself: a script of a test is run with every program stubbed, and its words recorded."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

_STUBS = """
python3() { printf '%s\\0' python3 "$@" >> "$RECORD"; printf '\\1\\0' >> "$RECORD"; }
torchrun() { printf '%s\\0' torchrun "$@" >> "$RECORD"; printf '\\1\\0' >> "$RECORD"; }
accelerate() { printf '%s\\0' accelerate "$@" >> "$RECORD"; printf '\\1\\0' >> "$RECORD"; }
srun() { while [[ "$1" == -* ]]; do shift; done; "$@"; }
ssh() { shift; env -i BASH_ENV="$BASH_ENV" RECORD="$RECORD" PATH="$PATH" "$REAL" -c "$*"; }
bash() { "$REAL" "$@"; }
maybe() { [ "${VERDICT:-0}" = 0 ]; }
env() { /usr/bin/env "$@"; }
"""


def arguments(
    script: str, folder: Path, outside: Mapping[str, str] | None = None
) -> list[list[str]]:
    """The words of every program that a script starts, in order.

    Only for scripts that a test writes: no other program can be found from it.

    Args:
        script: The script.
        folder: An empty folder to run it in.
        outside: Variables that are set outside of it.
    """
    stubs, record, file = folder / "stubs", folder / "record", folder / "script"
    stubs.write_text(_STUBS, encoding="utf-8")
    record.write_bytes(b"")
    file.write_text(script, encoding="utf-8")
    env = {"BASH_ENV": str(stubs), "RECORD": str(record), "PATH": "/nowhere", "REAL": "/bin/bash"}
    subprocess.run(
        ["/bin/bash", str(file)],
        env={**env, **(outside or {})},
        cwd=folder,
        check=False,
        capture_output=True,
        timeout=20,
    )
    calls = record.read_bytes().decode("utf-8").split("\1\0")
    return [call.split("\0")[:-1] for call in calls if call]
