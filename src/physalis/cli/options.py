"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

Json = Annotated[bool, Parameter(negative="", help="Print the record as JSON, alone on standard output.")]
Out = Annotated[Path, Parameter(help="Folder to write. A finished one is reused, an unfinished one is gone on with.")]

Device = Annotated[
    str | None, Parameter(help="Where to compute: cuda, cuda:1, mps or cpu; the best there is unless given.")
]

Proxy = Annotated[
    list[str] | None,
    Parameter(
        negative="", help="The address of a proxy, which is believed about who visits; nobody else is. May be repeated."
    ),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
