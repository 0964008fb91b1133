"""draw(): curves of FVU against L0 as a self-contained SVG picture, labelled where they end."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from physalis.display.svg import FAINT, FONT, INK, PAPER, QUIET, line, words

WIDTH, HEIGHT = 720, 460
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 66, 54
COLOURS = ("#c1432e", "#2f6db3", "#3f8f5b", "#8d5bb0", "#c98a1b", "#3f8f9b", "#b0557f", "#6b6b6b", "#7a8f2f", "#a0622d")
GAP = 16  # between labels


class Dot(NamedTuple):
    """A point and the band around it."""

    l0: float
    fvu: float
    low: float
    high: float


class Curve(NamedTuple):
    """Dots by ascending L0."""

    name: str
    dots: list[Dot]


def draw(curves: Sequence[Curve], *, title: str, about: str) -> str:
    """The picture, as the text of an SVG file. L0 is on a logarithmic axis, FVU on a linear one."""
    dots = [dot for curve in curves for dot in curve.dots]
    left, right = min(d.l0 for d in dots), max(d.l0 for d in dots)
    left, right = (left / 1.15, right * 1.15) if right > left else (left / 2, right * 2)
    low, high = min(d.low for d in dots), max(d.high for d in dots)
    step = _step((high - low) or high or 1.0)
    low, high = math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step

    def x(l0: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(l0 / left) / math.log(right / left)

    def y(fvu: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (fvu - low) / (high - low)

    size = f"viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='{PAPER}'/>",
        words(LEFT, 28, title, size=17, fill=INK),
        words(LEFT, 47, about, size=12.5, fill=QUIET),
    ]
    n = round((high - low) / step)
    for i in range(n + 1):
        value = low + i * step
        parts.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), FAINT))
        parts.append(words(LEFT - 8, y(value) + 4, f"{value:.3g}", size=12, fill=QUIET, anchor="end"))
    for value in _ticks([d.l0 for d in dots]):
        parts.append(line(x(value), HEIGHT - BOTTOM, x(value), HEIGHT - BOTTOM + 4, QUIET))
        parts.append(words(x(value), HEIGHT - BOTTOM + 19, f"{value:g}", size=12, fill=QUIET, anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(words(middle, HEIGHT - 12, "features that fire on a token (L0)", 12.5, QUIET, "middle"))
    ends = _apart([y(curve.dots[-1].fvu) for curve in curves])
    for i, curve in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        band = [(x(d.l0), y(d.high)) for d in curve.dots] + [(x(d.l0), y(d.low)) for d in reversed(curve.dots)]
        parts.append(f"<path d='{_path(band)}Z' fill='{colour}' fill-opacity='.13' stroke='none'/>")
        along = [(x(d.l0), y(d.fvu)) for d in curve.dots]
        parts.append(f"<path d='{_path(along)}' fill='none' stroke='{colour}' stroke-width='1.8'/>")
        parts += [f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3' fill='{colour}'/>" for a, b in along]
        last = along[-1]
        parts.append(line(last[0] + 5, last[1], WIDTH - RIGHT + 12, ends[i], colour, 0.6))
        parts.append(words(WIDTH - RIGHT + 16, ends[i] + 4, curve.name, size=13, fill=colour))
    return "\n".join([*parts, "</svg>", ""])


def _step(span: float) -> float:
    """A round distance between four to eight lines."""
    power = 10 ** math.floor(math.log10(span / 5))
    return next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 7)


def _ticks(values: Sequence[float]) -> list[int]:
    """Round L0s to name: of those that are close together, the first."""
    named: list[int] = []
    for value in sorted({round(v) for v in values}):
        if not named or value / named[-1] > 1.2:
            named.append(value)
    return named


def _apart(wanted: Sequence[float]) -> list[float]:
    """The wanted heights, moved down as little as keeps labels from touching."""
    found = list(wanted)
    previous = -math.inf
    for i in sorted(range(len(found)), key=found.__getitem__):
        found[i] = previous = max(found[i], previous + GAP)
    return found


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in points)
