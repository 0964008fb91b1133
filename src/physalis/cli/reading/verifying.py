"""`physalis verify`: every file of a folder against what its manifest says, as a table."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.artifact.kinds import in_words
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Json
from physalis.cli.shown.console import make_console


@verb(example="physalis verify sae")
def verify(
    folder: Annotated[Path, Parameter(help="Folder that a command wrote, finished or not.")], /, *, json: Json = False
) -> None:
    """Check every file of a folder against its manifest.

    Its sum, and what it holds: recordings, dictionaries, evaluations, atlases, comparisons and published sites. Ends
    with code 1 if something is wrong. Nothing is written.
    """
    from rich.table import Table
    from rich.text import Text

    from physalis import verify as verify_

    found = verify_(folder)
    if json:
        print(found.model_dump_json(indent=1))
    else:
        console = make_console()
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        for each in found.files:
            mark = Text("right" if each.right else "WRONG", style="green" if each.right else "red")
            table.add_row(Text(each.name), mark, Text(each.said))
        console.print(table)
        wrong = sum(not each.right for each in found.files)
        held = "what is unknown" if found.kind == "unknown" else in_words(found.kind)
        what = f"{wrong:,} of {len(found.files):,} are wrong." if wrong else "Nothing is wrong."
        console.print(Text(f"{folder} holds {held}{'' if found.finished else ', unfinished'}. {what}"))
    if not found.right:
        sys.exit(1)
