"""Draw the tour of the README as a terminal: ``python docs/picture.py [--check]`` writes docs/images/tour.svg.

What it draws are the first console blocks of the README, whose output the tests compare with that of the program.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/tour.svg"
BLOCKS = 3  # of the README: commit and train, change, look
COLUMNS = 84
ADVANCE, LEADING, SIZE = 8.43, 19, 14  # of a character and a line, in pixels

_BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>A terminal with the tour of artfs</title>
<style>
text {{ font: {size}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }}
.out {{ fill: #b9c1cc; }} .in {{ fill: #f3f5f8; font-weight: 600; }} .prompt {{ fill: #6fcf97; }}
</style>
<rect width="{width}" height="{height}" rx="10" fill="#1b1f27"/>
<circle cx="22" cy="20" r="6" fill="#ff5f57"/><circle cx="42" cy="20" r="6" fill="#febc2e"/><circle cx="62" cy="20" r="6" fill="#28c840"/>
"""


def drawn(readme: str) -> str:
    """Return the picture of a README as SVG."""
    lines = "\n".join(block.rstrip("\n") for block in _BLOCK.findall(readme)[:BLOCKS]).splitlines()
    height = 40 + LEADING * len(lines) + 14
    parts = [_HEAD.format(width=round(COLUMNS * ADVANCE) + 32, height=height, size=SIZE)]
    for number, line in enumerate(lines):
        y = 40 + LEADING * (number + 1) - 5
        text = html.escape(line, quote=False)
        if line.startswith("$ "):
            text = f'<tspan class="prompt">$</tspan><tspan class="in">{text[1:]}</tspan>'
        parts.append(f'<text class="out" x="16" y="{y}" xml:space="preserve">{text}</text>\n')
    return "".join([*parts, "</svg>\n"])


def run(arguments: list[str]) -> int:
    """Write the picture, or with ``--check`` say whether it is out of date."""
    picture = drawn((ROOT / "README.md").read_text())
    if PICTURE.exists() and PICTURE.read_text() == picture:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{PICTURE.name} is out of date: run python docs/picture.py\n")
        return 1
    PICTURE.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
