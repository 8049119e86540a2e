"""Draw what a command prints as an SVG of a terminal, for the README and the gallery.

Usage: python scripts/terminal_picture.py            # docs/pictures/locate.svg
       python scripts/terminal_picture.py --check    # exit 1 where the command prints another text

The command runs at 80 columns in a folder with docs/examples. The picture asks for no font from
elsewhere.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/pictures/locate.svg"
COMMAND = "tod atlas locate train.sh"
FRAME = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>COMMAND</title>
<style>
.{unique_id}-matrix {{
font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs>{lines}</defs>
<rect width="100%" height="100%" rx="8" fill="#1e1e1e"/>
<g transform="translate(12, 10)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def printed() -> str:
    """What the command prints in colour."""
    environment = os.environ | {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment |= {"PYTHONPATH": str(ROOT / "src")}
    environment.pop("NO_COLOR", None)
    return subprocess.run(
        [sys.executable, "-m", *COMMAND.split()],
        cwd=ROOT / "docs/examples",
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def picture() -> str:
    """The SVG."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {COMMAND}", style="bold"))
    console.print(Text.from_ansi(printed().rstrip()))
    made = console.export_svg(
        theme=MONOKAI,
        code_format=FRAME.replace("COMMAND", COMMAND),
        unique_id="terminal",
        font_aspect_ratio=0.6,
    )
    return "\n".join(line.rstrip() for line in made.splitlines()) + "\n"


def main() -> int:
    """Write the picture, or compare it."""
    made = picture()
    if "--check" in sys.argv:
        return made != PICTURE.read_text(encoding="utf-8")
    PICTURE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
