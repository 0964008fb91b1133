"""The commands `physalis transcode` and `physalis trace`: a transcoder for every layer, and the graph of a prompt."""

import sys
from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import MOST, AmountFrom0, Count, Features, Range, as_wholes
from physalis.cli.arguments.asked import AskedReading
from physalis.cli.arguments.defaults import defaults_of
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import (
    Architecture,
    BatchSize,
    Device,
    Epochs,
    Json,
    K,
    Loading,
    Model_,
    ModelAgain,
    Out,
    Rate,
    Share,
    Skip,
    given,
)
from physalis.cli.shown.hints import beside, named_after, say_next
from physalis.errors import BadInput


@verb(
    of="circuits.sets.transcoding.transcode", dictionary="circuits.sets.transcoding.transcode.architecture",
    k="dictionaries.architectures.topk.TopKConfig.k",
    judge="circuits.sets.replacement.measure_replacement.tokens",
    example="physalis transcode smollm2 --text stdlib --tokens 300k --out transcoders",
)  # fmt: skip
def transcode(
    model: Model_,
    /,
    *,
    text: Annotated[str, Parameter(help="What to read, as for `record`.", metavar="SOURCE")],
    out: Out,
    layer: Annotated[
        list[int] | None,
        Parameter(
            help="Layer to train a transcoder for; all unless given. Repeatable.", converter=as_wholes,
            validator=Range(0, MOST), metavar="N",
        ),
    ] = None,
    dictionary: Architecture = None,
    features: Features = None,
    k: K = None,
    skip: Skip = None,
    reading: AskedReading = AskedReading(),  # noqa: B008 (frozen)
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    judge: Annotated[
        AmountFrom0, Parameter(help="Held-out tokens to measure on what the model loses; 0 measures nothing.")
    ] = None,
    device: Device = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:  # fmt: skip
    """Train a transcoder for every layer in one pass over a text.

    None of the activations go to the disk. Then each layer's MLP is replaced by its transcoder, alone and all together,
    on text that was held out: what the model loses is the price of reading it by features. That is kept in
    OUT-replacement.
    """
    early.text(text, reading.field)
    early.dictionary_shape(dictionary, features, k)
    early.out(out, "transcoders")
    from dataclasses import replace

    from physalis.circuits import Replacement
    from physalis.circuits import transcode as transcode_
    from physalis.circuits.sets.transcoding import READING, TRAINING
    from physalis.cli.arguments.amounts import count_features
    from physalis.cli.shown import circuits
    from physalis.site import Site

    loaded = loading.load(model)
    width = loaded.width(Site("mlp_in", 0))
    read = replace(READING, **reading.options())
    trained = replace(TRAINING, **given(epochs=epochs, batch_size=batch_size, lr=lr, seed=reading.seed))
    options = given(layers=layer, architecture=dictionary, k=k, skip=skip, device=device)
    if features is not None:
        options["n_features"] = count_features(features, width)
    made = transcode_(loaded, text, out, reading=read, training=trained, **options)
    found = None
    if judge != 0 and read.held_out:
        tokens = judge or int(defaults_of("circuits.sets.replacement.measure_replacement")["tokens"].replace(",", ""))
        found = Replacement.kept(named_after(out, "replacement"), loaded, made, text, tokens=tokens)
    elif judge:
        print("Nothing is held out, so what the model loses is not measured.", file=sys.stderr)
    circuits.show_set(made, found, json=json)
    if not json and len(made) == loaded.n_layers:
        say_next("trace", out, "The capital of France is", "--out", beside(out, "graph"))


@verb(
    of="circuits.tracing.trace", nodes="circuits.pruning.prune.nodes", edges="circuits.pruning.prune.edges",
    example="physalis trace transcoders 'The capital of France is' --out graph",
)  # fmt: skip
def trace(
    basis: Annotated[
        str,
        Parameter(
            help="Folder that `transcode` wrote, or of a cross-layer transcoder; or a model, to trace its neurons."
        ),
    ],
    prompt: Annotated[str, Parameter(help="Text whose next token is to be traced.")],
    /,
    *,
    out: Out,
    token: Annotated[
        list[str] | None,
        Parameter(
            help="Text of the token whose logit to trace; the likeliest ones unless given. Repeatable.", metavar="TEXT"
        ),
    ] = None,
    rather_than: Annotated[
        str | None, Parameter(help="Trace what speaks for --token against this one.", metavar="TEXT")
    ] = None,
    features: Annotated[Count, Parameter(help="Nodes that are features, at most.")] = None,
    nodes: Annotated[Share, Parameter(help="Share of influence whose nodes are kept.")] = None,
    edges: Annotated[Share, Parameter(help="Share of influence whose edges are kept.")] = None,
    model: ModelAgain = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:
    """Trace which features and tokens made a prompt's next token.

    Edges are exact for the model as the prompt had it, with attention patterns and norms held. What is kept of the
    graph is tried on the model before it is shown: single features silenced, and what was left out turned down by an
    adversary. The model computes in float32 unless --dtype says something else: in 16 bit nothing adds up so well.
    """
    early.basis(basis)
    early.out(out, "graph")
    if rather_than is not None and len(token or ()) != 1:
        raise BadInput(f"--rather-than takes one --token that it is held against; received {len(token or ())}.")
    from dataclasses import replace

    from physalis import artifact
    from physalis.circuits import Graph, Neurons, prune, verify
    from physalis.circuits import trace as trace_
    from physalis.circuits.bases.basis import open_basis
    from physalis.cli.shown import circuits

    exact = loading if loading.dtype else replace(loading, dtype="float32")
    if early.is_artifact(basis):
        opened = open_basis(basis)
        named, inputs = opened.manifest.config["model"], {**opened.manifest.inputs, "transcoders": opened.manifest.hash}
        loaded = exact.load(model) if model is not None else exact.load_found(named, "The set of transcoders")
    else:
        opened, loaded = Neurons(), exact.load(basis)
        inputs = {"model": loaded.fingerprint}
    job = {
        "basis": inputs, "dtype": str(loaded.dtype), "prompt": prompt, "token": token,
        "rather_than": rather_than, "features": features, "nodes": nodes, "edges": edges,
    }  # fmt: skip
    with artifact.claim(out, "graph", job) as done:
        if done is None:
            ends = circuits.targets(loaded, token or (), rather_than)
            graph = trace_(loaded, opened, prompt, **given(targets=ends, features=features))
            kept = prune(graph, **given(nodes=nodes, edges=edges))
            facts = {"verdict": verify(kept, loaded, opened).record(), "traced": circuits.traced(graph)}
            done = kept.finish(out, inputs=inputs, facts=facts)
    circuits.show_graph(Graph.open(out), done.facts, json=json)
    if not json:
        say_next("serve", out)
