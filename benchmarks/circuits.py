"""Circuits of a real model: what its transcoders cost, and what graphs of ten prompts are worth; and of compiled ones.

    python benchmarks/circuits.py --set transcoders            # a set that `physalis transcode smollm2` made of stdlib
    python benchmarks/circuits.py --json > found.json          # makes one first, of 300,000 tokens; 40 min on 2 cores

One object is printed: ``layers`` (layer, fvu, fvu_linear, fvu_random, loss_added, dead), ``loss_added_all`` by what
stands in the MLPs' place, ``prompts`` (prompt, token, answer, nodes, active, seconds, verify_seconds, peak_mb,
replacement, completeness, unaccounted, edge_gap, edge_r, path_r, end_r, kept, dropped, kept_only, stochastic,
adversarial, none_kept; of the model's own neurons traced beside: neuron_kept, neuron_kept_only, neuron_stochastic,
neuron_end_r; what has to be kept against an adversary: kept_against, survives_against), ``compiled`` (program,
hidden, dictionary, nodes, replacement, completeness, unaccounted; with the true dictionary auroc, precision and recall
of its edges) and ``methods`` (program, hidden, method, auroc, precision, recall: means of seeds, with their range).
"""

import argparse
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from physalis.circuits import (
    Neurons,
    TranscoderSet,
    measure_replacement,
    prune,
    prune_adversarially,
    trace,
    transcode,
    verify,
)
from physalis.dictionaries import Dictionary, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.lab.rasp import CIRCUIT_METHODS, TASKS, hidden, judge_graph, oracle, run_circuit_suite
from physalis.lab.rasp.compiling import Compiled
from physalis.models import Model, load_model
from physalis.recording.options import Reading

PROMPTS = {
    "indirect object": "When Mary and John went to the store, John gave a drink to",
    "two hops": "Fact: the capital of the state containing Dallas is the city of",
    "fact": "The Eiffel Tower is in the city of",
    "agreement": "The keys that the man with the hat lost",
    "induction": "def zork(blip):\n    return blip\n\nprint(zork(",
    "bracket": "print(max([len(x) for x in words]",
    "arithmetic": "1 + 1 = 2\n2 + 2 = 4\n3 + 3 =",
    "import": "import os\nimport sys\n\ndef main(argv):\n    path = os.path.join(",
    "sequence": "Monday, Tuesday, Wednesday, Thursday,",
    "opposites": "hot is to cold as big is to",
}


HIDDEN = ("prompt", "rounds", "auroc_range", "precision_range", "recall_range")
"""Not in the tables."""


def of_layers(model: Model, transcoders: TranscoderSet, source: str, tokens: int) -> dict[str, Any]:
    """What the model loses, layer by layer and to all of them."""
    found = measure_replacement(model, transcoders, source, tokens=tokens)
    rows = [
        {
            "layer": each.layer, "fvu": each.fvu["value"], "fvu_linear": each.fvu_linear["value"],
            "fvu_random": each.fvu_random["value"], "loss_added": each.loss_added["value"], "dead": each.dead,
        }
        for each in found.layers
    ]  # fmt: skip
    return {"layers": rows, "loss": found.loss, "loss_added_all": found.together}


def of_prompt(model: Model, transcoders: TranscoderSet, what: str, prompt: str, features: int) -> dict[str, Any]:
    """One graph and its trial."""
    began = time.perf_counter()
    graph = trace(model, transcoders, prompt, features=features)
    traced = time.perf_counter()
    kept = prune(graph)
    verdict = verify(kept, model, transcoders)
    verified = time.perf_counter()
    tried = {k: v for k, v in verdict.record().items() if k not in ("sources", "answer")}
    return {
        "prompt": prompt, "what": what, "token": graph.ends[0].name, "answer": verdict.answer,
        "tokens": graph.n_tokens, "nodes": graph.n_features, "active": graph.n_active,
        "seconds": traced - began, "verify_seconds": verified - traced,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **graph.scores()._asdict(),
        "unaccounted": graph.unaccounted, "left_out": graph.left_out_share, **tried,
    }  # fmt: skip


def against_an_adversary(model: Model, transcoders: TranscoderSet, prompt: str, features: int) -> dict[str, Any]:
    """How many features have to be kept so that what is left cannot undo the answer."""
    graph = trace(model, transcoders, prompt, features=features)
    found = prune_adversarially(graph, model, transcoders)
    return {"kept_against": found.rounds[-1][0], "survives_against": found.survives, "rounds": list(found.rounds)}


def of_neurons(model: Model, prompt: str, features: int) -> dict[str, Any]:
    """The same prompt in the model's own neurons: what costs nothing, and is to be beaten."""
    began = time.perf_counter()
    graph = trace(model, Neurons(), prompt, features=features, memory=512 << 20)
    traced = time.perf_counter()
    verdict = verify(prune(graph), model, Neurons(), sources=16, samples=4)
    return {
        "neuron_seconds": traced - began, "neuron_kept": verdict.kept, "neuron_kept_only": verdict.kept_only,
        "neuron_stochastic": verdict.stochastic, "neuron_edge_r": verdict.edge_r, "neuron_end_r": verdict.end_r,
        "neuron_left_out": graph.left_out_share,
    }  # fmt: skip


def of_methods(positions: int = 6) -> list[dict[str, Any]]:
    """Ways of finding circuits on compiled programs, whose circuits are known."""
    rows = []
    for name, method in CIRCUIT_METHODS.items():
        lines = run_circuit_suite(method, positions=positions)
        for program, is_hidden in dict.fromkeys((line.program, line.hidden) for line in lines):
            own = [line for line in lines if (line.program, line.hidden) == (program, is_hidden)]
            row: dict[str, Any] = {"program": program, "hidden": is_hidden, "method": name}
            for what in ("auroc", "precision", "recall"):
                values = [getattr(line, what) for line in own]
                row |= {what: sum(values) / len(values), f"{what}_range": [min(values), max(values)]}
            rows.append(row)
    return rows


def random_as(given: Mapping[int, Dictionary]) -> dict[int, Dictionary]:
    """Dictionaries of the same sizes that know nothing."""
    made: dict[int, Dictionary] = {}
    for layer, dictionary in given.items():
        c = dictionary.config
        random = TopK(TopKConfig(d_in=c.d_in, d_out=c.d_out, n_features=c.n_features, k=min(4, c.n_features - 1)))
        made[layer] = random
        generator = torch.Generator().manual_seed(layer)
        for weight in (random.enc, random.dec):
            weight.data.copy_(torch.nn.functional.normalize(torch.randn(weight.shape, generator=generator), dim=1))
            weight.refresh()
    return made


def of_compiled(compiled: Compiled, name: str, inputs: list[tuple[str, ...]], is_hidden: bool) -> list[dict[str, Any]]:
    """A compiled program's graph with the dictionary that is true, and with one that knows nothing."""
    rows = []
    known = {layer: oracle(compiled, layer).dictionary() for layer in range(compiled.model.n_layers)}
    for which, given in (("oracle", known), ("random", random_as(known))):
        with tempfile.TemporaryDirectory() as folder:
            transcoders = TranscoderSet.write(Path(folder, "set"), compiled.model, given)
            graphs = [trace(compiled.model, transcoders, compiled.encode([each])[0].tolist()) for each in inputs]
        row: dict[str, Any] = {
            "program": name, "hidden": is_hidden, "dictionary": which, "nodes": graphs[0].n_features,
            **graphs[0].scores()._asdict(), "unaccounted": max(graph.unaccounted for graph in graphs),
        }  # fmt: skip
        if which == "oracle":
            lines = [judge_graph(graph, compiled) for graph in graphs]
            right, found, true = (sum(getattr(line, what) for line in lines) for what in ("right", "found", "true"))
            aurocs = [line.auroc for line in lines if line.auroc is not None]
            row |= {"edges": true, "precision": right / found, "recall": right / true, "auroc": min(aurocs)}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="a set of transcoders of SmolLM2, made of --source")
    parser.add_argument("--source", default="stdlib", help="text, as record takes it")
    parser.add_argument("--tokens", type=int, default=300_000, help="to train on, where no set is given")
    parser.add_argument("--judge", type=int, default=2_048, help="held-out tokens; 0 leaves the layers out")
    parser.add_argument("--features", type=int, default=2_000)
    parser.add_argument("--neurons", type=int, default=len(PROMPTS), help="prompts that are traced in neurons too")
    parser.add_argument(
        "--against", type=int, default=len(PROMPTS), help="prompts that are pruned against an adversary"
    )
    parser.add_argument("--json", action="store_true", help="print only the object on standard output")
    args = parser.parse_args()
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        model = load_model("smollm2", dtype=torch.float32)
        if args.set is None:
            began = time.perf_counter()
            transcode(load_model("smollm2"), args.source, Path(folder, "set"), reading=Reading(tokens=args.tokens))
            found["transcode_seconds"] = time.perf_counter() - began
        transcoders = TranscoderSet.open(args.set or Path(folder, "set"))
        trace(model, transcoders, "warm up", features=10)
        found["prompts"] = [of_prompt(model, transcoders, *each, args.features) for each in PROMPTS.items()]
        for row in found["prompts"][: args.neurons]:
            row |= of_neurons(model, row["prompt"], args.features)
        for row in found["prompts"][: args.against]:
            row |= against_an_adversary(model, transcoders, row["prompt"], 4 * args.features)
        if args.judge:
            found |= of_layers(load_model("smollm2"), transcoders, args.source, args.judge)
        found["compiled"] = []
        for task in (make() for make in TASKS):
            compiled, inputs = task.compiled(), task.inputs(8, seed=1)
            found["compiled"] += of_compiled(compiled, task.name, inputs, False)
            found["compiled"] += of_compiled(hidden(compiled), task.name, inputs, True)
        found["methods"] = of_methods()
    show(found, Console(stderr=args.json, width=None if sys.stdout.isatty() else 200))
    if args.json:
        print(json.dumps(found, indent=1))


def show(found: dict[str, Any], console: Console) -> None:
    """Tables of it."""
    for part in ("layers", "prompts", "compiled", "methods"):
        if rows := found.get(part):
            table = Table(*(name for name in rows[0] if name not in HIDDEN), box=None)
            for row in rows:
                table.add_row(*(_cell(row.get(name)) for name in rows[0] if name not in HIDDEN))
            console.print(table)
    for name, value in found.get("loss_added_all", {}).items():
        console.print(f"{name}: {value['value']:.3f} nats added")
    slow = [row["what"] for row in found["prompts"] if row["tokens"] <= 20 and row["seconds"] > 20]
    console.print(f"{'MISSED' if slow else 'met   '} a graph of 20 tokens in 20 s: {slow}")
    apart = [row["what"] for row in found["prompts"] if row["edge_gap"] > 5e-4]
    console.print(f"{'MISSED' if apart else 'met   '} edges are interventions to 5e-4 in the linear model: {apart}")


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(str(error))
