"""The commands `physalis steer` and `physalis dose-response`: what a model writes with features edited."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Amount, Count, Range, as_whole
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Dictionary, Json, Loading, ModelAgain, Order, Writes, given
from physalis.errors import BadInput


@verb(
    of="models.generation.Sampler",
    example="physalis steer sae 'Once upon a time' --edit add:3:20 --tokens 20",
)  # fmt: skip
def steer(
    dictionary: Dictionary,
    text: Annotated[str | None, Parameter(help="Text to go on with.")] = None,
    /,
    *,
    message: Annotated[
        str | None, Parameter(help="Message to answer, instead of a TEXT to go on with.", metavar="TEXT")
    ] = None,
    edit: Annotated[
        list[str],
        Parameter(help="KIND:FEATURE:AMOUNT, of kind add, clamp, scale, project or cap. Repeatable.", metavar="EDIT"),
    ],
    model: ModelAgain = None,
    tokens: Annotated[Count, Parameter(help="Tokens to write at most.")] = None,
    temperature: Annotated[
        float | None,
        Parameter(help="0 takes the likeliest token, 1 samples as it is.", validator=Range(0), metavar="NUMBER"),
    ] = None,
    top_p: Annotated[
        float | None,
        Parameter(
            help="Sample from the likeliest tokens that have this much probability together.",
            validator=Range(above=0, most=1), metavar="SHARE",
        ),
    ] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:  # fmt: skip
    """Write on with features edited and without, side by side.

    Both texts are sampled with the same noise, so that they differ only by the edits.
    """
    if (text is None) == (message is None):
        raise BadInput("Give a TEXT to go on with or a --message to answer, one of them.")
    about = early.dictionary(dictionary)
    from physalis import steering as steering_
    from physalis.cli.shown.features import steered
    from physalis.models.generation import Sampler
    from physalis.placement.origin import Origin

    edits = [steering_.parse_edit(each) for each in edit]
    if model is not None:
        subject = loading.load(model)
    else:
        subject = loading.load_found(Origin.of(about).model, "The dictionary")
    bound = steering_.Steering.open(dictionary, subject, edits)
    asked = [{"role": "user", "content": message or ""}]
    if text is not None:
        prompt = steering_.completion(subject, text, bos=bound.bos)
    else:
        prompt = steering_.chat(subject, asked, bos=bound.bos)
    sampler = Sampler(**given(temperature=temperature, top_p=top_p, seed=seed))
    steps = steering_.steer(subject, prompt, bound, sampler=sampler, **given(n=tokens))
    steered.show_texts(steps, prompt=text or "", json=json)


@verb(of="steering.dose_curves.dose_response", example="physalis dose-response sae acts 3 --strength 10 --tokens 1k")
def dose_response(
    dictionary: Dictionary,
    activations: Annotated[Path, Parameter(help="Folder that `record` wrote: what the dictionary reads.")],
    feature: Annotated[int, Parameter(help="Number of the feature.", converter=as_whole, validator=Range(0))],
    /,
    *,
    reads: Annotated[
        list[Path] | None, Parameter(help="Further recordings that a crosscoder reads. Repeatable.", metavar="FOLDER")
    ] = None,
    writes: Writes = None,
    model: ModelAgain = None,
    strength: Annotated[
        list[float] | None,
        Parameter(
            help="How much is added, in units of the activations. Repeatable; some around their size unless given.",
            metavar="NUMBER",
        ),
    ] = None,
    cost: Annotated[
        float | None,
        Parameter(
            help="What a suggested strength may add to the perplexity, as a share.", validator=Range(0), metavar="SHARE"
        ),
    ] = None,
    tokens: Annotated[Amount, Parameter(help="Held-out tokens to measure on.")] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Measure what adding a feature does, and costs, by strength.

    How much likelier its target becomes, at what cost in perplexity, beside a random direction, the difference of means
    and a prompt.
    """
    early.dictionary(dictionary)
    early.recordings(activations, reads, writes)
    from physalis.cli.shown import printing
    from physalis.cli.shown.features import steered
    from physalis.steering import dose_response

    subject = printing.model_of(activations, model, loading)
    options = given(writes=writes, strengths=strength, cost=cost, tokens=tokens, seed=seed)
    recordings = [activations, *(reads or [])]
    steered.show_doses(dose_response(dictionary, recordings, subject, feature, **options), json=json)
