"""What `physalis contrast` shows: the features of each side, and what so many texts allow to conclude."""

import json as json_
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from physalis.atlas import Atlas
from physalis.cli.shown.console import make_console
from physalis.search import verdict
from physalis.search.records import Contrast, Contrasted

MEASURES = {
    "mean_code": "In A and in B stands a feature's activation, averaged over all kept tokens of the set;",
    "share_of_tokens": "In A and in B stands the share of the set's tokens on which a feature fires;",
    "share_of_texts": "In A and in B stands the share of the set's texts in which a feature fires;",
}
HEADS = (
    "q is the false discovery rate: of a list of features that ends with this one, the share that chance alone would "
    "put there."
)


def show(found: Contrast, atlas: Atlas | None, *, json: bool) -> None:
    """A table for each side, headlines in it where there is an atlas, and the verdict."""
    ids = sorted({each.id for each in (*found.more_here, *found.more_there)})
    headlines = {} if atlas is None else {row.id: row.headline for row in atlas.rows(ids)}
    if json:
        told = found.model_dump() | {"verdict": verdict(found)} | ({} if atlas is None else {"headlines": headlines})
        print(json_.dumps(told, indent=1))
        return
    console = make_console()
    for title, rows in (("more in A (here)", found.more_here), ("more in B (there)", found.more_there)):
        table = _table(title, _measure(found), rows, headlines, console.width) if rows else None
        console.print(table or Text(f"{title}: no feature"))
        console.print()
    console.print(f"{verdict(found)} What was compared is the {_measure(found)}.")
    if found.more_here or found.more_there:
        console.print(f"{MEASURES.get(found.measure, _measure(found).capitalize())} {HEADS}")


def _measure(found: Contrast) -> str:
    return found.measure.replace("code", "activation").replace("_", " ")


def _table(
    title: str, measure: str, rows: Sequence[Contrasted], headlines: dict[int, str], width: int
) -> Table:  # fmt: skip
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    what = "\n".join(measure.rsplit(" ", 1))
    heads = ("\n\nfeature", f"{what}\nin A", "\n\nin B", "\ndifference\nA − B [95 %]", "false\ndiscovery\nrate q")
    heads += ("fires in\ntexts\nof A", "\n\nof B")
    told: list[tuple[str, ...]] = []
    for each in rows:
        ends = "" if each.low is None or each.high is None else f" [{each.low:.3g}, {each.high:.3g}]"
        numbers = (f"{each.here:.3g}", f"{each.there:.3g}", f"{each.difference:+.3g}{ends}", f"{each.q:.2g}")
        shares = (f"{each.texts_here:.0%}", f"{each.texts_there:.0%}")
        told.append((str(each.id), *numbers, *shares))
    left = width
    for head, *cells in zip(heads, *told, strict=True):
        table.add_column(head, justify="right", no_wrap=True)
        left -= 2 + max(map(len, (*head.split("\n"), *cells)))
    if headlines:  # which give way: rich would shorten the numbers as well
        table.add_column("", no_wrap=True, overflow="ellipsis", max_width=max(left, 4))
    for each, cells in zip(rows, told, strict=True):
        table.add_row(*cells, *([headlines[each.id]] if headlines else []))
    return table
