"""Options that several commands share, each with what it does, its unit and what it may be."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from physalis.artifact import is_named
from physalis.cli.arguments.amounts import Amount, Count, Positive, Range, Seed, as_whole
from physalis.errors import BadInput

if TYPE_CHECKING:
    from physalis.models import Model


def writable(_: object, folder: Path | None) -> None:
    """Raises ValueError for a folder that cannot be made, before minutes of work are to be written into it."""
    if folder is None:
        return
    if not is_named(folder):
        raise ValueError("The name is no UTF-8, and weights are not written there. Choose another.")
    if folder.is_dir():
        return
    if folder.exists() or folder.is_symlink():
        raise ValueError("It is a file. Choose a folder, new or of the same command.")
    above = next(each for each in folder.absolute().parents if each.exists())
    if not above.is_dir():
        raise ValueError(f"{above} is a file, and a folder below it cannot be made. Choose another place.")
    if not os.access(above, os.W_OK):
        raise ValueError(f"Nothing may be written into {above}: it is read-only, or another user's. Choose another.")


def _readable(_: object, value: Path | list[Path] | None) -> None:
    """Raises ValueError for what is not there."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None and not each.exists():
            raise ValueError(f"There is no {each}. Check the path.")


Json = Annotated[
    bool, Parameter(negative="", show_default=False, help="Print the record as JSON, alone on standard output.")
]
Out = Annotated[
    Path,
    Parameter(
        help="Folder to write. A finished one is reused, an unfinished one is gone on with.",
        validator=writable, metavar="FOLDER",
    ),
]  # fmt: skip
Device = Annotated[
    str | None,
    Parameter(help="Where to compute: cuda, cuda:1, mps or cpu; the best there is unless given.", metavar="DEVICE"),
]
Dtype = Annotated[
    Literal["bfloat16", "float16", "float32"] | None,
    Parameter(help="What the model computes in; what the machine does best unless given.", metavar="DTYPE"),
]

Model_ = Annotated[str, Parameter(help="smollm2, a name on the hub, a local folder or a GGUF file.", metavar="MODEL")]
ModelAgain = Annotated[
    str | None,
    Parameter(
        help="The model: a name, a folder or a GGUF file. The one the recording or dictionary is of, unless given.",
        metavar="MODEL",
    ),
]  # fmt: skip
Dictionary = Annotated[Path, Parameter(help="Folder of a dictionary that `train`, `finetune` or `convert` wrote.")]
Atlas_ = Annotated[Path, Parameter(help="Folder of an atlas that `build-atlas` wrote.")]
Recordings = Annotated[
    list[Path],
    Parameter(help="Folders that `record` wrote: what a dictionary reads. Several are read side by side."),
]
Writes = Annotated[
    list[Path] | None,
    Parameter(
        help="Recordings of what a transcoder predicts; looked for beside ACTIVATIONS unless given. Repeatable.",
        metavar="FOLDER",
    ),
]  # fmt: skip
Predicted = Annotated[
    list[Path] | None,
    Parameter(
        help="Recordings to predict from ACTIVATIONS, which makes a transcoder. Repeatable.", metavar="FOLDER"
    ),
]  # fmt: skip
Architecture = Annotated[str | None, Parameter(help="The architecture, one of those below.", metavar="NAME")]
K = Annotated[Count, Parameter(help="Features that fire on a token.")]
Skip = Annotated[bool | None, Parameter(negative="", help="Give the dictionary a linear path beside its features.")]
Epochs = Annotated[Count, Parameter(help="How often the recording is gone through.")]
BatchSize = Annotated[Amount, Parameter(help="Tokens a training step.")]
Rate = Annotated[Positive, Parameter(help="Learning rate to rise to; by the width and the architecture unless given.")]
Order = Annotated[Seed, Parameter(help="Decides what is random; the same seed gives the same bytes.")]
Host = Annotated[
    str | None, Parameter(help="Address to listen at; 0.0.0.0 is every one that this machine has.", metavar="ADDRESS")
]
Port = Annotated[
    int | None,
    Parameter(
        help="Port to listen at; 0 takes any that is free.", converter=as_whole, validator=Range(0, 65_535), metavar="N"
    ),
]
Token = Annotated[str | None, Parameter(help="What other machines have to give to see the pages.", metavar="WORD")]
Origin = Annotated[
    str | None,
    Parameter(help="Where a proxy shows the pages, such as https://atlas.example.org.", metavar="ADDRESS"),
]
Proxy = Annotated[
    list[str] | None,
    Parameter(
        help="Address of a proxy, which is believed about who visits; nobody else is. Repeatable.", metavar="ADDRESS"
    ),
]
Trust = Annotated[
    bool | None,
    Parameter(negative="", help="Run the Python code that comes with the model. It can do anything that you can."),
]
Articles = Annotated[
    list[Path] | None,
    Parameter(help="A Markdown file with live figures. Repeatable.", validator=_readable, metavar="FILE"),
]
Share = Annotated[float | None, Parameter(validator=Range(above=0, below=1), metavar="SHARE")]


@Parameter(name="*")
@dataclass(frozen=True)
class Computing:
    """What a model computes on, and in."""

    device: Device = None
    dtype: Dtype = None

    def options(self) -> dict[str, Any]:
        """What was asked for, as ``load_model`` takes it."""
        return given(device=self.device, dtype=None if self.dtype is None else _dtype(self.dtype))


@Parameter(name="*")
@dataclass(frozen=True)
class Loading(Computing):
    """How a model is loaded."""

    trust_model_code: Trust = None

    def load(self, name: str) -> "Model":
        """The model of that name, given by who types. Raises BadInput if there is none."""
        from physalis import load_model

        with _loading(name):
            return load_model(name, **self.options(), **given(trust_code=self.trust_model_code))

    def check_named(self) -> None:
        """Raises BadInput where code is to be trusted, and no model was named."""
        if self.trust_model_code:
            raise BadInput("--trust-model-code is for a model that you name yourself. Name it with --model.")

    def load_found(self, name: str, whose: str) -> "Model":
        """The model that a file of ``whose`` names, which is told. Raises BadInput if there is none, or if its code was
        to be trusted: another's files would choose whose code it is."""
        from physalis import load_model
        from physalis.models import announced

        self.check_named()
        found = announced(name, whose)
        with _loading(found):
            return load_model(found, **self.options())


def _loading(name: str) -> AbstractContextManager[None]:
    from physalis.cli.shown.console import spelt
    from physalis.runtime.progress import status

    return status(f"loading {spelt(name)}")


def _dtype(name: str) -> Any:
    from physalis.runtime.device import dtype_named

    return dtype_named(name)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
