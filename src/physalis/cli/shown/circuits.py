"""What the command line shows of circuits: a set of transcoders layer by layer, and a graph with its verdict first."""

import json as json_
from collections.abc import Sequence

from rich.table import Table

from physalis.circuits import (
    Difference,
    Graph,
    Replacement,
    Targets,
    Tokens,
    TranscoderSet,
    Verdict,
)
from physalis.cli.shown.console import make_console
from physalis.corpora.characters import plain
from physalis.display.counts import counted
from physalis.errors import BadInput
from physalis.metrics import Interval
from physalis.models import Model

LISTED = 10
"""Nodes that are shown of a graph."""

LOOSE = 1e-3
"""Share of what enters a node that may be unaccounted for before that is said."""


def targets(model: Model, tokens: Sequence[str], rather_than: str | None) -> Targets | None:
    """What was asked to be traced; None where nothing was. Raises BadInput for a text that is not one token."""
    ids = [_token(model, text) for text in tokens]
    if rather_than is not None:
        return Difference(ids[0], _token(model, rather_than))
    return Tokens(tuple(ids)) if ids else None


def _token(model: Model, text: str) -> int:
    ids = model.encode([text])[0]
    if len(ids) != 1:
        raise BadInput(
            f"{text!r} is {counted(len(ids), 'token')} for {model.name}; a logit is of one. Give one token, with the "
            "space before it where it stands after another word: --token ' Paris'."
        )
    return ids[0]


def show_set(made: TranscoderSet, found: Replacement | None, *, json: bool) -> None:
    """Print a set and what the model loses to it."""
    if json:
        measured = None if found is None else found.record()
        print(json_.dumps({"folder": str(made.folder), "layers": list(made.layers), "replacement": measured}, indent=1))
        return
    console = make_console()
    console.print(f"{counted(len(made), 'transcoder')} of {made.manifest.config['model']} in {made.folder}")
    if found is None:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    titles = ("layer", "FVU", "linear map", "random", "features a token", "loss added alone, nats", "dead features")
    for title in titles:
        table.add_column(title, justify="right")
    for each in found.layers:
        table.add_row(
            str(each.layer), _in_brackets(each.fvu), f"{each.fvu_linear['value']:.3f}",
            f"{each.fvu_random['value']:.3f}", f"{each.l0['value']:.1f}", _in_brackets(each.loss_added),
            f"{each.dead:.1%}",
        )  # fmt: skip
    console.print(table)
    console.print(f"\nLoss added where all layers are replaced at once, to the model's {found.loss['value']:.3f} nats:")
    for name, value in found.together.items():
        console.print(f"  {name}  {_in_brackets(value)}")
    console.print(f"On {found.tokens:,} held-out tokens; dead features counted on {found.rows:,} training rows too.")


def _in_brackets(value: Interval) -> str:
    low, high = value["low"], value["high"]
    return f"{value['value']:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def show_graph(graph: Graph, kept: Graph, verdict: Verdict, *, json: bool) -> None:
    """Print a graph as it was traced and what pruning kept of it, its verdict first."""
    scores = {"traced": graph.scores()._asdict(), "kept": kept.scores()._asdict()}
    through = kept.influence() * kept.kept
    first = through.topk(min(LISTED, int((through > 0).sum()))).indices.tolist()
    if json:
        told = {
            "prompt": graph.prompt, "ends": [end._asdict() for end in graph.ends], "verdict": verdict.record(),
            "features": graph.n_features, "active": graph.n_active, "left_out": graph.left_out_share,
            "unaccounted": graph.unaccounted, "scores": scores, "kept": int(kept.kept[: kept.n_features].sum()),
            "edges": int((kept.edges != 0).sum()),
            "nodes": [{"node": kept.node(i), "influence": float(through[i])} for i in first],
        }  # fmt: skip
        print(json_.dumps(told, indent=1))
        return
    console = make_console()
    v = verdict
    console.print(
        f"p({plain(graph.ends[0].name)!r}) = {v.probability:.3f}; with the {v.kept:,} features of the graph alone "
        f"{v.kept_only:.3f}, the other {v.dropped:,} at random shares {v.stochastic:.3f}, at the worst that an "
        f"adversary found {v.adversarial:.3f}, with no feature at all {v.none_kept:.3f}."
    )
    if not v.survives:
        console.print("So it is not established that the model answers by these nodes: what was left out can undo it.")
    if v.beats_the_model:
        console.print("The graph alone does better than the model: it leaves out what speaks against the answer.")
    console.print(
        f"{v.sources} features silenced one by one: next-layer effects as the edges say r = {v.edge_r:.2f}, later ones "
        f"{v.path_r:.2f}, on the ends {v.end_r:.2f}."
    )
    console.print(
        f"Replacement {scores['traced']['replacement']:.2f}, completeness {scores['traced']['completeness']:.2f} with "
        f"{graph.n_features:,} of {graph.n_active:,} features; after pruning {scores['kept']['replacement']:.2f} and "
        f"{scores['kept']['completeness']:.2f} with {v.kept:,}."
    )
    if graph.unaccounted > LOOSE:
        console.print(f"Nodes are up to {graph.unaccounted:.1%} off what enters them: float32 adds up better.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("influence", justify="right")
    table.add_column("node")
    for i in first:
        table.add_row(f"{float(through[i]):.3f}", plain(kept.node(i)))
    console.print(table)
