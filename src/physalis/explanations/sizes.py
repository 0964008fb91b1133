"""sizes: how many leaves rules have, drawn: a row for each layer, as a self-contained SVG picture.

The size of a rule is a measure of its feature: how much there is to say of where it fires. How it goes with depth shows
where a network computes what no short rule tells.
"""

from collections.abc import Sequence
from html import escape

import numpy as np

from physalis.display.svg import FAINT, FONT, INK, PAPER, QUIET, line, words
from physalis.errors import BadInput
from physalis.explanations.explained import Explanations
from physalis.site import Site

EDGES = (0, 1, 2, 3, 5, 9, 17, 33)
"""The least number of leaves of each column; the last is open."""
NAMES = ("no rule", "1", "2", "3-4", "5-8", "9-16", "17-32", "33 or more")
WIDTH, LEFT, COLUMN, ROW, TOP = 720, 120, 58, 62, 84
LONGEST = 15
"""Letters of a site's name that have room."""
FILL = "#2f6db3"


def draw_sizes(explained: Sequence[Explanations], *, title: str = "How long rules are") -> str:
    """The picture, as the text of an SVG file: for each of ``explained``, by layer, the share of the features whose
    rules have so many leaves, the median of these, and the mean F1 on held-out text with its interval.

    Raises BadInput for none.
    """
    if not explained:
        raise BadInput("Sizes are drawn of one folder of explanations or more; received none.")
    rows = sorted(explained, key=lambda each: _place(_site(each)))
    shares = [_shares([rule.size for rule in each]) for each in rows]
    most = max(share.max() for share in shares)
    height = TOP + ROW * len(rows) + 40
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' "
        f"role='img' {FONT}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{height}' fill='{PAPER}'/>",
        words(24, 32, title, 17, INK),
        words(24, 52, "Share of the features whose rule has so many leaves", 12.5, QUIET),
        words(LEFT + COLUMN * len(EDGES) + 16, 52, "median, mean F1", 12.5, QUIET),
    ]
    for i, (each, share) in enumerate(zip(rows, shares, strict=True)):
        base = TOP + ROW * (i + 1) - 14
        parts.append(line(LEFT, base, LEFT + COLUMN * len(EDGES), base, FAINT))
        parts.append(words(LEFT - 12, base - 4, _short(_site(each)), 13, INK, "end"))
        for column, part in enumerate(share):
            tall = (ROW - 24) * float(part / most)
            x = LEFT + COLUMN * column + 4
            bar = f"x='{x}' y='{base - tall:.1f}' width='{COLUMN - 8}' height='{tall:.1f}'"
            said = f"{_site(each)}: {part:.0%} of the rules, {NAMES[column]}"
            parts.append(f"<rect {bar} fill='{FILL}' fill-opacity='.75'><title>{escape(said)}</title></rect>")
            if part >= 0.005:
                parts.append(words(x + COLUMN / 2 - 4, base - tall - 4, f"{part:.0%}", 11, QUIET, "middle"))
        f1 = each.mean.f1
        interval = "" if f1.low is None else f" [{f1.low:.2f}, {f1.high:.2f}]"
        at = LEFT + COLUMN * len(EDGES) + 16
        parts.append(words(at, base - 4, f"{each.mean.size:g}", 14, INK))
        parts.append(words(at + 28, base - 4, f"{f1.value:.2f}{interval}", 11, QUIET))
    for column, name in enumerate(NAMES):
        parts.append(words(LEFT + COLUMN * (column + 0.5), height - 22, name, 11.5, QUIET, "middle"))
    return "\n".join([*parts, "</svg>", ""])


def _shares(sizes: Sequence[int]) -> np.ndarray:
    columns = np.searchsorted(EDGES, sizes, side="right") - 1
    return np.bincount(columns, minlength=len(EDGES)) / max(1, len(sizes))


def _site(explained: Explanations) -> str:
    site = explained.manifest.config["site"]
    return site if isinstance(site, str) else ", ".join(site)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _place(name: str) -> tuple[int, str]:
    first = Site.parse(name.split(", ")[0])
    return (-1 if first.layer is None else first.layer, name)
