"""What the command line shows of circuits: a set of transcoders layer by layer, and a graph with its verdict first."""

import json as json_
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from physalis.circuits import (
    Difference,
    Graph,
    Replacement,
    Targets,
    Tokens,
    TranscoderSet,
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
    several = "all of these layers" if len(made) > 1 else "the layer"
    console.print(f"\nLoss added where {several} are replaced at once, to the model's {found.loss['value']:.3f} nats:")
    for name, value in found.together.items():
        console.print(f"  {name}  {_in_brackets(value)}")
    console.print(f"On {found.tokens:,} held-out tokens; dead features counted on {found.rows:,} training rows too.")


def _in_brackets(value: Interval) -> str:
    low, high = value["low"], value["high"]
    return f"{value['value']:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def traced(graph: Graph) -> dict[str, Any]:
    """What is to be known of a graph before it is pruned."""
    return {
        "features": graph.n_features, "active": graph.n_active, "left_out": graph.left_out_share,
        "unaccounted": graph.unaccounted, **graph.scores()._asdict(),
    }  # fmt: skip


def show_graph(kept: Graph, facts: Mapping[str, Any], *, json: bool) -> None:
    """Print what pruning kept of a graph, with what was found out about it, the verdict first."""
    verdict, whole, scores = facts["verdict"], facts["traced"], kept.scores()
    through = kept.influence() * kept.kept
    first = through.topk(min(LISTED, int((through > 0).sum()))).indices.tolist()
    if json:
        told = {
            "prompt": kept.prompt, "ends": [end._asdict() for end in kept.ends], "verdict": verdict, "traced": whole,
            "kept": {"edges": int((kept.edges != 0).sum()), **scores._asdict()},
            "nodes": [{"node": kept.node(i), "influence": float(through[i])} for i in first],
        }  # fmt: skip
        print(json_.dumps(told, indent=1, allow_nan=False))
        return
    console, v, end = make_console(), verdict, kept.ends[0]
    of = f"p({plain(end.name)})" if end.token is not None else f"{plain(end.name)}, as a share of what it is"
    console.print(
        f"{of} = {_share(v['answer'])}; with the {v['kept']:,} features of the graph alone {_share(v['kept_only'])}, "
        f"the other {v['dropped']:,} at random shares {_share(v['stochastic'])}, at the worst that an adversary found "
        f"{_share(v['adversarial'])}, with no feature at all {_share(v['none_kept'])}."
    )
    if v["survives"]:
        console.print("What was left out cannot undo it: half of what features do is left at the worst.")
    elif v["none_kept"] > 0.5 * v["answer"]:
        console.print("Errors and biases say nearly as much without any feature: the graph has nothing to prove here.")
    else:
        console.print("So it is not established that the model answers by these nodes: what was left out can undo it.")
    if v["beats_the_model"]:
        console.print("The graph alone does better than the model: it leaves out what speaks against the answer.")
    console.print(
        f"{v['sources']} features silenced one by one; correlation with what the edges say: in the next layer "
        f"{_r(v['edge_r'])}, in later ones {_r(v['path_r'])}, on the ends {_r(v['end_r'])}."
    )
    console.print(
        f"Replacement {whole['replacement']:.2f}, completeness {whole['completeness']:.2f} with {whole['features']:,} "
        f"of {whole['active']:,} features ({whole['left_out']:.1%} of what enters nodes comes from the others); after "
        f"pruning {scores.replacement:.2f} and {scores.completeness:.2f} with {v['kept']:,}."
    )
    if whole["unaccounted"] > LOOSE:
        console.print(f"Nodes are up to {whole['unaccounted']:.1%} off what enters them: float32 adds up better.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("influence", justify="right")
    table.add_column("node")
    for i in first:
        table.add_row(f"{float(through[i]):.3f}", plain(kept.node(i)))
    console.print(table)


def _share(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def _r(value: float | None) -> str:
    return "too few to say" if value is None else f"{value:.2f}"
