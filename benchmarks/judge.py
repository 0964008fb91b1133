"""What scores of explanations say, with all that stands beside them: the best single token, swapped explanations, an
oracle, the same for a model whose weights are shuffled and for a dictionary of random directions; noise over draws of
passages, and another text.

    python benchmarks/judge.py --other ../shared/data/text/wikitext2-valid.txt    # minutes
    python benchmarks/judge.py --json     # only the list of rows on standard output

1. SmolLM2-135M's L9.resid_post is recorded on Python's library, and so is that of a copy with shuffled weights.
2. A dictionary is trained on each, and one of random directions is made like the first.
3. Each is explained by rules and scored on the same number of features, drawn at random, on held-out text and on the
   other text. What is made is kept in --out and used again.

Rows are {corpus, task, metric, rule, low, high, difference, token, swapped, oracle, shuffled, shuffled_low,
shuffled_high, random, random_low, random_high, chance}: a difference of two draws below ``difference`` means nothing.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from physalis.activations import Activations
from physalis.dictionaries import TopKConfig
from physalis.evaluation import random_dictionary
from physalis.explanations import explain
from physalis.judging import Scores, score
from physalis.models import Model, cache_folder, load_model, shuffled
from physalis.recording import record
from physalis.site import Site
from physalis.training import train

SITE, FEATURES, K = Site("resid_post", 9), 1_024, 32
JUDGES = {"token": "best token", "swapped": "shuffled: rule", "oracle": "oracle"}


def recorded(model: Model, source: str, out: Path, tokens: int, held_out: float) -> Path:
    """The folder."""
    record(model, source, [SITE], [out], tokens=tokens, held_out=held_out)
    return out


def scored(
    dictionary: Path, acts: Path, model: Model, out: Path, options: argparse.Namespace, also: list[Path]
) -> Scores:
    """Explained and scored: twice as many features are explained as judged, since some fire too rarely."""
    n = min(FEATURES, 2 * options.sample)
    some = np.random.default_rng(0).choice(FEATURES, n, replace=False).tolist()
    explain(dictionary, acts, model, out / "rules", features=some)
    return score(out / "rules", dictionary, acts, model, out / "scores", also=also, sample=options.sample)


def rows_of(ours: Scores, shuffled_: Scores, random: Scores) -> list[dict[str, Any]]:
    """A row a corpus, task and metric."""
    first, found = ours[0].corpus, []
    for each in ours:
        if each.judge != "rule":
            continue
        row: dict[str, Any] = {"corpus": each.corpus, "task": each.task, "metric": each.metric}
        row |= {"rule": each.estimate.value, "low": each.estimate.low, "high": each.estimate.high}
        row |= {"difference": each.noise.smallest_difference, "chance": each.chance, "n_features": each.n_features}
        for name, judge in JUDGES.items():
            row[name] = ours.get(each.task, judge, each.metric, each.corpus).estimate.value
        for name, scores in (("shuffled", shuffled_), ("random", random)):
            corpus = scores[0].corpus if each.corpus == first else each.corpus
            beside = scores.get(each.task, "rule", each.metric, corpus).estimate if _has(scores, corpus) else None
            row |= {name: beside and beside.value, f"{name}_low": beside and beside.low}
            row[f"{name}_high"] = beside and beside.high
        found.append(row)
    return found


def _has(scores: Scores, corpus: str) -> bool:
    return any(each.corpus == corpus for each in scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", help="text of another kind")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--sample", type=int, default=100, help="features that are judged")
    parser.add_argument(
        "--out", type=Path, default=cache_folder() / "benchmarks" / "judge", help="what is there is used"
    )
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        model, out, config = load_model("smollm2"), args.out, TopKConfig(d_in=576, d_out=576, n_features=FEATURES, k=K)
        out.mkdir(parents=True, exist_ok=True)
        acts = recorded(model, "stdlib", out / "activations", args.tokens, 0.2)
        also = [recorded(model, args.other, out / "other", args.tokens // 3, 0)] if args.other else []
        train(Activations.open(acts), [config], [out / "dictionary"], epochs=4)
        random_dictionary(out / "dictionary", acts, out / "random")
        ours = scored(out / "dictionary", acts, model, out / "of-dictionary", args, also)
        random = scored(out / "random", acts, model, out / "of-random", args, also)
        control = shuffled(model)
        control_acts = recorded(control, "stdlib", out / "shuffled-activations", args.tokens, 0.2)
        train(Activations.open(control_acts), [config], [out / "shuffled-dictionary"], epochs=4)
        beside = scored(out / "shuffled-dictionary", control_acts, control, out / "of-shuffled", args, [])
        rows = rows_of(ours, beside, random)
        for over in ours.over_corpora():
            if over.judge == "rule":
                print(f"over corpora: {over.task} {over.metric} {over.values} spread {over.spread:.3f}")
    show(Console(stderr=args.json, width=None if sys.stdout.isatty() else 160), rows)
    if args.json:
        print(json.dumps(rows, indent=1))


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    """As docs/judging.md has it."""
    names = ("corpus", "task", "metric", "rule", "difference", *JUDGES, "shuffled", "random", "chance")
    table = Table(box=None, header_style="dim")
    for name in names:
        table.add_column(name)
    for row in rows:
        cells = []
        for name in names:
            value = row[name]
            text = value if isinstance(value, str) else "" if value is None else f"{value:.3f}"
            low = row.get("low" if name == "rule" else f"{name}_low")
            high = row.get("high" if name == "rule" else f"{name}_high")
            cells.append(f"{text} [{low:.3f}, {high:.3f}]" if low is not None and high is not None else text)
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main()
