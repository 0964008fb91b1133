"""The command `physalis score`: what the explanations of features are worth."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis import artifact
from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, Count, Range, as_wholes
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import (
    Dictionary,
    Json,
    Loading,
    ModelAgain,
    Order,
    Out,
    Recordings,
    Writes,
    given,
)
from physalis.cli.shown import hints

Codes = Annotated[
    Path | None,
    Parameter(help="Folder that `encode` wrote of both; else they are encoded, and not kept.", metavar="FOLDER"),
]
Features = Annotated[
    list[int] | None,
    Parameter(
        help="Feature, instead of some drawn at random. Repeatable.", converter=as_wholes, validator=Range(0, MOST),
        metavar="ID",
    ),
]  # fmt: skip


@verb(of="judging.scoring.score", example="physalis score rules sae acts --out scores")
def score(
    explanations: Annotated[Path, Parameter(help="Folder of rules that `explain` wrote.")],
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Annotated[Out | None, Parameter(help="Folder to write; EXPLANATIONS-scores unless given.")] = None,
    writes: Writes = None,
    codes: Codes = None,
    also: Annotated[
        list[Path] | None,
        Parameter(help="A recording of another text, to judge on as well. Repeatable.", metavar="FOLDER"),
    ] = None,
    task: Annotated[
        list[str] | None,
        Parameter(
            help="detection, fuzzing, simulation, intruder, embedding, purity or responsiveness; all but embedding, "
            "for which an embedder of 84 MB is fetched, unless given. Repeatable.",
            metavar="TASK",
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        Parameter(
            name="--beside",
            metavar="FOLDER",
            help="Scores of a model with shuffled weights, or of another dictionary, to show in a column. Repeatable.",
        ),
    ] = None,
    model: ModelAgain = None,
    feature: Features = None,
    sample: Annotated[Count, Parameter(help="Features to judge, drawn at random.")] = None,
    passages: Annotated[Count, Parameter(help="Passages of each draw in which a feature fires.")] = None,
    draws: Annotated[Count, Parameter(help="Draws of passages.")] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Judge what is said of features.

    Passages are drawn by decile of code, with silent and hard ones among them. Beside each score stand an oracle, the
    best single token and explanations swapped between features; each has an interval over documents and the smallest
    difference that means anything.
    """  # fmt: skip
    early.dictionary(dictionary)
    early.recordings(activations, writes, also)
    if artifact.kind_of(explanations) != "words":
        artifact.read(explanations, "explanations")
    from physalis.cli.shown import judged, printing
    from physalis.judging import Scores
    from physalis.judging import score as score_

    others = [Scores.open(each) for each in beside or ()]
    subject = printing.model_of(activations[0], model, loading)
    options = given(
        writes=writes, codes=codes, also=also, tasks=task, features=feature, sample=sample, passages=passages,
        draws=draws, seed=seed, embedder=_embedder(task),
    )  # fmt: skip
    found = score_(
        explanations, dictionary, activations, subject, out or hints.beside(explanations, "scores"), **options
    )
    judged.show(found, others, json=json)


def _embedder(tasks: list[str] | None):
    if "embedding" not in (tasks or ()):
        return None
    from physalis.search import MiniLM

    return MiniLM()
