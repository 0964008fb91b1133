"""The command line: one short function a verb. Each reads its arguments, calls one public function, prints the record.

No option has a default here: an option that is not given is not passed on, so the defaults are those in the public
functions' signatures. Data goes to standard output, everything else to standard error. torch is imported late, so that
``--help`` is instant.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from physalis import __version__
from physalis.cli import comments, comparing, lab, notes, publishing
from physalis.cli.amounts import Amount, Features
from physalis.cli.options import Json, Out, given
from physalis.errors import BadInput

app = cyclopts.App(
    name="physalis",
    version=__version__,
    help="Open up a neural network: record activations, learn sparse features, browse them in an atlas.",
    help_format="plaintext",
)
for part in (comments.app, comparing.app, lab.app, lab.counterexample, notes.app):
    app.command(part)
for part in (publishing.export, publishing.publish):
    app.command(part)


@app.command
def demo(
    *, out: Out = Path("physalis-demo"), tokens: Amount = None, port: int | None = None,
    serve: Annotated[bool, Parameter(help="Serve the atlas when it is done.")] = True, json: Json = False,
) -> None:  # fmt: skip
    """From a real model to an atlas of its features: fetch SmolLM2-135M, record, train, evaluate, build, serve. What is
    made is shown in the browser from the start."""
    if serve and not json:
        from physalis.cli.making import make_and_serve

        sys.exit(make_and_serve(out, **given(port=port, tokens=tokens)))
    from physalis.cli import printing
    from physalis.cli.demo import run

    made = run(out, **given(tokens=tokens))
    printing.show(made.record() if json else made, json=json)


@app.command
def record(
    model: str, /, *, site: list[str], text: str, out: Out, tokens: Amount = None, field: str | None = None,
    context: Amount = None, bos: bool | None = None, held_out: float | None = None, batch: int | None = None,
    workers: int | None = None, seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Record a model's activations at a site, for instance L9.resid_post, on text. With several --site, one forward
    pass records each to its own folder inside OUT, as OUT/L9.resid_post, all at the same positions.

    MODEL is smollm2, a hub name, a local folder or a GGUF file. TEXT is stdlib, a file, a folder, a glob, a .jsonl or
    .parquet file with --field, or the name of a Hugging Face dataset.
    """
    from physalis import load_model
    from physalis import record as record_
    from physalis.cli import printing
    from physalis.site import Site

    sites = [Site.parse(each) for each in site]
    outs = [out] if len(sites) == 1 else [out / str(each) for each in sites]
    options = given(
        tokens=tokens, field=field, context=context, bos=bos, held_out=held_out, batch=batch, workers=workers, seed=seed
    )
    made = record_(load_model(model), text, sites, outs, **options)
    printing.show(made[0] if len(made) == 1 else made, json=json)


@app.command
def train(
    activations: list[Path], /, *, out: Out, writes: list[Path] | None = None, dictionary: str = "topk",
    features: Features = None, k: int | None = None, epochs: int | None = None, batch_size: Amount = None,
    lr: float | None = None, seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Train a sparse dictionary on recorded activations. FEATURES is a number, or 8x for 8 times the width.

    DICTIONARY is topk, batchtopk, jumprelu, l1, l1resampled, gated, matryoshka, listamatryoshka, matchingpursuit,
    crosscoder or crosslayer. With WRITES it predicts those from ACTIVATIONS: a transcoder. Several ACTIVATIONS are read
    side by side.
    """
    from physalis import Activations, Pairs, artifact, dictionaries
    from physalis import train as train_
    from physalis.cli import printing
    from physalis.cli.amounts import count_features

    alone = len(activations) == 1 and not writes
    source = Activations.open(activations[0]) if alone else Pairs.open(activations, writes or None)
    shape = {"d_in": source.d_in, "d_out": source.d_out, "n_features": count_features(features, source.d_in)}
    if dictionary == "crosslayer":
        shape["layers"] = len(activations)
    config = dictionaries.make(dictionary, {**shape, **given(k=k)}).config
    train_(source, [config], [out], **given(epochs=epochs, batch_size=batch_size, lr=lr, seed=seed))
    printing.show(artifact.read(out, "dictionary"), json=json)


@app.command
def evaluate(
    dictionary: Path, activations: Path, /, *, out: Path | None = None, model: str | None = None,
    splice_tokens: Amount = None, seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Say how faithful a dictionary is, with intervals and beside its baselines. OUT is DICTIONARY-evaluation unless
    given; MODEL is the one that the activations were recorded from unless given."""
    from physalis import evaluate as evaluate_
    from physalis.cli import printing

    out = out or Path(f"{str(dictionary).rstrip('/')}-evaluation")
    subject = printing.model_of(activations, model)
    printing.show(
        evaluate_(dictionary, activations, subject, out=out, **given(splice_tokens=splice_tokens, seed=seed)), json=json
    )


@app.command
def autopsy(
    dictionary: Path, activations: Path, /, *, writes: Path | None = None, tokens: Amount = None,
    steps: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Say how many features of a dictionary are dead, why, and what to change: its training is repeated for a few steps
    as it was and once for each suspicion. ACTIVATIONS are those it was trained on."""
    from physalis import Activations, Pairs
    from physalis.cli import autopsies
    from physalis.deaths import explain_deaths

    source = Activations.open(activations) if writes is None else Pairs.open([activations], [writes])
    autopsies.show(explain_deaths(dictionary, source, **given(tokens=tokens, steps=steps)), json=json)


@app.command
def sweep(
    activations: Path, /, *, out: Out, dictionary: list[str] | None = None, k: list[int] | None = None,
    features: list[int] | None = None, seed: list[int] | None = None, epochs: int | None = None,
    batch_size: Amount = None, json: Json = False,
) -> None:  # fmt: skip
    """Train a grid of dictionaries at once and draw their frontier, FVU against L0, into OUT/frontier.svg. DICTIONARY,
    K, FEATURES and SEED may each be given several times."""
    from physalis import Activations
    from physalis import sweep as sweep_
    from physalis.cli import printing

    grid = given(architectures=dictionary, ks=k, widths=features, seeds=seed)
    found = sweep_(Activations.open(activations), out, **grid, **given(epochs=epochs, batch_size=batch_size))
    printing.show(found, json=json)


@app.command
def finetune(
    dictionary: Path, activations: Path, /, *, out: Out, writes: Path | None = None, model: str | None = None,
    tokens: Amount = None, batch: int | None = None, lr: float | None = None, fvu_weight: float | None = None,
    seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Train a dictionary a little further, against what the model makes of its reconstruction (KL divergence from its
    own predictions). WRITES are the activations that a transcoder predicts."""
    from physalis import Activations, Pairs, artifact
    from physalis import finetune as finetune_
    from physalis.cli import printing

    source = Activations.open(activations) if writes is None else Pairs.open([activations], [writes])
    options = given(tokens=tokens, batch=batch, lr=lr, fvu_weight=fvu_weight, seed=seed)
    finetune_(dictionary, source, printing.model_of(activations, model), out=out, **options)
    printing.show(artifact.read(out, "dictionary"), json=json)


@app.command
def build_atlas(
    dictionary: Path, activations: Path, /, *, out: Out, model: str | None = None, evaluation: Path | None = None,
    causes: int | None = None, seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Gather every feature's examples, effects and neighbours into an atlas. EVALUATION is the folder that `evaluate`
    wrote; its numbers head the atlas. CAUSES is for how many features the model is edited, to see what they do."""
    from physalis import build_atlas as build
    from physalis.cli import printing

    subject = printing.model_of(activations, model)
    atlas = build(dictionary, activations, subject, out, **given(evaluation=evaluation, causes=causes, seed=seed))
    printing.show(atlas.summary(), json=json)


@app.command
def convert(
    *sources: Path, out: Path, from_: Annotated[str | None, Parameter(name="--from")] = None, to: str | None = None,
    model: str | None = None, activations: list[Path] | None = None, writes: list[Path] | None = None,
    scale: float | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Read a dictionary that another tool made, with a verdict on it; or, with --to, write ours for another tool.

    Reads SAELens, sparsify, dictionary_learning, Gemma Scope, Llama Scope, OpenAI, circuit-tracer and bare weights,
    found by looking at the files unless --from names one; writes saelens, sparsify and circuit-tracer. ACTIVATIONS are
    recordings of what it reads, WRITES of what it predicts; with MODEL alone some are recorded. Ends with code 1 if the
    verdict finds something wrong.
    """
    from physalis import Activations, load_model
    from physalis.activations import Pairs
    from physalis.cli import verdicts
    from physalis.exchange import convert as convert_

    joined = None
    if activations:
        alone = len(activations) == 1 and not writes
        joined = Activations.open(activations[0]) if alone else Pairs.open(activations, writes or None)
    subject = load_model(model) if model is not None else None
    made = convert_(list(sources), out, **given(format=from_, to=to, activations=joined, model=subject, scale=scale))
    verdicts.show(made, json=json)
    if verdicts.failed(made):
        sys.exit(1)


@app.command
def steer(
    dictionary: Path, text: str | None = None, /, *, message: str | None = None,
    edit: Annotated[list[str], Parameter(help="KIND:FEATURE:AMOUNT: add, clamp, scale, project or cap.")],
    model: str | None = None, tokens: int | None = None, temperature: float | None = None, top_p: float | None = None,
    seed: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Go on with TEXT, or answer MESSAGE, with features edited and without, side by side. Both are sampled with the
    same noise, so that they differ only by the edits."""
    from physalis import artifact, load_model
    from physalis import steering as steering_
    from physalis.cli import steering as shown
    from physalis.models.generation import Sampler

    if (text is None) == (message is None):
        raise BadInput("Give a TEXT to go on with or a --message to answer, one of them.")
    edits = [steering_.parse_edit(each) for each in edit]
    subject = load_model(model or artifact.read(dictionary, "dictionary").config["model"])
    bound = steering_.Steering.open(dictionary, subject, edits)
    asked = [{"role": "user", "content": message or ""}]
    prompt = steering_.completion(subject, text) if text is not None else steering_.chat(subject, asked)
    sampler = Sampler(**given(temperature=temperature, top_p=top_p, seed=seed))
    steps = steering_.steer(subject, prompt, bound, sampler=sampler, **given(n=tokens))
    shown.show_texts(steps, prompt=text or "", json=json)


@app.command
def doses(
    dictionary: Path, activations: Path, feature: int, /, *, model: str | None = None,
    strength: list[float] | None = None, cost: float | None = None, tokens: Amount = None, seed: int | None = None,
    json: Json = False,
) -> None:  # fmt: skip
    """What adding a feature does at each strength: how much likelier its target, at what cost in perplexity, beside a
    random direction, the difference of means and a prompt. COST is what a suggested strength may add, as a share."""
    from physalis.cli import printing
    from physalis.cli import steering as shown
    from physalis.steering import dose_response

    subject = printing.model_of(activations, model)
    options = given(strengths=strength, cost=cost, tokens=tokens, seed=seed)
    shown.show_doses(dose_response(dictionary, activations, subject, feature, **options), json=json)


@app.command
def serve(
    atlas: Path, /, *, dictionary: Path | None = None, activations: Path | None = None, author: str | None = None,
    host: str | None = None, port: int | None = None, token: str | None = None, origin: str | None = None,
    tree: Path | None = None, article: list[Path] | None = None,
) -> None:  # fmt: skip
    """Serve an atlas to browsers on this machine; with its DICTIONARY, to try texts and to steer features too, and with
    the ACTIVATIONS, to measure what that does and costs. AUTHOR is in whose name visitors write labels and notes;
    without it they only read; comments are written by who was invited. Other machines need the TOKEN; ORIGIN is where a
    proxy shows the pages. With the TREE that `compare tree` grew, features show their family. ARTICLE is a
    Markdown file with live figures, to read and to comment on; may be given many times."""
    from physalis.web.serving import serve as serve_

    beside = given(dictionary=dictionary, activations=activations, author=author, tree=tree, articles=article)
    serve_(atlas, **beside, **given(host=host, port=port, token=token, origin=origin))


@app.command
def watch(
    run: Path, /, *, activations: Path | None = None, features: int | None = None, examples: int | None = None,
    tokens: Amount = None, host: str | None = None, port: int | None = None, token: str | None = None,
    origin: str | None = None,
) -> None:  # fmt: skip
    """Show a run of `train` in a browser while it goes on: its curves, the time left, and the first of its FEATURES.
    RUN is the folder named with --out, also before it is there. The ACTIVATIONS are looked for beside it unless given.
    Other machines need the TOKEN."""
    from physalis.web.serving import watch as watch_

    options = given(features=features, examples=examples, tokens=tokens, host=host, port=port, token=token)
    watch_(run, **given(activations=activations, origin=origin), **options)


@app.command
def plan(
    model: str, /, *, site: str, tokens: Amount = None, dictionary: str | None = None, features: Features = None,
    k: int | None = None, epochs: int | None = None, json: Json = False,
) -> None:  # fmt: skip
    """Say what recording and training would take in memory, disk and time, before anything starts."""
    from physalis import load_model
    from physalis import plan as plan_
    from physalis.cli import printing
    from physalis.cli.amounts import count_features
    from physalis.site import Site

    where, subject = Site.parse(site), load_model(model)
    n = None if features is None else count_features(features, subject.width(where))
    options = given(tokens=tokens, architecture=dictionary, n_features=n, k=k, epochs=epochs)
    printing.show(plan_(subject, where, **options), json=json)


def main() -> None:
    """The entry point: a person's mistakes end in one sentence and exit code 2."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (BadInput, cyclopts.CycloptsError) as error:
        print(f"physalis: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("physalis: stopped. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
