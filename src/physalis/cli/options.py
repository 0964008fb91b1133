"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from physalis.errors import BadInput

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

Trust = Annotated[
    bool | None,
    Parameter(negative="", help="Run the Python code that comes with the model. It can do anything that you can."),
]


def trusted(code: bool | None, model: str | None) -> bool | None:
    """Whether a model's own code is trusted. Raises BadInput where no ``model`` is named on the command line: another's
    files would choose whose code it is."""
    if code and model is None:
        raise BadInput("--trust-model-code is for a model that you name yourself. Name it with --model.")
    return code


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
