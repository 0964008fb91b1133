"""`physalis verify`: every file of a folder against what its manifest says, as a table."""

import sys
from pathlib import Path

from physalis.cli.options import Json


def verify(folder: Path, /, *, json: Json = False) -> None:
    """Check every file of what physalis made against the sums in its manifest, and what it holds: recordings,
    dictionaries, evaluations, atlases, comparisons and published sites, finished or not. Ends with code 1 if something
    is wrong. Nothing is written."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from physalis import verify as verify_

    found = verify_(folder)
    if json:
        print(found.model_dump_json(indent=1))
    else:
        console = Console(highlight=False, width=None if Console().is_terminal else 110)
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        for each in found.files:
            mark = Text("right" if each.right else "WRONG", style="green" if each.right else "red")
            table.add_row(Text(each.name), mark, Text(each.said))
        console.print(table)
        wrong = sum(not each.right for each in found.files)
        what = f"{wrong:,} of {len(found.files):,} are wrong." if wrong else "Nothing is wrong."
        console.print(Text(f"{folder} holds {found.kind}{'' if found.finished else ', unfinished'}. {what}"))
    if not found.right:
        sys.exit(1)
