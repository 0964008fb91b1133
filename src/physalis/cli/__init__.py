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
from physalis.cli import comments, comparing, lab, notes, publishing, verifying
from physalis.cli.amounts import Amount, Features
from physalis.cli.options import Device, Json, Out, Proxy, Trust, given, trusted
from physalis.errors import BadInput

app = cyclopts.App(
    name="physalis",
    version=__version__,
    help="Open up a neural network: record activations, learn sparse features, browse them in an atlas.\n\n"
    "With --no-cache what a GGUF file holds is not kept for the next command.",
    help_format="plaintext",
)
for part in (comments.app, comparing.app, lab.app, lab.counterexample, notes.app):
    app.command(part)
for part in (publishing.export, publishing.publish, verifying.verify):
    app.command(part)


@app.command
def demo(
    *, out: Out = Path("physalis-demo"), tokens: Amount = None, port: int | None = None, proxy: Proxy = None,
    serve: Annotated[bool, Parameter(help="Serve the atlas when it is done.")] = True, json: Json = False,
) -> None:  # fmt: skip
    """From a real model to an atlas of its features: fetch SmolLM2-135M, record, train, evaluate, build, serve. What is
    made is shown in the browser from the start."""
    if serve and not json:
        from physalis.cli.making import make_and_serve

        sys.exit(make_and_serve(out, **given(port=port, proxies=proxy, tokens=tokens)))
    from physalis.cli import printing
    from physalis.cli.demo import run

    made = run(out, **given(tokens=tokens))
    printing.show(made.record() if json else made, json=json)


@app.command
def record(
    model: str, /, *, site: list[str], text: str, out: Out, tokens: Amount = None, field: str | None = None,
    context: Amount = None, bos: bool | None = None, held_out: float | None = None, batch: int | None = None,
    workers: int | None = None, seed: int | None = None, device: Device = None,
    trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Record a model's activations at a site, for instance L9.resid_post, on text. With several --site, one forward
    pass records each to its own folder inside OUT, as OUT/L9.resid_post, all at the same positions.

    MODEL is smollm2, a hub name, a local folder or a GGUF file. TEXT is stdlib, a file, a folder, a glob, several with
    commas between, or the name of a Hugging Face dataset (OWNER/NAME or OWNER/NAME:CONFIG). Rows of .jsonl, .json,
    .csv, .tsv and .parquet files give the text in FIELD.
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
    made = record_(load_model(model, **given(device=device, trust_code=trust_model_code)), text, sites, outs, **options)
    printing.show(made[0] if len(made) == 1 else made, json=json)


@app.command(name="model")
def model_(name: str, /, *, trust_model_code: Trust = None, json: Json = False) -> None:
    """Say what a model is made of and which sites it has, from its config where that suffices. NAME is smollm2, a hub
    name, a local folder or a GGUF file."""
    from physalis.cli import inspections
    from physalis.models import inspect_model

    inspections.show(inspect_model(name, **given(trust_code=trust_model_code)), json=json)


@app.command
def train(
    activations: list[Path], /, *, out: Out, writes: list[Path] | None = None, dictionary: str = "topk",
    features: Features = None, k: int | None = None, skip: bool | None = None, epochs: int | None = None,
    batch_size: Amount = None, lr: float | None = None, seed: int | None = None, device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Train a sparse dictionary on recorded activations. FEATURES is a number, or 8x for 8 times the width.

    DICTIONARY is topk, batchtopk, jumprelu, l1, l1resampled, gated, matryoshka, listamatryoshka, matchingpursuit,
    crosscoder or crosslayer. With WRITES it predicts those from ACTIVATIONS: a transcoder, with SKIP one that has a
    linear path beside its features. Several ACTIVATIONS are read side by side: a crosscoder; a crosslayer reads and
    writes several layers, named in their order.
    """
    from physalis import artifact
    from physalis import train as train_
    from physalis.cli import printing
    from physalis.cli.sources import config_for, opened

    source = opened(activations, writes)
    config = config_for(source, dictionary, features, **given(k=k, skip=skip))
    train_(source, [config], [out], **given(epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device))
    printing.show(artifact.read(out, "dictionary"), json=json)


@app.command
def evaluate(
    dictionary: Path, activations: list[Path], /, *, writes: list[Path] | None = None, out: Path | None = None,
    model: str | None = None, splice_tokens: Amount = None, seed: int | None = None, device: Device = None,
    trust_model_code: Trust = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Say how faithful a dictionary is, with intervals and beside its baselines. ACTIVATIONS are those it reads, WRITES
    those it predicts, which are looked for beside the first. OUT is DICTIONARY-evaluation unless given; MODEL is the
    one that the activations were recorded from unless given."""
    from physalis import artifact
    from physalis import evaluate as evaluate_
    from physalis.cli import printing

    out = out or Path(f"{str(dictionary).rstrip('/')}-evaluation")
    models = artifact.read(dictionary, "dictionary").config.get("model")
    one = not isinstance(models, list) or len(set(models)) == 1  # several cannot be spliced into
    subject = printing.model_of(activations[0], model, device, trust_model_code) if one else None
    options = given(writes=writes, splice_tokens=splice_tokens, seed=seed)
    printing.show(evaluate_(dictionary, activations, subject, out=out, **options), json=json)


@app.command
def autopsy(
    dictionary: Path, activations: list[Path], /, *, writes: list[Path] | None = None, tokens: Amount = None,
    steps: int | None = None, device: Device = None, json: Json = False,
) -> None:  # fmt: skip
    """Say how many features of a dictionary are dead, why, and what to change: its training is repeated for a few steps
    as it was and once for each suspicion. ACTIVATIONS are those it was trained on, and WRITES what it predicts, unless
    that stands beside them."""
    from physalis import artifact
    from physalis.cli import autopsies
    from physalis.deaths import explain_deaths
    from physalis.origin import recorded

    source = recorded(artifact.read(dictionary, "dictionary"), activations, writes)
    autopsies.show(explain_deaths(dictionary, source, **given(tokens=tokens, steps=steps, device=device)), json=json)


@app.command
def sweep(
    activations: list[Path], /, *, out: Out, writes: list[Path] | None = None, dictionary: list[str] | None = None,
    k: list[int] | None = None, features: list[str] | None = None, seed: list[int] | None = None,
    skip: bool | None = None, epochs: int | None = None, batch_size: Amount = None, device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Train a grid of dictionaries at once and draw their frontier, FVU against L0, into OUT/frontier.svg. DICTIONARY,
    K, FEATURES (a number, or 8x) and SEED may each be given several times; the others are as for train."""
    from physalis import sweep as sweep_
    from physalis.cli import printing
    from physalis.cli.amounts import count_features
    from physalis.cli.sources import opened

    source = opened(activations, writes)
    widths = [count_features(each, source.d_in) for each in features] if features else None
    grid = given(architectures=dictionary, ks=k, widths=widths, seeds=seed)
    found = sweep_(source, out, **grid, **given(skip=skip, epochs=epochs, batch_size=batch_size, device=device))
    printing.show(found, json=json)


@app.command
def finetune(
    dictionary: Path, activations: list[Path], /, *, out: Out, writes: list[Path] | None = None,
    model: str | None = None, tokens: Amount = None, batch: int | None = None, lr: float | None = None,
    fvu_weight: float | None = None, seed: int | None = None, device: Device = None,
    trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Train a dictionary a little further, against what the model makes of its reconstruction (KL divergence from its
    own predictions). WRITES are the activations that a transcoder predicts, unless they stand beside ACTIVATIONS."""
    from physalis import artifact
    from physalis import finetune as finetune_
    from physalis.cli import printing
    from physalis.origin import recorded

    source = recorded(artifact.read(dictionary, "dictionary"), activations, writes)
    options = given(tokens=tokens, batch=batch, lr=lr, fvu_weight=fvu_weight, seed=seed)
    finetune_(
        dictionary, source, printing.model_of(activations[0], model, device, trust_model_code), out=out, **options
    )
    printing.show(artifact.read(out, "dictionary"), json=json)


@app.command
def build_atlas(
    dictionary: Path, activations: list[Path], /, *, out: Out, writes: list[Path] | None = None,
    model: str | None = None, evaluation: Path | None = None, causes: int | None = None, seed: int | None = None,
    device: Device = None, trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Gather every feature's examples, effects and neighbours into an atlas. ACTIVATIONS are of what the dictionary
    reads, WRITES of what a transcoder predicts, unless they were recorded together. EVALUATION is the folder that
    `evaluate` wrote; its numbers head the atlas. CAUSES is for how many features the model is edited, to see what they
    do."""
    from physalis import build_atlas as build
    from physalis.cli import printing

    subject = printing.model_of(activations[0], model, device, trust_model_code)
    options = given(writes=writes, evaluation=evaluation, causes=causes, seed=seed)
    printing.show(build(dictionary, activations, subject, out, **options).summary(), json=json)


@app.command
def convert(
    *sources: Path, out: Path, from_: Annotated[str | None, Parameter(name="--from")] = None, to: str | None = None,
    model: str | None = None, activations: list[Path] | None = None, writes: list[Path] | None = None,
    site: list[str] | None = None, site_out: list[str] | None = None, scale: float | None = None,
    device: Device = None, trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Read a dictionary that another tool made, with a verdict on it; or, with --to, write ours for another tool.

    Reads SAELens, sparsify, dictionary_learning, Gemma Scope, Llama Scope, OpenAI, circuit-tracer and bare weights,
    found by looking at the files unless --from names one; writes saelens, sparsify and circuit-tracer. ACTIVATIONS are
    recordings of what it reads, WRITES of what it predicts; with MODEL alone some are recorded. SITE is where it reads,
    and SITE-OUT where a transcoder writes, for files that do not say. Ends with code 1 if the verdict finds something
    wrong.
    """
    from physalis import load_model
    from physalis.cli import verdicts
    from physalis.cli.sources import opened
    from physalis.exchange import convert as convert_

    joined = opened(activations, writes) if activations else None
    trust = trusted(trust_model_code, model)
    subject = load_model(model, **given(device=device, trust_code=trust)) if model is not None else None
    options = given(format=from_, to=to, activations=joined, model=subject, scale=scale, sites=site, sites_out=site_out)
    made = convert_(list(sources), out, **options, **given(device=device))
    verdicts.show(made, json=json)
    if verdicts.failed(made):
        sys.exit(1)


@app.command
def steer(
    dictionary: Path, text: str | None = None, /, *, message: str | None = None,
    edit: Annotated[list[str], Parameter(help="KIND:FEATURE:AMOUNT: add, clamp, scale, project or cap.")],
    model: str | None = None, tokens: int | None = None, temperature: float | None = None, top_p: float | None = None,
    seed: int | None = None, device: Device = None, trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Go on with TEXT, or answer MESSAGE, with features edited and without, side by side. Both are sampled with the
    same noise, so that they differ only by the edits."""
    from physalis import artifact, load_model
    from physalis import steering as steering_
    from physalis.cli import steering as shown
    from physalis.models import announced
    from physalis.models.generation import Sampler
    from physalis.origin import Origin

    if (text is None) == (message is None):
        raise BadInput("Give a TEXT to go on with or a --message to answer, one of them.")
    edits = [steering_.parse_edit(each) for each in edit]
    options = given(device=device, trust_code=trusted(trust_model_code, model))
    named = model or announced(Origin.of(artifact.read(dictionary, "dictionary")).model, "The dictionary")
    subject = load_model(named, **options)
    bound = steering_.Steering.open(dictionary, subject, edits)
    asked = [{"role": "user", "content": message or ""}]
    if text is not None:
        prompt = steering_.completion(subject, text, bos=bound.bos)
    else:
        prompt = steering_.chat(subject, asked, bos=bound.bos)
    sampler = Sampler(**given(temperature=temperature, top_p=top_p, seed=seed))
    steps = steering_.steer(subject, prompt, bound, sampler=sampler, **given(n=tokens))
    shown.show_texts(steps, prompt=text or "", json=json)


@app.command
def doses(
    dictionary: Path, activations: Path, feature: int, /, *, reads: list[Path] | None = None,
    writes: list[Path] | None = None, model: str | None = None, strength: list[float] | None = None,
    cost: float | None = None, tokens: Amount = None, seed: int | None = None, device: Device = None,
    trust_model_code: Trust = None,
    json: Json = False,
) -> None:  # fmt: skip
    """What adding a feature does at each strength: how much likelier its target, at what cost in perplexity, beside a
    random direction, the difference of means and a prompt. COST is what a suggested strength may add, as a share.
    READS are further activations that a crosscoder reads, WRITES those that a transcoder predicts, unless they were
    recorded together."""
    from physalis.cli import printing
    from physalis.cli import steering as shown
    from physalis.steering import dose_response

    subject = printing.model_of(activations, model, device, trust_model_code)
    options = given(writes=writes, strengths=strength, cost=cost, tokens=tokens, seed=seed)
    recordings = [activations, *(reads or [])]
    shown.show_doses(dose_response(dictionary, recordings, subject, feature, **options), json=json)


@app.command
def serve(
    atlas: Path, /, *, dictionary: Path | None = None, activations: Path | None = None, author: str | None = None,
    host: str | None = None, port: int | None = None, token: str | None = None, origin: str | None = None,
    proxy: Proxy = None, tree: Path | None = None, article: list[Path] | None = None,
) -> None:  # fmt: skip
    """Serve an atlas to browsers on this machine; with its DICTIONARY, to try texts and to steer features too, and with
    the ACTIVATIONS, to measure what that does and costs. AUTHOR is in whose name visitors write labels and notes;
    without it they only read; comments are written by who was invited. Other machines need the TOKEN; ORIGIN is where a
    proxy shows the pages. With the TREE that `compare tree` grew, features show their family. ARTICLE is a
    Markdown file with live figures, to read and to comment on; may be given many times."""
    from physalis.web.serving import serve as serve_

    beside = given(dictionary=dictionary, activations=activations, author=author, tree=tree, articles=article)
    serve_(atlas, **beside, **given(host=host, port=port, token=token, origin=origin, proxies=proxy))


@app.command
def watch(
    run: Path, /, *, activations: Path | None = None, features: int | None = None, examples: int | None = None,
    tokens: Amount = None, host: str | None = None, port: int | None = None, token: str | None = None,
    origin: str | None = None, proxy: Proxy = None,
) -> None:  # fmt: skip
    """Show a run of `train` in a browser while it goes on: its curves, the time left, and the first of its FEATURES.
    RUN is the folder named with --out, also before it is there. The ACTIVATIONS are looked for beside it unless given.
    Other machines need the TOKEN."""
    from physalis.web.serving import watch as watch_

    options = given(features=features, examples=examples, tokens=tokens, host=host, port=port, token=token)
    watch_(run, **given(activations=activations, origin=origin, proxies=proxy), **options)


@app.command
def plan(
    model: str, /, *, site: list[str], writes: list[str] | None = None, tokens: Amount = None,
    dictionary: str | None = None, features: Features = None, k: int | None = None, skip: bool | None = None,
    epochs: int | None = None, batch_size: Amount = None, device: Device = None,
    trust_model_code: Trust = None, json: Json = False,
) -> None:  # fmt: skip
    """Say what recording and training would take in memory, disk and time, before anything starts. With several --site
    they are read side by side; with --writes those sites are predicted from them."""
    from physalis import load_model
    from physalis import plan as plan_
    from physalis.cli import printing
    from physalis.cli.amounts import count_features
    from physalis.site import Site

    subject = load_model(model, **given(device=device, trust_code=trust_model_code))
    reads, targets = (list(map(Site.parse, each or [])) for each in (site, writes))
    n = None if features is None else count_features(features, sum(map(subject.width, reads)))
    options = given(tokens=tokens, architecture=dictionary, n_features=n, k=k, skip=skip, epochs=epochs)
    printing.show(plan_(subject, reads, writes=targets, **options, **given(batch_size=batch_size)), json=json)


def main() -> None:
    """The entry point: a person's mistakes end in one sentence and exit code 2."""
    arguments = sys.argv[1:]
    if "--no-cache" in arguments:  # of every command that loads a model, and of the processes that it starts
        arguments.remove("--no-cache")
        os.environ["PHYSALIS_NO_CACHE"] = "1"
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (BadInput, cyclopts.CycloptsError) as error:
        print(f"physalis: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("physalis: stopped. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
