"""The commands `physalis train`, `sweep`, `finetune` and `autopsy`: dictionaries made, and asked why features died."""

from typing import Annotated

from cyclopts import Parameter

from physalis.cli import early
from physalis.cli.amounts import LARGEST_SEED, MOST, Amount, Count, Features, Positive, Range, as_wholes
from physalis.cli.help import SETTINGS, verb
from physalis.cli.hints import beside, named, say_next
from physalis.cli.options import (
    Architecture,
    BatchSize,
    Device,
    Dictionary,
    Epochs,
    Json,
    K,
    Loading,
    ModelAgain,
    Order,
    Out,
    Predicted,
    Rate,
    Recordings,
    Skip,
    Writes,
    given,
)
from physalis.cli.stated import stated

Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set", group=SETTINGS, metavar="NAME=VALUE",
        help="Change a setting, as in --set aux_weight=0.1. Several numbers have commas between, as in --dictionary "
        "matryoshka --features 512 --set widths=64,512. Repeatable.",
    ),
]  # fmt: skip


@verb(
    of="training.train", dictionary="cli.sources.config_for.architecture", k="dictionaries.topk.TopKConfig.k",
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
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    seed: Order = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Train a sparse dictionary on recorded activations.

    With --writes it predicts those from ACTIVATIONS: a transcoder, with --skip one that has a linear path beside its
    features. Several ACTIVATIONS are read side by side: a crosscoder; a crosslayer reads and writes several layers,
    named in their order.
    """
    early.recordings(activations, writes)
    early.dictionary_shape(dictionary, features, k)
    early.settings(settings, [dictionary or stated("cli.sources.config_for")["architecture"]])
    from physalis import artifact
    from physalis import train as train_
    from physalis.cli import printing
    from physalis.cli.sources import config_for, opened

    source = opened(activations, writes)
    config = config_for(source, features, settings or (), **given(architecture=dictionary, k=k, skip=skip))
    train_(source, [config], [out], **given(epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device))
    printing.show(artifact.read(out, "dictionary"), json=json)
    if not json:
        say_next("evaluate", out, *activations, *named("--writes", writes), "--out", beside(out, "evaluation"))


@verb(
    of="sweeping.sweep", dictionary="architectures", k="ks", seed="seeds",
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
    chosen = early.settings(settings, dictionary or stated("sweeping.sweep")["architectures"].split())
    from physalis import sweep as sweep_
    from physalis.cli import printing
    from physalis.cli.amounts import count_features
    from physalis.cli.sources import opened

    source = opened(activations, writes)
    widths = [count_features(each, source.d_in) for each in features] if features else None
    grid = given(architectures=dictionary, ks=k, widths=widths, seeds=seed, settings=chosen or None)
    found = sweep_(source, out, **grid, **given(skip=skip, epochs=epochs, batch_size=batch_size, device=device))
    printing.show(found, json=json)


@verb(of="finetuning.finetune", example="physalis finetune sae acts --tokens 50k --out tuned")
def finetune(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Writes = None,
    model: ModelAgain = None,
    tokens: Annotated[Amount, Parameter(help="Tokens to train on.")] = None,
    batch: Annotated[Count, Parameter(help="Contexts a training step.")] = None,
    lr: Annotated[Positive, Parameter(help="Learning rate to start from.")] = None,
    fvu_weight: Annotated[
        float | None,
        Parameter(help="Weight of the reconstruction beside the model's loss.", validator=Range(0), metavar="NUMBER"),
    ] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Train a dictionary further, against what the model makes of it.

    The loss is the KL divergence of the model's predictions from its own when it runs on the reconstruction.
    """
    about = early.dictionary(dictionary)
    early.recordings(activations, writes)
    from physalis import artifact
    from physalis import finetune as finetune_
    from physalis.cli import printing
    from physalis.origin import recorded

    source = recorded(about, activations, writes)
    options = given(tokens=tokens, batch=batch, lr=lr, fvu_weight=fvu_weight, seed=seed)
    finetune_(dictionary, source, printing.model_of(activations[0], model, loading), out=out, **options)
    printing.show(artifact.read(out, "dictionary"), json=json)
    if not json:
        say_next("evaluate", out, *activations, *named("--writes", writes), "--out", beside(out, "evaluation"))


@verb(of="deaths.explaining.explain_deaths", example="physalis autopsy sae acts --steps 50")
def autopsy(
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
    from physalis.cli import autopsies
    from physalis.deaths import explain_deaths
    from physalis.origin import recorded

    source = recorded(about, activations, writes)
    autopsies.show(explain_deaths(dictionary, source, **given(tokens=tokens, steps=steps, device=device)), json=json)
