"""asked: options that one record of a public function holds, as a command was given them: None for what was not, whose
default the record states. Each has the record's name for it, and its words for ``--help``."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from physalis.cli.arguments.amounts import Amount, Count, Positive, Range
from physalis.cli.arguments.options import BatchSize, Epochs, Order, Rate, given


class Asked:
    """Options of one record."""

    def options(self) -> dict[str, Any]:
        """What was given, as the function takes it."""
        return given(**vars(self))


@Parameter(name="*")
@dataclass(frozen=True)
class AskedReading(Asked):
    """Of ``recording.Reading``."""

    tokens: Annotated[Amount, Parameter(help="Positions to record; text that holds fewer is used whole.")] = None
    field: Annotated[
        str | None,
        Parameter(
            help="Field that is the text in rows of .jsonl, .json, .csv, .tsv and .parquet files, a.b for b inside a; "
            "text unless given.",
            metavar="NAME",
        ),
    ] = None
    context: Annotated[Amount, Parameter(help="Tokens that are read together.")] = None
    bos: Annotated[bool | None, Parameter(help="Whether contexts begin with the tokenizer's BOS token.")] = None
    held_out: Annotated[
        float | None,
        Parameter(
            help="Share of the text that is kept apart for judging.", validator=Range(0, below=1), metavar="SHARE"
        ),
    ] = None
    batch: Annotated[Count, Parameter(help="Contexts that go through the model at once.")] = None
    seed: Order = None


@Parameter(name="*")
@dataclass(frozen=True)
class AskedTraining(Asked):
    """Of ``training.Training``."""

    epochs: Epochs = None
    batch_size: BatchSize = None
    lr: Rate = None
    seed: Order = None


@Parameter(name="*")
@dataclass(frozen=True)
class AskedFinetuning(Asked):
    """Of ``training.Finetuning``."""

    tokens: Annotated[Amount, Parameter(help="Tokens to train on.")] = None
    batch: Annotated[Count, Parameter(help="Contexts a training step.")] = None
    lr: Annotated[Positive, Parameter(help="Learning rate to start from.")] = None
    fvu_weight: Annotated[
        float | None,
        Parameter(help="Weight of the reconstruction beside the model's loss.", validator=Range(0), metavar="NUMBER"),
    ] = None
    seed: Order = None
