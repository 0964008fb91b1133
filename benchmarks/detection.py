"""Detection as delphi scores it and as physalis does: the same features, rules and judge, ranks compared.

    python benchmarks/detection.py            # minutes; the first run makes the demo, and a folder with delphi
    python benchmarks/detection.py --json     # only the object on standard output

1. Rules of the demo's features (those that explain.py keeps, or made here) are scored on the demo's whole text.
2. The judge on both sides reads a passage of 32 tokens alone and answers by what the rule says of it: a yes where it
   holds anywhere. delphi asks it through its own windows, samples and prompts, as a client; no network is used.
3. Spearman's correlation of the features' balanced accuracies, with an interval over features (bootstrap), beside that
   of physalis with itself on other passages: noise allows no more. And what delphi's simulation scorer returns: in its
   default mode it takes the second token of an encoded tab, which SmolLM2's tokenizer, having no BOS, has not, and
   answers zeros for the error.

One object: {features, spearman, low, high, ours_with_ours, delphi_mean, ours_mean, delphi_unanswered, simulation_nan,
simulation_logprobs_nan, simulation_spearman}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from train_step import CACHE, HERE

from physalis.activations import Activations
from physalis.codes import encode
from physalis.explanations import Explanations, Surroundings, explain
from physalis.judging import counting
from physalis.judging.judges import Predicting
from physalis.judging.material import Material
from physalis.judging.passages import LENGTH
from physalis.judging.rounds import Rounds
from physalis.models import load_model

DELPHI = "eai-delphi==0.1.3"
WANTS = (
    "orjson", "blobfile", "simple-parsing", "asyncer", "faiss-cpu", "sentence-transformers", "tiktoken",
    "docstring-parser", "lxml", "sniffio",
)  # fmt: skip
"""What it imports that physalis has not; without what these want in turn, which is here or never called."""
EXAMPLES, LEAST = 100, 40
"""Firing passages that a feature is judged on, and as many silent ones; and how many it must have."""
RESAMPLED = 2_000


def delphi(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds delphi without what would replace our own packages."""
    if not (folder / "delphi").exists():
        print(f"Installing {DELPHI} into {folder}: once.", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, DELPHI, *WANTS]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return folder


def theirs(
    found: Explanations, features: list[int], material: Material, beside: Path, folder: Path
) -> list[dict[str, float | str]]:
    """delphi's scores, a record a feature."""
    arrays = {"tokens": np.array(material.stored.tokens)}
    for feature in features:
        fired = material.firings(feature)
        arrays |= {f"at-{feature}": fired.at, f"values-{feature}": fired.values}
    np.savez(folder / "text.npz", **arrays)  # pyright: ignore[reportArgumentType]
    found.fields.save(folder / "fields.npy")
    asked = {"length": LENGTH, "examples": EXAMPLES, "least": LEAST, "rules": {i: found[i].rule for i in features}}
    (folder / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "implementations.delphi_scores", str(folder)]
    path = os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(beside)])
    done = subprocess.run(command, cwd=HERE, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"delphi's side ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads((folder / "scores.json").read_text())


def ours(found: Explanations, features: list[int], material: Material, seed: int) -> dict[str, list[float]]:
    """Balanced accuracy of detection and correlation of simulation, by feature. The judge reads each passage alone."""
    codes = {}
    text = Surroundings(material.judged.tokens[material.judged.at], material.pieces, found.fields)
    for feature in features:
        alone = np.zeros(material.judged.tokens.size, np.float32)
        alone[material.judged.at.ravel()] = found[feature].program.predict(text)
        codes[feature] = alone
    judge = Predicting("rule", codes.__getitem__)
    rounds = Rounds(material, features, draws=1, passages=EXAMPLES, seed=seed)
    scores: dict[str, list[float]] = {"detection": [], "simulation": []}
    for feature in features:
        for task, metric in (("detection", counting.balanced_accuracy), ("simulation", counting.correlation)):
            (asked,) = rounds.asked(task, feature)  # pyright: ignore[reportArgumentType]
            answers = judge.answers(feature, [question for question, _ in asked])
            scores[task].append(metric(counting.rows_of(task, asked, answers, 0)[0]))
    return scores


def spearman(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """With the middle 95 % of resampled features."""

    def correlated(x: np.ndarray, y: np.ndarray) -> float:
        found: Any = spearmanr(x, y)
        return float(found.statistic)

    rng, value = np.random.default_rng(0), correlated(a, b)
    drawn = [rng.integers(len(a), size=len(a)) for _ in range(RESAMPLED)]
    low, high = np.nanquantile([correlated(a[i], b[i]) for i in drawn], (0.025, 0.975))
    return value, float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=CACHE / "explain" / "demo", help="folder of `physalis demo`")
    parser.add_argument("--rules", type=Path, default=CACHE / "explain" / "out" / "rules-300", help="made if not there")
    parser.add_argument("--features", type=int, default=100, help="how many are compared")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.demo / "dictionary" / "manifest.json").exists():
        words = [sys.executable, "-m", "physalis", "demo", "--no-serve", "--out", str(args.demo)]
        subprocess.run(words, check=True, stdout=sys.stderr)
    acts, model = Activations.open(args.demo / "activations"), load_model("smollm2")
    codes = encode(args.demo / "dictionary", acts, out=args.rules.parent / "codes")
    if (args.rules / "manifest.json").exists():
        found = Explanations.open(args.rules)
    else:
        some = np.random.default_rng(0).choice(codes.n_features, 300, replace=False).tolist()
        found = explain(args.demo / "dictionary", acts, model, args.rules, codes=codes.folder, features=some)
    material = Material("demo", acts, codes, model, is_other=True)  # all of the text is judged on
    able = [each.feature for each in found if (material.fired(each.feature).decile >= 0).sum() >= 2 * LEAST]
    features = sorted(np.random.default_rng(0).permutation(able)[: args.features].tolist())
    with tempfile.TemporaryDirectory() as folder:
        judged = theirs(found, features, material, delphi(CACHE / "delphi"), Path(folder))
    features = [int(each["feature"]) for each in judged]
    mine, again = (ours(found, features, material, seed) for seed in (0, 1))
    detection = np.array([each["detection"] for each in judged], float)
    value, low, high = spearman(detection, np.array(mine["detection"]))
    simulated = [each["simulation"] for each in judged]
    numbers = [i for i, each in enumerate(simulated) if each != "nan"]
    some = np.array([float(simulated[i]) for i in numbers]), np.array(mine["simulation"])[numbers]
    said = {
        "features": len(features), "spearman": value, "low": low, "high": high,
        "ours_with_ours": spearman(np.array(mine["detection"]), np.array(again["detection"]))[0],
        "delphi_mean": float(detection.mean()), "ours_mean": float(np.mean(mine["detection"])),
        "delphi_unanswered": sum(int(each["unanswered"]) for each in judged),
        "simulation_nan": float(np.mean([each == "nan" for each in simulated])),
        "simulation_logprobs_nan": float(np.mean([each["simulation_logprobs"] == "nan" for each in judged])),
        "simulation_spearman": spearman(*some)[0] if len(numbers) > 1 else None,
    }  # fmt: skip
    if args.json:
        print(json.dumps(said, indent=1))
        return
    for name, each in said.items():
        print(f"{name:26} {each}")


if __name__ == "__main__":
    main()
