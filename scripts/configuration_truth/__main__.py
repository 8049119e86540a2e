"""Runs launch scripts of public repositories in an empty root, and keeps what they really say.

Usage: python scripts/configuration_truth CHECKOUTS --output studies/configurations [--only NAME]

CHECKOUTS holds a checkout ``owner+name`` of each of `REPOSITORIES`, with its history. A script is
run in namespaces of its own: no network, a root with bash and the core utilities alone, its
checkout under an overlay that is thrown away, no capability, limits of time, processor and memory;
every program is a stub that records its words (see ``sandbox.py``). Where the kernel gives no such
isolation nothing is run. The words of a training command then go over the defaults of its
repository at its commit: verl by Hydra, NeMo-RL by its inheritance, OpenRLHF by the options that
its parser declares, TRL by the fields of the version that is pinned.

Writes ``facts.jsonl`` and, of one repository in four, chosen by a hash of its name before any
result was seen, ``held_back.jsonl``, which nobody reads until the readers are done. No text of a
repository is kept: its name, commit, path, line, the file's SHA-256, and decisive facts.

A second call goes on where the first one stopped. Needs hydra-core and omegaconf, which the project
does not: use another environment.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from configuration_truth.collect import Collector
from configuration_truth.repositories import REPOSITORIES
from configuration_truth.sandbox import isolated, sandbox

NAMES = {False: "facts.jsonl", True: "held_back.jsonl"}
"""Files of facts, by whether they are held back."""


def _written(folder: Path) -> list[dict[str, Any]]:
    """Rows that an earlier call wrote; a last line that was cut off is taken away."""
    rows = []
    for path in (folder / name for name in NAMES.values()):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        path.write_text(whole, encoding="utf-8")
        rows += [json.loads(line) for line in whole.splitlines()]
    return rows


def main() -> int:
    """Write the facts, a repository at a time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=None, help="owner/name")
    told = parser.parse_args()
    if not isolated():
        print("no namespaces here: nothing is run")
        return 1
    os.nice(19)
    told.output.mkdir(parents=True, exist_ok=True)
    order = sorted(REPOSITORIES, key=lambda one: (one.held_back, one.most))
    with sandbox(seconds=6) as box, tempfile.TemporaryDirectory(prefix="trees-") as trees:
        collector = Collector(told.checkouts, Path(trees), box)
        for row in _written(told.output):
            collector.seen.add(row["sha256"])
            collector.done.add((row["repository"], row["path"]))
        files = {
            held: (told.output / name).open("a", encoding="utf-8") for held, name in NAMES.items()
        }
        for repository in order:
            if told.only is not None and repository.name not in told.only:
                continue
            began, count, told_facts = time.monotonic(), 0, 0
            for row in collector.rows(repository):
                files[repository.held_back].write(json.dumps(row, ensure_ascii=False) + "\n")
                files[repository.held_back].flush()
                count, told_facts = count + 1, told_facts + (row["facts"] is not None)
            seconds = time.monotonic() - began
            print(f"{repository.name}: {count} commands, {told_facts} with facts, {seconds:.0f} s")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
