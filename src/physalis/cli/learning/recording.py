"""The commands `physalis record`, `model` and `plan`: what a model is, what it computes, what that would take."""

from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Amount, Count, Features
from physalis.cli.arguments.asked import AskedReading
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import (
    Architecture,
    BatchSize,
    Epochs,
    Json,
    K,
    Loading,
    Model_,
    Out,
    Skip,
    Trust,
    given,
)

Sites = Annotated[
    list[str],
    Parameter(help="Where, such as L9.resid_post or logits. Repeatable: one pass records each.", metavar="SITE"),
]


@verb(
    of="recording.recorder.record",
    example="physalis record smollm2 --site L9.resid_post --text stdlib --tokens 100k --out acts",
)
def record(
    model: Model_,
    /,
    *,
    site: Sites,
    text: Annotated[
        str,
        Parameter(
            help="stdlib, a file, a folder, a glob, several of these with commas between, or a Hugging Face dataset, "
            "OWNER/NAME or OWNER/NAME:CONFIG.",
            metavar="SOURCE",
        ),
    ],
    out: Out,
    reading: AskedReading = AskedReading(),  # noqa: B008 (frozen)
    workers: Annotated[Count, Parameter(help="Processes that record, each with a copy of the model.")] = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Record what a model computes at a site while it reads text.

    With several --site, one forward pass records each to its own folder inside OUT, as OUT/L9.resid_post, all at the
    same positions.
    """
    sites = early.sites(site)
    outs = [out] if len(sites) == 1 else [out / str(each) for each in sites]
    for each, folder in zip(sites, outs, strict=True):
        early.out(folder, "activations", site=str(each), **reading.options())
    early.layers(model, sites)
    early.text(text, reading.field)
    from physalis import record as record_
    from physalis.cli.shown import printing

    made = record_(loading.load(model), text, sites, outs, **reading.options(), **given(workers=workers))
    printing.show(made[0] if len(made) == 1 else made, json=json)


@verb(example="physalis model smollm2")
def model(name: Model_, /, *, trust_model_code: Trust = None, json: Json = False) -> None:
    """Say what a model is made of and which sites it has."""
    from physalis.cli.shown import models
    from physalis.models import inspect_model

    models.show(inspect_model(name, **given(trust_code=trust_model_code)), json=json)


@verb(
    of="training.planning.plan", dictionary="architecture", k="dictionaries.architectures.topk.TopKConfig.k",
    example="physalis plan smollm2 --site L9.resid_post --tokens 2M --features 8x",
)  # fmt: skip
def plan(
    model: Model_,
    /,
    *,
    site: Sites,
    writes: Annotated[
        list[str] | None, Parameter(help="Sites to predict, which makes a transcoder. Repeatable.", metavar="SITE")
    ] = None,
    tokens: Annotated[Amount, Parameter(help="Positions to record.")] = None,
    dictionary: Architecture = None,
    features: Features = None,
    k: K = None,
    skip: Skip = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Say what recording and training would take in time and room.

    Memory, disk and time are measured on a few steps of the real thing. With several --site they are read side by side.
    """
    reads, targets = (early.sites(each or []) for each in (site, writes))
    early.layers(model, reads, targets)
    early.dictionary_shape(dictionary, features, k)
    from physalis import plan as plan_
    from physalis.cli.arguments.amounts import count_features
    from physalis.cli.shown import printing

    subject = loading.load(model)
    n = None if features is None else count_features(features, sum(map(subject.width, reads)))
    options = given(tokens=tokens, architecture=dictionary, n_features=n, k=k, skip=skip, epochs=epochs)
    printing.show(plan_(subject, reads, writes=targets, **options, **given(batch_size=batch_size)), json=json)
