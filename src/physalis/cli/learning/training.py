"""The commands `physalis train`, `sweep`, `finetune` and `dead-features`: dictionaries made, and why features died."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import LARGEST_SEED, MOST, Amount, Count, Features, Range, as_wholes
from physalis.cli.arguments.asked import AskedFinetuning, AskedTraining
from physalis.cli.arguments.defaults import defaults_of
from physalis.cli.arguments.help import SETTINGS, verb
from physalis.cli.arguments.options import (
    Architecture,
    BatchSize,
    Device,
    Dictionary,
    Epochs,
    Json,
    K,
    Loading,
    ModelAgain,
    Out,
    Predicted,
    Recordings,
    Skip,
    Writes,
    given,
)
from physalis.cli.shown.hints import beside, named, say_next
from physalis.errors import BadInput
from physalis.training.options import stored

Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set", group=SETTINGS, metavar="NAME=VALUE",
        help="Change a setting, as in --set aux_weight=0.1. Several numbers have commas between, as in --dictionary "
        "matryoshka --features 512 --set widths=64,512. Repeatable.",
    ),
]  # fmt: skip


@verb(
    of="training.training.train", dictionary="cli.arguments.sources.config_for.architecture",
    k="dictionaries.architectures.topk.TopKConfig.k",
    example="physalis train acts --features 8x --k 32 --out sae",
)  # fmt: skip
def train(
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Predicted = None,
    dictionary: Architecture = None,
    features: Features = None,
    k: K = None,
    skip: Skip = None,
    settings: Set = None,
    continue_from: Annotated[
        Path | None,
        Parameter(
            name="--continue", metavar="DICTIONARY",
            help="Go on with this dictionary, its size and settings, in the new folder OUT: with more text, or longer.",
        ),
    ] = None,
    training: AskedTraining = AskedTraining(),  # noqa: B008 (frozen)
    device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Train a sparse dictionary on recorded activations.

    With --writes it predicts those from ACTIVATIONS: a transcoder, with --skip one that has a linear path beside its
    features. Several ACTIVATIONS are read side by side: a crosscoder; a crosslayer reads and writes several layers,
    named in their order.
    """
    read = early.recordings(activations, writes)
    early.dictionary_shape(dictionary, features, k)
    chosen = early.settings(settings, [dictionary or defaults_of("cli.arguments.sources.config_for")["architecture"]])
    about = None if continue_from is None else early.dictionary(continue_from)
    if about is not None and (dictionary or features or k or skip or settings):
        raise BadInput(
            "A dictionary that is gone on with keeps its architecture, size and settings. Leave out --dictionary, "
            "--features, --k, --skip and --set, or train another without --continue."
        )
    early.out(
        out, "dictionary", dictionary={"n_features": early.plain_features(features), "k": k, **chosen},
        training=stored(training.options()),
        inputs={"activations": read[0].hash if len(read) == 1 else None},
    )  # fmt: skip
    from physalis import artifact
    from physalis import train as train_
    from physalis.cli.arguments.sources import config_for, config_of, opened
    from physalis.cli.shown import printing
    from physalis.placement.origin import recorded

    options = training.options() | given(device=device)
    if about is None or continue_from is None:
        source = opened(activations, writes)
        config = config_for(source, features, settings or (), **given(architecture=dictionary, k=k, skip=skip))
        train_(source, [config], [out], **options)
    else:
        source = recorded(about, activations, writes)
        train_(source, [config_of(about)], [out], continue_from=[continue_from], **options)
    printing.show(artifact.read(out, "dictionary"), json=json)
    if not json:
        say_next("evaluate", out, *activations, *named("--writes", writes), "--out", beside(out, "evaluation"))


@verb(
    of="sweeping.sweeping.sweep", dictionary="architectures", k="ks", seed="seeds",
    example="physalis sweep acts --dictionary topk --dictionary jumprelu --k 16 --k 32 --out sweep",
)  # fmt: skip
def sweep(
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Predicted = None,
    dictionary: Annotated[
        list[str] | None, Parameter(help="The architectures, of those below. Repeatable.", metavar="NAME")
    ] = None,
    k: Annotated[
        list[int] | None,
        Parameter(
            help="Features that fire on a token. Repeatable.",
            converter=as_wholes,
            validator=Range(1, MOST),
            metavar="N",
        ),
    ] = None,
    features: Annotated[
        list[str] | None, Parameter(help="Sizes: numbers, or multiples of the width as in 8x. Repeatable.")
    ] = None,
    seed: Annotated[
        list[int] | None,
        Parameter(
            help="What is random, once with each. Repeatable.",
            converter=as_wholes,
            validator=Range(0, LARGEST_SEED),
            metavar="N",
        ),
    ] = None,
    skip: Skip = None,
    settings: Set = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Train a grid of dictionaries at once and draw their frontier.

    FVU against L0 on held-out text goes into OUT/frontier.svg; each dictionary is a folder in OUT. A setting is given
    to the architectures that have it.
    """
    early.recordings(activations, writes)
    for each in dictionary or ():
        early.dictionary_shape(each, None, None)
    chosen = early.settings(settings, dictionary or defaults_of("sweeping.sweeping.sweep")["architectures"].split())
    from physalis import sweep as sweep_
    from physalis.cli.arguments.amounts import count_features
    from physalis.cli.arguments.sources import opened
    from physalis.cli.shown import printing

    source = opened(activations, writes)
    widths = [count_features(each, source.d_in) for each in features] if features else None
    grid = given(architectures=dictionary, ks=k, widths=widths, seeds=seed, settings=chosen or None)
    found = sweep_(source, out, **grid, **given(skip=skip, epochs=epochs, batch_size=batch_size, device=device))
    printing.show(found, json=json)
    if not json:
        best = out / min(found.points, key=lambda each: each.fvu["value"]).folder
        say_next("evaluate", best, *activations, *named("--writes", writes), "--out", beside(best, "evaluation"))


@verb(of="training.finetuning.finetune", example="physalis finetune sae acts --tokens 50k --out tuned")
def finetune(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Writes = None,
    model: ModelAgain = None,
    finetuning: AskedFinetuning = AskedFinetuning(),  # noqa: B008 (frozen)
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Train a dictionary further, against what the model makes of it.

    The loss is the KL divergence of the model's predictions from its own when it runs on the reconstruction.
    """
    about = early.dictionary(dictionary)
    early.recordings(activations, writes)
    asked = finetuning.options()
    early.out(out, "dictionary", finetuning=asked, inputs={"dictionary": about.hash})
    from physalis import artifact
    from physalis import finetune as finetune_
    from physalis.cli.shown import printing
    from physalis.placement.origin import recorded

    source = recorded(about, activations, writes)
    finetune_(dictionary, source, printing.model_of(activations[0], model, loading), out=out, **asked)
    printing.show(artifact.read(out, "dictionary"), json=json)
    if not json:
        say_next("evaluate", out, *activations, *named("--writes", writes), "--out", beside(out, "evaluation"))


@verb(of="dead_features.explaining.explain_dead_features", example="physalis dead-features sae acts --steps 50")
def dead_features(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    writes: Writes = None,
    tokens: Annotated[Amount, Parameter(help="Tokens on which features are counted as dead.")] = None,
    steps: Annotated[Count, Parameter(help="Training steps of each repetition.")] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Say how many features are dead, why, and what to change.

    The training is repeated for a few steps as it was, and once for each suspicion.
    """
    about = early.dictionary(dictionary)
    early.recordings(activations, writes)
    from physalis.cli.shown.features import dead_features
    from physalis.dead_features import explain_dead_features
    from physalis.placement.origin import recorded

    source = recorded(about, activations, writes)
    dead_features.show(
        explain_dead_features(dictionary, source, **given(tokens=tokens, steps=steps, device=device)), json=json
    )
