"""Doses: what adding a feature does to the words it makes likelier, and what that costs, beside its baselines.

    python benchmarks/doses.py physalis-demo           # what `physalis demo` wrote; 2 minutes a feature
    python benchmarks/doses.py physalis-demo --n 2 --tokens 512

Features and target words are chosen by ablation and tested by addition, on other text. The words of a feature are the
three that lose most of their probability where it fires once it is removed, beyond what removing a random direction
does; the features are those of the atlas's striking ones whose words lose the largest share. Rows are {feature,
headline, target, name, strength, times, low, high, perplexity, most}: at the strength that does most for the words
while perplexity rises by no more than a tenth, and ``most`` at any strength.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from physalis import load_model
from physalis.atlas import Atlas
from physalis.atlas.records import Feature
from physalis.steering import dose_response

WORDS = 3


def lost(feature: Feature) -> list[tuple[float, int]]:
    """How many times likelier each word is with the feature than without it, beyond a random direction's removal, and
    its id; the largest first."""
    fell = feature.causes.ablation.fell if feature.causes else []
    return sorted(((min(each.before, each.random) / each.after, each.id) for each in fell), reverse=True)[:WORDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("demo", type=Path, help="folder with activations, dictionary and atlas")
    parser.add_argument("--n", type=int, default=5, help="features")
    parser.add_argument("--tokens", type=int, default=2_048, help="of held-out text, for each")
    parser.add_argument("--json", action="store_true", help="only the rows")
    options = parser.parse_args()
    atlas = Atlas.open(options.demo / "atlas")
    model = load_model(atlas.summary().model)
    features = [atlas[id] for id in atlas.summary().striking]
    chosen = sorted(features, key=lambda feature: [-ratio for ratio, _ in lost(feature)] or [0.0])[: options.n]
    rows = []
    for feature in chosen:
        target = [id for _, id in lost(feature)]
        found = dose_response(
            options.demo / "dictionary", options.demo / "activations", model, feature.id,
            target=target, tokens=options.tokens,
        )  # fmt: skip
        for response in found.responses:
            best = response.best
            rows.append(
                {
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
            f"{row['feature']} {row['headline']}, for {' '.join(map(repr, row['target']))}"
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
