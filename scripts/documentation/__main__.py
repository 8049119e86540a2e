"""Build the site of documentation into build/site: `make docs`.

The pages stay plain files that a forge shows too. Copies of them go to build/pages, with the links
that leave docs/ mended by their kind, and a reference of the public names is written there from
their docstrings. zensical makes the site, strictly, and every page that it made is read again: a
link that leads nowhere, a page that the contents lack, or one that has other lists, tables or
blocks of code than a forge shows of it, fails.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from documentation.alike import differing
from documentation.built import faults
from documentation.contents import unlisted, write_settings
from documentation.pages import ROOT, SITE, copy_pages
from documentation.reference import write_reference


def main() -> int:
    """Copy, build, read what was built."""
    copy_pages()
    write_reference()
    if astray := unlisted():
        print("docs/README.md and the pages differ by:", *sorted(astray))
        return 1
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = Path(sys.executable).parent / "zensical"
    command = [zensical, "build", "--strict", "--clean", "-f", write_settings()]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        return code
    said = [*faults(), *differing()]
    print(*said, sep="\n", end="\n" if said else "")
    print(f"{len(list(SITE.rglob('*.html')))} pages in {SITE}; {len(said)} faults")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
