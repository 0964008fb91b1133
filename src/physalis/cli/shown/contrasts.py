"""What `physalis contrast` shows: the features of each side, and what so many texts allow to conclude."""

import json as json_
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from physalis.atlas import Atlas
from physalis.cli.shown.console import make_console
from physalis.search import verdict
from physalis.search.records import Contrast, Contrasted


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
        console.print(_table(title, rows, headlines) if rows else Text(f"{title}: no feature"))
        console.print()
    measure = found.measure.replace("code", "activation").replace("_", " ")
    console.print(f"{verdict(found)} What was compared is the {measure}.")


def _table(title: str, rows: Sequence[Contrasted], headlines: dict[int, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for name in ("feature", "A", "B", "difference", "q", "texts in A", "in B"):
        table.add_column(name, justify="right", no_wrap=True)
    if headlines:
        table.add_column("", no_wrap=True, overflow="ellipsis")
    for each in rows:
        ends = "" if each.low is None or each.high is None else f" [{each.low:.3g}, {each.high:.3g}]"
        numbers = (f"{each.here:.3g}", f"{each.there:.3g}", f"{each.difference:+.3g}{ends}", f"{each.q:.2g}")
        shares = (f"{each.texts_here:.0%}", f"{each.texts_there:.0%}")
        table.add_row(str(each.id), *numbers, *shares, *([headlines[each.id]] if headlines else []))
    return table
