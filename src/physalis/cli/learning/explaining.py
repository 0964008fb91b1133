"""The command `physalis explain`: a rule for every feature, and how far it can be believed."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, Amount, AmountFrom0, Count, Positive, Range, as_wholes
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
from physalis.cli.shown.hints import named_after


@verb(
    of="explanations.explaining.explain", example="physalis explain sae acts --out rules",
    price="explanations.learning.Economy.price", leaves="explanations.learning.Economy.leaves",
)  # fmt: skip
def explain(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Annotated[Out | None, Parameter(help="Folder to write; DICTIONARY-explanations unless given.")] = None,
    writes: Writes = None,
    codes: Annotated[
        Path | None,
        Parameter(help="Folder that `encode` wrote of both; else they are encoded, and not kept.", metavar="FOLDER"),
    ] = None,
    model: ModelAgain = None,
    feature: Annotated[
        list[int] | None,
        Parameter(
            help="Feature to explain; all unless given. Repeatable.",
            converter=as_wholes,
            validator=Range(0, MOST),
            metavar="ID",
        ),
    ] = None,
    price: Annotated[Positive, Parameter(help="F1 that each leaf of a rule must gain.")] = None,
    leaves: Annotated[Count, Parameter(help="Leaves of a rule, at most.")] = None,
    share: Annotated[
        Amount,
        Parameter(
            help="Also put what the rules predict in the site's place on so many held-out tokens, and measure the loss."
        ),
    ] = None,
    reach: Annotated[
        Amount,
        Parameter(
            help="Also run the model on the last tokens alone, at so many held-out tokens: how far back features look."
        ),
    ] = None,
    altered: Annotated[
        AmountFrom0,
        Parameter(
            help="Also learn from so many training tokens that the model reads again, one in seven of them replaced; "
            "as many as the recording has is plenty."
        ),
    ] = None,
    workers: Annotated[Count, Parameter(help="Processes to explain in.")] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Say by a rule where each feature fires, and test it.

    A rule is a small program that reads text. It is learned from the recording's training part and judged on the
    held-out part.
    """
    early.dictionary(dictionary)
    early.recordings(activations, writes)
    from physalis.cli.shown import printing
    from physalis.cli.shown.features import explained
    from physalis.explanations import Economy, program_share
    from physalis.explanations import explain as explain_
    from physalis.explanations import reach as reach_

    out = out or named_after(dictionary, "explanations")
    subject = printing.model_of(activations[0], model, loading)
    economy = Economy(**given(price=price, leaves=leaves))
    options = given(writes=writes, codes=codes, features=feature, altered=altered, workers=workers, seed=seed)
    found = explain_(dictionary, activations, subject, out, economy=economy, **options)
    done = looks = None
    if share is not None:
        done = program_share(out, dictionary, activations, subject, tokens=share, **given(writes=writes, seed=seed))
    if reach is not None:
        looks = reach_(dictionary, activations, subject, tokens=reach, **given(writes=writes, seed=seed))
    explained.show(found, done, looks, json=json)
