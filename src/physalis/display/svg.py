"""svg: what pictures in files are drawn of: words, lines, and the colours and letters of all of them."""

from html import escape

INK, QUIET, FAINT, PAPER = "#222", "#767676", "#e6e3dc", "#fffefb"
FONT = "font-family=\"'Source Sans 3', 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif\""


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    """A straight line."""
    at = f"x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'"
    return f"<line {at} stroke='{colour}' stroke-width='{width}'/>"


def words(x: float, y: float, text: str, size: float, fill: str, anchor: str = "start") -> str:
    """Text that starts, ends or has its middle at ``x``."""
    at = f"x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{fill}' text-anchor='{anchor}'"
    return f"<text {at}>{escape(text)}</text>"
