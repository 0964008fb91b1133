"""What pictures are drawn of is SVG, whatever the words are."""

from xml.etree import ElementTree

from physalis.display.svg import FONT, INK, line, words


def test_words_are_what_they_say():
    drawn = ElementTree.fromstring(f"<svg {FONT}>{words(1, 2.04, 'a < b & c', 12.5, INK, 'end')}</svg>")
    assert "Source Sans 3" in drawn.attrib["font-family"]
    (said,) = drawn
    assert said.text == "a < b & c" and said.attrib == {
        "x": "1.0", "y": "2.0", "font-size": "12.5", "fill": INK, "text-anchor": "end",
    }  # fmt: skip


def test_a_line_goes_from_here_to_there():
    found = ElementTree.fromstring(line(0, 1, 2, 3.26, "#abc", 0.6))
    assert found.attrib == {"x1": "0.0", "y1": "1.0", "x2": "2.0", "y2": "3.3", "stroke": "#abc", "stroke-width": "0.6"}
