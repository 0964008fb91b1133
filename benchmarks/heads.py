"""Heads of a real model: found by where they look and what they copy, confirmed by what is lost without them.

    python benchmarks/heads.py
    python benchmarks/heads.py --set transcoders --json   # and by features, with a set that `physalis transcode` made

One object is printed: ``looks`` by score (uniform, median, shuffled, heads with value, low, high, copied, eigenvalues),
``copying``, ``without`` by score (loss, added, added_elsewhere, added_by_others, over_others), ``composition`` (score,
without, without_others) and, with a set, ``features`` of the best induction head (moved and compared, each with the
largest of chance) and ``prompts``: why it looks at what followed (prompt, head, weight, score, over, and the shares of
``over`` by where on the key's side, and on the query's, they come from, and by what).

``over`` is the score of the place that followed less the mean of the others that the head could have looked at.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from physalis.circuits import (
    CopyingScores,
    Graph,
    Head,
    HeadScores,
    TranscoderSet,
    compared_features,
    composition,
    confirm_heads,
    copying_scores,
    head_scores,
    moved_features,
    qk_attribution,
    repeated_tokens,
    trace,
)
from physalis.circuits.attention.head_features import HeadFeatures
from physalis.circuits.attention.head_scores import induction
from physalis.models import Model, load_model, shuffled
from physalis.site import Site

PROMPTS = (
    "The wizard Zorblax met the king. Later that evening, the wizard Z",
    "Anna Belkova wrote to Peter Ivanov, and Peter Ivanov wrote back to Anna Bel",
)
OTHERS = 6
"""Places beside the one that followed, in each prompt, whose scores are taken apart."""


def of_looks(found: HeadScores, chance: HeadScores, copying: CopyingScores, top: int) -> dict[str, Any]:
    """The best heads by each score, and what they copy."""
    looks = found.record(top)
    for name, score in looks.items():
        score["shuffled"] = chance.top(name, 1)[0].score["value"]
        for row, (head, _) in zip(score["heads"], found.top(name, top), strict=True):
            row |= {"copied": float(copying.copied[head]), "eigenvalues": float(copying.eigenvalues[head])}
    return looks


def of_features(found: HeadFeatures) -> dict[str, Any]:
    """As JSON."""
    return {
        "moved": [{"feature": str(at), "length": length} for at, length in found.moved],
        "moved_by_chance": found.moved_by_chance,
        "pairs": [{"source": str(a), "target": str(b), "value": value} for a, b, value in found.pairs],
        "by_chance": found.by_chance, "compared": found.compared,
    }  # fmt: skip


def places(graph: Graph) -> tuple[list[int], list[str]]:
    """Where each source of a graph stands and what it is; -1 for those of no one place."""
    n = graph.n_tokens
    of_errors = len(graph.layers) * n
    at = [*graph.position.tolist(), *(i % n for i in range(of_errors)), *range(n), -1, -1]
    kind = ["features"] * graph.n_features + ["errors"] * of_errors + ["tokens"] * n + ["other features", "biases"]
    return at, kind


def of_prompt(model: Model, transcoders: TranscoderSet, what: str | list[int], heads: list[Head]) -> dict[str, Any]:
    """Why that one of the heads that looks most at what followed does so, at the last token."""
    graph = trace(model, transcoders, what, features=300)
    ids = graph.tokens[None]
    query, n = graph.n_tokens - 1, graph.n_tokens
    keys = induction(ids)[0, query].nonzero()[:, 0].tolist()
    sites = {head.layer: Site("attn_pattern", head.layer) for head in heads}
    got = model.run(ids, read=list(sites.values()))
    weight = {(head, key): float(got[sites[head.layer]][0, head.head, query, key]) for head in heads for key in keys}
    head, key = max(weight, key=lambda each: weight[each])
    order = torch.randperm(n - 1, generator=torch.Generator().manual_seed(0)).tolist()
    others = [i for i in order if i > 0 and i not in keys][:OTHERS]
    each = {
        i: qk_attribution(graph, model, transcoders, layer=head.layer, head=head.head, query=query, key=i)
        for i in (key, *others)
    }
    at, kind = places(graph)
    over = each[key].score - sum(each[i].score for i in others) / len(others)

    def by(side: str, chosen: Any) -> float:
        """What sources at places chosen by how far they are from the key (or the query) have of it."""

        def share(i: int) -> float:
            from_here = i if side == "key" else query
            amounts = each[i].by_key if side == "key" else each[i].by_query
            return sum(float(a) for a, p, k in zip(amounts, at, kind, strict=True) if chosen(p - from_here, p, k))

        return (share(key) - sum(map(share, others)) / len(others)) / over

    return {
        "prompt": what if isinstance(what, str) else "tokens of chance", "tokens": n, "head": str(head),
        "weight": weight[head, key], "score": each[key].score, "over": over,
        "key_side": {
            "the place before": by("key", lambda far, p, _: p >= 0 and far == -1),
            "the place itself": by("key", lambda far, p, _: p >= 0 and far == 0),
            "earlier places": by("key", lambda far, p, _: p >= 0 and far < -1),
            "of no one place": by("key", lambda far, p, _: p < 0),
        },
        "query_side": {
            "the place itself": by("query", lambda far, p, _: p >= 0 and far == 0),
            "earlier places": by("query", lambda far, p, _: p >= 0 and far < 0),
            "of no one place": by("query", lambda far, p, _: p < 0),
        },
        "key_side_is": {name: by("key", lambda far, p, k, name=name: k == name) for name in dict.fromkeys(kind)},
        "top": [pair._asdict() for pair in each[key].top(8)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--set", type=Path, help="a set of transcoders of the model")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--top", type=int, default=5, help="heads by each score, taken out together")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print only the object on standard output")
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        model = load_model(args.model, dtype=torch.float32)
        tokens = repeated_tokens(model, sequences=args.sequences)
        scores, chance = head_scores(model, tokens), head_scores(shuffled(model), tokens)
        copying = copying_scores(model)
        best = {name: [each.head for each in scores.top(name, args.top)] for name in ("previous_token", "induction")}
        readers = best["induction"]
        writers = [head for head in best["previous_token"] if head.layer < max(reader.layer for reader in readers)]
        found: dict[str, Any] = {
            "model": model.name, "sequences": len(tokens), "threads": torch.get_num_threads(),
            "looks": of_looks(scores, chance, copying, args.top), "copying": copying.record(args.top),
            "without": {
                name: confirm_heads(model, heads, tokens, draws=args.draws).record() for name, heads in best.items()
            },
            "composition": composition(model, writers, readers, tokens, draws=args.draws).record(),
        }  # fmt: skip
        if args.set is not None:
            transcoders = TranscoderSet.open(args.set)
            found["features"] = {
                "head": str(readers[0]), "moved": of_features(moved_features(model, transcoders, readers[0], n=10)),
                "compared": of_features(compared_features(model, transcoders, readers[0], n=10)),
            }  # fmt: skip
            short = repeated_tokens(model, sequences=1, length=9)[0, :14].tolist()
            found["prompts"] = [of_prompt(model, transcoders, what, readers) for what in (short, *PROMPTS)]
    if args.json:
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    console = Console()
    for name, score in found["looks"].items():
        chance = (
            f"{score['uniform']:.3f} everywhere alike, {score['median']:.3f} the median head, {score['shuffled']:.3f} "
            "the best of shuffled weights"
        )
        table = Table("head", "score", "copies", "eigenvalues", title=f"{name}: {chance}")
        for row in score["heads"]:
            table.add_row(row["head"], interval(row), f"{row['copied']:.2f}", f"{row['eigenvalues']:+.2f}")
        console.print(table)
    for name, row in found["without"].items():
        others = ", ".join(f"{x:.2f}" for x in row["added_by_others"])
        console.print(
            f"without {', '.join(row['heads'])} ({name}): loss {interval(row['loss'])} where tokens come again, "
            f"added {interval(row['added'])}, elsewhere {interval(row['added_elsewhere'])}; by others {others}"
        )
    row = found["composition"]
    others = ", ".join(f"{x:.2f}" for x in row["without_others"])
    console.print(
        f"induction of {', '.join(row['readers'])}: {interval(row['score'])}, without {', '.join(row['writers'])} "
        f"{interval(row['without'])}, without others {others}"
    )
    for key in ("features", "prompts"):
        if key in found:
            console.print_json(data=found[key])


def interval(value: dict[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


if __name__ == "__main__":
    main()
