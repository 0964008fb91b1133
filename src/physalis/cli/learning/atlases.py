"""The commands `physalis evaluate`, `encode`, `build-atlas` and `demo`: what a dictionary is worth, what its codes are,
and what its features are.
"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, Amount, Range, as_whole
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import (
    Computing,
    Device,
    Dictionary,
    Json,
    Loading,
    ModelAgain,
    Order,
    Out,
    Port,
    Proxy,
    Recordings,
    Writes,
    given,
)
from physalis.cli.learning.suites import Suites
from physalis.cli.shown.hints import beside, named, say_next


@verb(
    of="evaluation.evaluating.evaluate",
    pool="suites.running.evaluate_suite.pool",
    texts="suites.running.evaluate_suite.texts",
    rounds="suites.running.evaluate_suite.rounds",
    world_samples="suites.running.evaluate_suite.world_samples",
    example="physalis evaluate sae acts --out eval",
)
def evaluate(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    writes: Writes = None,
    out: Annotated[
        Out | None, Parameter(help="Folder to write; DICTIONARY-evaluation, or DICTIONARY-suite, unless given.")
    ] = None,
    model: ModelAgain = None,
    splice_tokens: Annotated[
        Amount,
        Parameter(help="Held-out tokens on which the model runs with the reconstruction; 2,048 a round with --suite."),
    ] = None,
    suites: Suites = Suites(),  # noqa: B008 (frozen)
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Say how faithful a dictionary is, beside its baselines.

    Each number has an interval. ACTIVATIONS are those that the dictionary reads. With --suite, dictionaries are
    compared on probes, loss, causal effects, seeds and worlds, each number with its noise.
    """
    suites.check()
    options = given(writes=writes, splice_tokens=splice_tokens, seed=seed)
    if suites.suite:
        return suites.run(dictionary, activations, out, model, loading, options, json=json)
    about = early.dictionary(dictionary)
    models, out = about.config.get("model"), out or beside(dictionary, "evaluation")
    early.recordings(activations, writes)
    early.out(out, "evaluation", dictionary=about.hash, splice_tokens=splice_tokens, seed=seed)
    from physalis import evaluate as evaluate_
    from physalis.cli.shown import printing

    one = not isinstance(models, list) or len(set(models)) == 1  # several cannot be spliced into
    subject = printing.model_of(activations[0], model, loading) if one else None
    printing.show(evaluate_(dictionary, activations, subject, out=out, **options), json=json)
    if not json:
        read = [*activations, *named("--writes", writes), *named("--model", [model] if model else None)]
        say_next("build-atlas", dictionary, *read, "--evaluation", out, "--out", beside(dictionary, "atlas"))


@verb(of="codes.encoding.encode", example="physalis encode sae acts --out codes")
def encode(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Writes = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Keep what a dictionary makes of every token.

    The codes of all tokens, for `build-atlas` and `compare`, which then need not encode again.
    """
    early.dictionary(dictionary)
    early.recordings(activations, writes)
    from physalis import encode as encode_
    from physalis.cli.shown import printing

    printing.show(encode_(dictionary, activations, out=out, **given(writes=writes, device=device)), json=json)
    if not json:
        read = [*activations, *named("--writes", writes)]
        say_next("build-atlas", dictionary, *read, "--codes", out, "--out", beside(dictionary, "atlas"))


@verb(of="atlas.build.building.build_atlas", example="physalis build-atlas sae acts --evaluation eval --out atlas")
def build_atlas(
    dictionary: Dictionary,
    activations: Recordings,
    /,
    *,
    out: Out,
    writes: Writes = None,
    model: ModelAgain = None,
    codes: Annotated[
        Path | None,
        Parameter(help="Folder that `encode` wrote of both; else they are encoded, and not kept.", metavar="FOLDER"),
    ] = None,
    evaluation: Annotated[
        Path | None,
        Parameter(help="Folder that `evaluate` wrote; its numbers head the atlas.", metavar="FOLDER"),
    ] = None,
    causes: Annotated[
        int | None,
        Parameter(
            help="Features for which the model is edited, to see what they do.",
            converter=as_whole,
            validator=Range(0, MOST),
            metavar="N",
        ),
    ] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Gather every feature's examples, effects and neighbours."""
    from physalis import artifact

    about = early.dictionary(dictionary)
    early.recordings(activations, writes)
    judged = None if evaluation is None else artifact.read(evaluation, "evaluation").hash
    early.out(out, "atlas", inputs={"dictionary": about.hash, "evaluation": judged}, causes=causes or None, seed=seed)
    early.codes(codes and [codes])
    from physalis import build_atlas as build
    from physalis.cli.shown import printing

    subject = printing.model_of(activations[0], model, loading)
    options = given(writes=writes, codes=codes, evaluation=evaluation, causes=causes, seed=seed)
    printing.show(build(dictionary, activations, subject, out, **options).summary(), json=json)
    if not json:
        with_ = ["--activations", activations[0]] if len(activations) == 1 and not writes else []
        say_next("serve", out, "--dictionary", dictionary, *with_)


@verb(
    of="cli.learning.demo.run",
    port="web.server.serving.serve_while.port",
    proxy="web.server.serving.serve_while.proxies",
    example="physalis demo --tokens 100k --no-serve",
)
def demo(
    *,
    out: Annotated[Out, Parameter(help="Folder to write; what an earlier run finished is reused.")] = Path(
        "physalis-demo"
    ),
    tokens: Annotated[Amount, Parameter(help="Positions to record.")] = None,
    port: Port = None,
    proxy: Proxy = None,
    serve: Annotated[bool, Parameter(help="Show it in the browser, from the start.")] = True,
    computing: Computing = Computing(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """From a real model to an atlas of its features, in one command.

    Fetches SmolLM2-135M, records, trains, evaluates, builds and serves. What is made is shown from the start.
    """
    options = given(tokens=tokens, device=computing.device, dtype=computing.dtype)
    if serve and not json:
        from physalis.cli.learning.demo_process import make_and_serve

        sys.exit(make_and_serve(out, **given(port=port, proxies=proxy), **options))
    from physalis.cli.learning.demo import run
    from physalis.cli.shown import printing

    made = run(out, **options)
    printing.show(made.record() if json else made, json=json)
