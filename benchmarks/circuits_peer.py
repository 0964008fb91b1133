"""The same attribution graphs by circuit-tracer and by physalis: are the edges the same, and who is faster on the CPU?

    python benchmarks/circuits_peer.py          # 10 minutes; once its environment and a set of transcoders, 10 more
    python benchmarks/circuits_peer.py --json   # only the object on standard output

Both trace SmolLM2-135M in float32 with the same transcoders (trained here, written for circuit-tracer by ``convert``),
the same token ids, the same ends (the likeliest ten tokens, which both find by themselves) and as many features. Each
is a process of its own with as many threads; they take turns, and the other waits. Times are those of the call alone,
after a small first one: models and transcoders are loaded. circuit-tracer's time depends much on its batch, so several
are tried first and the fastest is taken.

Edges are compared node by node (layer, position, feature), nothing normalised. circuit-tracer zeroes features and
errors of the first position. The set that physalis reads has a rule that leaves its features out too; what the MLPs
write there is then an error in physalis and nothing in circuit-tracer, so these columns are not compared. Nor is the
error of a layer and position where a feature fires in one tool alone, a rounding above its threshold (``active_in_one``
counts these): it holds what that feature writes.

Printed is ``{"peer": {seconds_ratio, cpu_ratio, pairs, ours_seconds, theirs_seconds, max_edge_difference,
relative_edge_difference, nodes, edges, peak_mb_ours, peak_mb_theirs, notes, ...}}``. Seconds are medians over the
repetitions, a prompt; ratios are sums over the prompts, divided once; ``pairs`` holds the lowest and highest ratio of
two neighbours. The relative difference is that to the largest edge of its row. Memory is the peak since loading.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from implementations.tracing import Job
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor
from train_step import CACHE, PROBE, Process

from physalis.activations import Hygiene
from physalis.circuits import TranscoderSet, transcode
from physalis.errors import BadInput
from physalis.exchange import convert
from physalis.models import Model, load_model
from physalis.models.sources.loading import locate
from physalis.recording.options import Reading

PACKAGES = ("circuit-tracer==0.5.0", "torch==2.13.0")
PROMPTS = (
    "When Mary and John went to the store after school, John gave a drink to",
    "Fact: the capital of the state containing the large city of Dallas is the city of",
)
TRIED = 256
"""Nodes of the graphs by which circuit-tracer's batch is chosen."""
RULE = Hygiene(max_norm=1e30, skip_first=True)
"""circuit-tracer's: every position but the first."""
EDGES, FASTER = 1e-3, 3.0


class Tracer(Process):
    """One of the two tools, waiting to be asked."""

    def __init__(self, name: str, python: Path, job: Job, log: Path) -> None:
        asked: Any = job  # a process passes on whatever it is asked to do
        super().__init__(name, python, asked, log)

    def trace(self, prompt: int, nodes: int, **batch: int) -> dict[str, float]:
        return self._ask(trace=prompt, nodes=nodes, **batch)

    def keep(self, path: Path) -> tuple[dict[str, Tensor], float]:
        """The last graph, and the peak of memory in MB."""
        peak = self._ask(keep=str(path))["peak_mb"]
        return load_file(path), peak


def peer_python(folder: Path) -> Path:
    """The interpreter of circuit-tracer's environment, which is made first if it is not there."""
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", PROBE, *PACKAGES], stderr=subprocess.DEVNULL).returncode == 0:
        return python
    print(f"Installing {', '.join(PACKAGES)} into {folder}: minutes, once.", file=sys.stderr)
    if not python.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, stdout=sys.stderr)
    return python


def lay_out(folder: Path, model: Model, transcoders: TranscoderSet) -> None:
    """What the two read: "set" and "theirs", the same weights, and "model", a folder that transformers 4 can read."""
    given = {layer: transcoders[layer] for layer in transcoders}
    ours = TranscoderSet.write(folder / "set", model, given, rule=RULE)
    convert([ours.folder / f"L{layer}" for layer in ours], folder / "theirs", to="circuit-tracer")
    source, out = Path(locate("smollm2").source), folder / "model"
    out.mkdir()
    for each in source.iterdir():
        if each.name not in ("config.json", "tokenizer_config.json"):
            (out / each.name).symlink_to(each)
    config, tokenizer = (json.loads((source / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]  # where transformers 4 looks for it
    (out / "config.json").write_text(json.dumps(config))
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"}))


def fastest_batch(theirs: Tracer, batches: list[int]) -> tuple[int, dict[int, float]]:
    tried = {batch: theirs.trace(0, TRIED, batch=batch)["seconds"] for batch in batches}
    return min(tried, key=lambda batch: tried[batch]), tried


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor], layers: int, context: int) -> dict[str, Any]:
    """How far the edges are apart between the nodes that both graphs have."""
    rows, columns = [], []
    for graph in (ours, theirs):
        nodes = {tuple(node): i for i, node in enumerate(graph["nodes"].tolist())}
        ends = {token: len(nodes) + i for i, token in enumerate(graph["ends"].tolist())}
        rows.append(nodes | ends)
        columns.append(nodes | {(i,): len(nodes) + i for i in range((layers + 1) * context)})
    fires = [{tuple(node) for node in graph["active"].tolist()} for graph in (ours, theirs)]
    alone = fires[0] ^ fires[1]
    errors = {(layer * context,) for layer in range(layers)} | {(i * context + at,) for i, at, _ in alone}
    at = [key for key in rows[0] if key in rows[1]]
    of = [key for key in columns[0] if key in columns[1] and key not in errors]
    one, other = (
        graph["edges"][[row[key] for key in at]][:, [column[key] for key in of]]
        for graph, row, column in zip((ours, theirs), rows, columns, strict=True)
    )
    gap = (one - other).abs()
    p = [dict(zip(graph["ends"].tolist(), graph["probabilities"].tolist(), strict=True)) for graph in (ours, theirs)]
    return {
        "nodes": sum(isinstance(key, tuple) for key in at), "nodes_ours": len(ours["nodes"]),
        "nodes_theirs": len(theirs["nodes"]), "ends": sum(isinstance(key, int) for key in at),
        "active": len(fires[0]), "active_in_one": len(alone),
        "edges": int(((one != 0) | (other != 0)).sum()), "max_edge": float(other.abs().max()),
        "max_edge_difference": float(gap.max()),
        "relative_edge_difference": float((gap.amax(1) / other.abs().amax(1).clamp_min(1e-10)).max()),
        "max_probability_difference": max(abs(p[0][token] - p[1][token]) for token in p[0] if token in p[1]),
    }  # fmt: skip


def compare(ours: Tracer, theirs: Tracer, job: Job, args: argparse.Namespace, layers: int) -> dict[str, Any]:
    """Both, prompt by prompt, in turns."""
    batch, tried = fastest_batch(theirs, args.batches)
    prompts, peaks = [], {"ours": 0.0, "theirs": 0.0}
    for i, ids in enumerate(job.prompts):
        taken: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for _ in range(args.repetitions):
            taken["ours"].append(ours.trace(i, args.features))
            taken["theirs"].append(theirs.trace(i, args.features, batch=batch))
        graphs = {}
        for name, tool in (("ours", ours), ("theirs", theirs)):
            graphs[name], peak = tool.keep(Path(job.folder, f"{name}-{i}.safetensors"))
            peaks[name] = max(peaks[name], peak)
        row = {"prompt": PROMPTS[i], "tokens": len(ids)}
        for what in ("seconds", "cpu_seconds"):
            row |= {f"{name}_{what}": statistics.median(each[what] for each in taken[name]) for name in taken}
        pairs = zip(taken["theirs"], taken["ours"], strict=True)
        row["pairs"] = [their["seconds"] / our["seconds"] for their, our in pairs]
        prompts.append(row | differences(graphs["ours"], graphs["theirs"], layers, len(ids)))

    def total(name: str) -> float:
        return sum(row[name] for row in prompts)

    pairs = [ratio for row in prompts for ratio in row["pairs"]]
    return {
        "seconds_ratio": total("theirs_seconds") / total("ours_seconds"),
        "cpu_ratio": total("theirs_cpu_seconds") / total("ours_cpu_seconds"), "pairs": [min(pairs), max(pairs)],
        "ours_seconds": total("ours_seconds") / len(prompts), "theirs_seconds": total("theirs_seconds") / len(prompts),
        "max_edge_difference": max(row["max_edge_difference"] for row in prompts),
        "relative_edge_difference": max(row["relative_edge_difference"] for row in prompts),
        "nodes": total("nodes"), "edges": total("edges"), "peak_mb_ours": peaks["ours"],
        "peak_mb_theirs": peaks["theirs"], "threads": job.threads, "batch_theirs": batch,
        "seconds_by_batch_theirs": tried, "about_ours": ours.about, "about_theirs": theirs.about, "prompts": prompts,
        "notes": [
            f"circuit-tracer at the fastest of the batches that were tried ({batch}); its default is 512.",
            "Errors of the first position are not compared: circuit-tracer sets them to 0, physalis keeps them.",
            "Nor are those where a feature within rounding of its threshold fires in one tool alone.",
            "Influence, by which nodes are chosen, counts those errors in physalis and not in circuit-tracer, so a few "
            "nodes differ; those in both are compared.",
            "TransformerLens reads no rotary base from a folder and takes 10,000; it is set to the model's 100,000.",
        ],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="transcoders of SmolLM2 that fire above a threshold, as batchtopk's")
    parser.add_argument("--tokens", type=int, default=30_000, help="of stdlib to train on, where no set is given")
    parser.add_argument("--features", type=int, default=1_000, help="nodes of each graph that are features")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64], help="circuit-tracer's, to be tried")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peers", type=Path, default=CACHE / "circuits-peer", help="environment, made if not there")
    parser.add_argument("--json", action="store_true", help="print only the object on standard output")
    args = parser.parse_args()
    python = peer_python(args.peers.absolute())
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = Path(temporary)
        model = load_model("smollm2", dtype=torch.float32)
        made = args.set or CACHE / f"circuits-peer-set-{args.tokens}"
        if args.set is None:
            transcode(
                load_model("smollm2"), "stdlib", made, architecture="batchtopk", reading=Reading(tokens=args.tokens)
            )
        lay_out(folder, model, TranscoderSet.open(made))
        first = model.tokenizer.bos_token_id
        prompts = [[first, *map(int, ids)] for ids in model.encode(list(PROMPTS))]
        job = Job(folder=str(folder), prompts=prompts, threads=args.threads, batch=min(args.batches))
        layers = model.n_layers
        del model
        with contextlib.ExitStack() as stack:
            ours = Tracer("tracing", Path(sys.executable), job, folder / "ours.log")
            stack.callback(ours.close)
            theirs = Tracer("circuit_tracer", python, job, folder / "theirs.log")
            stack.callback(theirs.close)
            found = compare(ours, theirs, job, args, layers)
    show(found, Console(stderr=args.json))
    if args.json:
        print(json.dumps({"peer": found}, indent=1))


def show(found: dict[str, Any], console: Console) -> None:
    for row in found["prompts"]:
        console.print(
            f"{row['tokens']} tokens: {row['ours_seconds']:.2f} s and {row['theirs_seconds']:.2f} s; "
            f"{row['nodes']} of {row['nodes_ours']} and {row['nodes_theirs']} nodes are in both, "
            f"{row['edges']:,} edges are {row['max_edge_difference']:.1e} apart at most, "
            f"where the largest is {row['max_edge']:.3g}; {row['active']:,} fire, {row['active_in_one']} in one alone"
        )
    low, high = found["pairs"]
    console.print(f"peak {found['peak_mb_ours']:.0f} MB and {found['peak_mb_theirs']:.0f} MB")
    same = found["max_edge_difference"] <= EDGES
    console.print(f"{'met   ' if same else 'MISSED'} the same edges to {EDGES:g}: {found['max_edge_difference']:.1e}")
    console.print(
        f"{'met   ' if found['seconds_ratio'] >= FASTER else 'MISSED'} {FASTER:g} times as fast: "
        f"{found['seconds_ratio']:.2f} [{low:.2f}, {high:.2f}], of processor time {found['cpu_ratio']:.2f}"
    )


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(str(error))
