"""The command `physalis convert`: dictionaries out of the files of other tools, and into them."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Positive
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Json, Loading, Out, given
from physalis.cli.shown.hints import beside, named, say_next


@verb(of="exchange.converting.convert", example="physalis convert sae --to saelens --out sae-for-saelens")
def convert(
    *sources: Annotated[
        Path, Parameter(help="Files of a dictionary that another tool made; with --to, dictionaries of ours.")
    ],
    out: Out,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="Format of the files; found by looking at them unless given.", metavar="FORMAT"),
    ] = None,
    to: Annotated[
        str | None,
        Parameter(help="Format to write: saelens, sparsify or circuit-tracer.", metavar="FORMAT"),
    ] = None,
    model: Annotated[
        str | None,
        Parameter(help="The model it is of: text is recorded to judge it, and it is tied to it.", metavar="MODEL"),
    ] = None,
    activations: Annotated[
        list[Path] | None, Parameter(help="Recordings of what it reads, to judge it on. Repeatable.", metavar="FOLDER")
    ] = None,
    writes: Annotated[
        list[Path] | None, Parameter(help="Recordings of what it predicts. Repeatable.", metavar="FOLDER")
    ] = None,
    site: Annotated[
        list[str] | None, Parameter(help="Where it reads, for files that do not say. Repeatable.", metavar="SITE")
    ] = None,
    site_out: Annotated[
        list[str] | None,
        Parameter(help="Where a transcoder writes, for files that do not say. Repeatable.", metavar="SITE"),
    ] = None,
    scale: Annotated[
        Positive, Parameter(help="What its inputs were multiplied by in training, for files that do not say.")
    ] = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Read a dictionary of another tool, or write ours for one.

    What is read gets a verdict. Reads SAELens, sparsify, dictionary_learning, Gemma Scope, Llama Scope, OpenAI,
    circuit-tracer and bare weights. Ends with code 1 if the verdict finds something wrong.
    """
    said = early.sites(site or []) + early.sites(site_out or [])
    if model is not None:
        early.layers(model, said)
    early.recordings(activations, writes)
    from physalis.cli.arguments.sources import opened
    from physalis.cli.shown import verdicts
    from physalis.exchange import convert as convert_
    from physalis.placement.origin import listed

    joined = opened(activations, writes) if activations else None
    if model is None:
        loading.check_named()
    subject = None if model is None else loading.load(model)
    options = given(format=from_, to=to, activations=joined, model=subject, scale=scale, sites=site, sites_out=site_out)
    made = convert_(list(sources), out, **options, **given(device=loading.device))
    verdicts.show(made, json=json)
    if verdicts.failed(made):
        sys.exit(1)
    first = made[0]
    if json or first.manifest is None:
        return
    places = [str(each) for key in ("site", "writes") for each in listed(first.manifest.config.get(key))]
    if activations:
        where = [*activations, *named("--writes", writes), *named("--model", [model] if model else None)]
        say_next("evaluate", first.folder, *where, "--out", beside(first.folder, "evaluation"))
    elif model and places:
        where = [*named("--site", [*dict.fromkeys(places)]), "--text", "stdlib"]
        say_next("record", model, *where, "--out", beside(first.folder, "activations"))
