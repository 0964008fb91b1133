"""Doses: what adding a feature does to the words it is about, and what that costs, beside its baselines.

    python benchmarks/doses.py physalis-demo           # what `physalis demo` wrote; 20 minutes
    python benchmarks/doses.py physalis-demo --n 2 --tokens 512 --screen 100

Two ways to choose features and words, neither of which looks at the text that is then measured on:

- own words: the three tokens that carry most of a feature's code, which its heading names. Of ``--screen`` living
  features drawn at random, those whose words become likeliest on one context of training text, at an eighth of the
  median norm and for no more than a tenth of perplexity: few features of a middle layer can be steered with, and which
  has to be tried (Arad et al. 2025, arXiv 2505.20063). The share of them that reaches five times there is told too.
- ablated: the three words that lose most of their probability where a feature fires once it is removed, beyond what
  removing a random direction does; of the atlas's striking features those whose words lose the largest share.

Rows are {chosen, feature, headline, target, name, strength, times, low, high, perplexity, most}: at the strength that
does most for the words while perplexity rises by no more than a tenth, and ``most`` at any strength.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from physalis import load_model
from physalis.activations import Activations
from physalis.activations.hygiene import TIMES_MEDIAN
from physalis.atlas import Atlas
from physalis.atlas.records import Feature
from physalis.models import Model
from physalis.site import Site
from physalis.steering import Add, Steering, dose_response
from physalis.steering.edits import steerable

WORDS = 3
TIMES = 5
COST = 0.1
LOGITS = Site("logits")
AT_ONCE = 16


class Choice(NamedTuple):
    how: str
    feature: Feature
    target: list[int]


def lost(feature: Feature) -> list[tuple[float, int]]:
    """How many times likelier each word is with the feature than without it, beyond a random direction's removal, and
    its id; the largest first."""
    fell = feature.causes.ablation.fell if feature.causes else []
    return sorted(((min(each.before, each.random) / each.after, each.id) for each in fell), reverse=True)[:WORDS]


def ablated(atlas: Atlas, n: int) -> list[Choice]:
    features = [atlas[id] for id in atlas.summary().striking]
    features.sort(key=lambda feature: [-ratio for ratio, _ in lost(feature)] or [0.0])
    return [Choice("ablated", feature, [id for _, id in lost(feature)]) for feature in features[:n]]


@torch.no_grad()
def own_words(demo: Path, atlas: Atlas, model: Model, n: int, screen: int) -> list[Choice]:
    acts = Activations.open(demo / "activations")
    sae, place = steerable(demo / "dictionary", model)
    living = [row.id for row in atlas.list(sort="density", limit=len(atlas)).rows if row.n_fired]
    drawn = [atlas[id] for id in random.Random(0).sample(living, min(screen, len(living)))]
    words = [[each.id for each in feature.top_tokens[:WORDS]] for feature in drawn]
    first = int(np.setdiff1d(np.arange(len(acts.tokens)), acts.held_out.contexts)[0])
    text = torch.from_numpy(acts.tokens[first].astype("int64"))[None]
    strength = acts.hygiene.max_norm / TIMES_MEDIAN / 8

    def predicted(directions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean log-probabilities of all tokens, and the loss, with each direction added in a context of its own."""
        moves = [
            Steering([Add(feature=0, strength=strength)], each[None], place).writes(contexts=slice(i, i + 1))[acts.site]
            for i, each in enumerate(directions)
        ]

        def move(x: Tensor) -> Tensor:
            for each in moves:
                x = each(x)
            return x

        rows = text.expand(max(1, len(directions)), -1)
        logits = model.run(rows, read=[LOGITS], write={acts.site: move} if moves else {})[LOGITS][:, :-1]
        log_p = logits.float().log_softmax(-1)
        return log_p.mean(1), -log_p.gather(2, rows[:, 1:, None])[..., 0].mean(1)

    plain, loss = predicted(torch.empty(0, acts.d))
    rose = []
    for i in track(range(0, len(drawn), AT_ONCE), "screening", console=Console(stderr=True)):
        ids = torch.tensor([feature.id for feature in drawn[i : i + AT_ONCE]])
        edited, edited_loss = predicted(sae.writes(ids).float())
        for row, cost, target in zip(edited, (edited_loss - loss).exp() - 1, words[i : i + AT_ONCE], strict=True):
            rose.append((row[target] - plain[0, target]).mean().exp().item() if cost <= COST else 0.0)
    reach = sum(times >= TIMES for times in rose)
    print(
        f"{reach} of {len(rose)} features make their own words {TIMES} times likelier or more at a strength of "
        f"{strength:.0f}; the median {sorted(rose)[len(rose) // 2]:.1f} times",
        file=sys.stderr,
    )
    best = sorted(range(len(rose)), key=lambda i: -rose[i])[:n]
    return [Choice("own words", drawn[i], words[i]) for i in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("demo", type=Path, help="folder with activations, dictionary and atlas")
    parser.add_argument("--n", type=int, default=5, help="features, for each way to choose them")
    parser.add_argument("--tokens", type=int, default=2_048, help="of held-out text, for each")
    parser.add_argument("--screen", type=int, default=600, help="features that own words are chosen from")
    parser.add_argument("--json", action="store_true", help="only the rows")
    options = parser.parse_args()
    atlas = Atlas.open(options.demo / "atlas")
    model = load_model(atlas.summary().model)
    rows = []
    for how, feature, target in [
        *own_words(options.demo, atlas, model, options.n, options.screen), *ablated(atlas, options.n)
    ]:  # fmt: skip
        found = dose_response(
            options.demo / "dictionary", options.demo / "activations", model, feature.id,
            target=target, tokens=options.tokens, cost=COST,
        )  # fmt: skip
        for response in found.responses:
            best = response.best
            rows.append(
                {
                    "chosen": how,
                    "feature": feature.id, "headline": feature.headline, "target": found.target, "name": response.name,
                    "strength": best.strength if best else None,
                    "times": best.times.value if best else None,
                    "low": best.times.low if best else None, "high": best.times.high if best else None,
                    "perplexity": best.perplexity.value if best else None,
                    "most": max(dose.times.value for dose in response.doses)
                }
            )  # fmt: skip
        print(json.dumps(rows[-len(found.responses) :]), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("feature", "edit", "strength", "target is likelier, times", "perplexity, times", "at any strength")
    for row in rows:
        first = (
            f"{row['chosen']}: {row['feature']} {row['headline']}, for {' '.join(map(repr, row['target']))}"
            if row["name"].startswith("feature")
            else ""
        )
        told = ["–", "–", "–"]
        if row["times"] is not None:
            told = [f"{row['strength']:.0f}", f"{row['times']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"]
            told.append(f"{row['perplexity']:.3f}")
        table.add_row(first, row["name"], *told, f"{row['most']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
