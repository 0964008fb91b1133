"""What `physalis contrast` prints: heads that say what stands below, and numbers that no headline pushes out."""

import pytest
from rich.console import Console

from physalis.cli.shown.features import contrasts
from physalis.search.records import Contrasted

ROW = Contrasted(
    id=1337, here=11.1, there=13.5, difference=-2.43, low=-4.42, high=-0.31, effect=None, p=0.01, q=0.89, baseline=1.0,
    texts_here=1.0, texts_there=0.5,
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 110])
def test_a_long_headline_gives_way_to_the_numbers(width):
    console = Console(width=width)
    headlines = {1337: "current · already · always " * 4}
    with console.capture() as shown:
        console.print(contrasts._table("more in B", "share of tokens", [ROW], headlines, width))
    said = shown.get()
    for cell in ("1337", "11.1", "13.5", "-2.43 [-4.42, -0.31]", "0.89", "100%", "50%"):
        assert cell in said, cell
    for head in ("share of", "in A", "A − B [95 %]", "discovery", "rate q", "fires in"):
        assert head in said, head
