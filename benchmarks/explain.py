"""Rules: how fast they are learned, how well they tell where features fire on held-out text, and the program's share;
beside the best single token, tables of the last tokens, rules of other features, and text of another kind.

    python benchmarks/explain.py --json                      # the first run makes a demo (minutes); later ones reuse it
    python benchmarks/explain.py --demo physalis-demo --features 300 --other ../shared/data/text/wikitext2-valid.txt

One object: what is not measured is null. The model with shuffled weights is recorded on the demo's text, and a
dictionary like the demo's is trained on it and explained (minutes).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from physalis import artifact, dictionaries
from physalis.activations import Activations, Pairs
from physalis.codes import StoredCodes, encode
from physalis.dictionaries import across, make
from physalis.explanations import Explanations, Rule, Share, Surroundings, explain, program_share
from physalis.explanations.altered import alter
from physalis.models import Model, load_model, shuffled
from physalis.recording import record
from physalis.site import Site
from physalis.training import train

CACHE = Path("~/.cache/physalis/benchmarks/explain").expanduser()
OTHER_TOKENS = 100_000
CURVE = (1, 2, 4, 8, 16, 32, 64)
LAYERS, WIDTH, K = (4, 9, 20), 384, 16
"""Where programs are put into the model, and how many features the dictionaries have that are made for it."""
NAMES = {
    "loss_codes": "true codes", "loss_rules": "rules", "loss_token": "current token",
    "loss_two_tokens": "last two tokens", "loss_three_tokens": "last three tokens", "loss_mean": "mean",
    "loss_network_3": "codes of the last 3 tokens", "loss_network_8": "codes of the last 8 tokens",
}  # fmt: skip


def f1(predicted: np.ndarray, fires: np.ndarray) -> float:
    """2 hits / (predicted + firing)."""
    return 2 * int((predicted & fires).sum()) / max(1, int(predicted.sum() + fires.sum()))


class Tables:
    """Tables of the last one to three tokens: the share of their training occurrences on which a feature fires, each
    drawn towards the shorter context's as by one more occurrence. What is predicted to fire lies above the share that
    is best in training, where each occurrence is judged without itself."""

    def __init__(self, tokens: np.ndarray, train: np.ndarray, held: np.ndarray) -> None:
        self.train, self.held, self.keys = train, held, []
        number = np.zeros(tokens.shape, np.int64)
        for back in range(3):
            before = np.full(tokens.shape, -1, np.int64)
            before[:, back:] = tokens[:, : tokens.shape[1] - back]
            _, number = np.unique(number * (int(tokens.max()) + 2) + before + 1, return_inverse=True)
            number = number.reshape(tokens.shape)
            self.keys.append(number.ravel())
        self.totals = [np.bincount(keys[train], minlength=keys.max() + 1) for keys in self.keys]

    def predicted(self, fires: np.ndarray) -> list[np.ndarray]:
        """Where each table says that a feature fires, of the held-out positions; ``fires`` is of all positions."""
        y = fires[self.train].astype(float)
        own, there = np.full(len(self.train), y.mean()), np.full(len(self.held), y.mean())
        found = []
        for keys, totals in zip(self.keys, self.totals, strict=True):
            counts = np.bincount(keys[self.train], y, len(totals))
            k, h = keys[self.train], keys[self.held]
            own = (counts[k] - y + own) / totals[k]
            there = (counts[h] + there) / (totals[h] + 1)
            order = np.argsort(-own, kind="stable")
            hits = np.cumsum(y[order])
            best = int((2 * hits / (np.arange(1, len(y) + 1) + y.sum())).argmax())
            found.append(there >= max(own[order[best]], 1e-9))
        return found


def tables_of(found: Explanations, codes: StoredCodes, acts: Activations) -> dict[str, float]:
    """Mean F1 of the best table, for all firings and for strong ones, and of another feature's rule."""
    train, held = np.sort(acts.train.at), np.sort(acts.held_out.at)
    tables = Tables(np.array(acts.tokens), train, held)
    every = [each for each in found if each.n_held_out and each.n_fired]
    all_, strong = [], []
    for each in every:
        x = np.zeros(acts.tokens.size, np.float32)
        fired = codes.firings(each.feature)
        x[fired.at] = fired.values
        use = (x[held] == 0) | (x[held] >= np.median(x[train][x[train] > 0]))
        said = tables.predicted(x > 0)
        all_.append([f1(p, x[held] > 0) for p in said])
        strong.append([f1(p[use], x[held][use] > 0) for p in said])
    return {"f1_tables": float(np.mean(all_, 0).max()), "f1_tables_strong": float(np.mean(strong, 0).max())}


def by_leaves(found: Explanations, codes: StoredCodes, text: Surroundings, held: np.ndarray) -> dict[str, float]:
    """Mean F1 of rules that are cut after so many leaves: how much there is to read for how much is true."""
    every, sums = [each for each in found if each.n_held_out and each.n_fired], np.zeros(len(CURVE))
    for each in every:
        fires = np.zeros(text.n, bool)
        fires[codes.firings(each.feature).at] = True
        rule = each.program
        sizes, holding = np.cumsum([len(clause.leaves) for clause in rule.clauses]), rule.holding(text)[held]
        for i, n in enumerate(CURVE):
            sums[i] += f1((holding >= 0) & (holding < int((sizes <= n).sum())), fires[held])
    return {str(n): float(total / len(every)) for n, total in zip(CURVE, sums, strict=True)}


def drawn(found: Explanations, n: int, seed: int = 100) -> str:
    """So many rules drawn at random of those that were judged, as a table for a page."""
    judged = [each for each in found if each.n_held_out]
    some = np.random.default_rng(seed).choice(len(judged), min(n, len(judged)), replace=False)
    lines = ["| feature | F1 | token | firings | rule |", "|--:|--:|--:|--:|---|"]
    for each in sorted((judged[i] for i in some), key=lambda e: -e.detection.f1.value):
        rule = each.rule.replace("|", "\\|").replace("`", "'")
        lines.append(
            f"| {each.feature} | {each.detection.f1.value:.2f} | {each.token.f1.value:.2f} | {each.n_held_out} "
            f"| `{rule}` |"
        )
    return "\n".join(lines)


def of_others(found: Explanations, codes: StoredCodes, text: Surroundings, held: np.ndarray, seed: int) -> float:
    """Mean F1 of rules that are given to other features."""
    every = [each for each in found if each.n_held_out]
    order = np.random.default_rng(seed).permutation(len(every))
    scores = []
    for each, other in zip(every, order, strict=True):
        fires = np.zeros(text.n, bool)
        fires[codes.firings(each.feature).at] = True
        scores.append(f1(every[other].program.predict(text)[held] > 0, fires[held]))
    return float(np.mean(scores))


def on_other_text(found: Explanations, demo: Path, model: Model, source: str, folder: Path) -> float:
    """Mean F1 of the same rules on text of another kind."""
    site = Site.parse(found.manifest.config["site"])
    (acts,) = record(model, source, [site], [folder / "activations"], tokens=OTHER_TOKENS, held_out=0)
    codes = encode(demo / "dictionary", acts, out=folder / "codes")
    text = Surroundings(acts.tokens, vocabulary(model), found.fields)
    at, scores = acts.at, []
    for each in found:
        fires = np.zeros(text.n, bool)
        fires[codes.firings(each.feature).at] = True
        if fires.any():
            scores.append(f1(Rule.parse(each.rule).predict(text)[at] > 0, fires[at]))
    return float(np.mean(scores))


def of_shuffled(demo: Path, model: Model, features: int, folder: Path) -> float:
    """Mean F1 of rules of a dictionary like the demo's, trained on the same text read by a model whose weights are
    shuffled."""
    of, trained = artifact.read(demo / "activations", "activations"), artifact.read(demo / "dictionary", "dictionary")
    site, tokens = Site.parse(of.config["site"]), of.facts["n_train"] + of.facts["n_held_out"]
    control = shuffled(model)
    (acts,) = record(control, "stdlib", [site], [folder / "activations"], tokens=tokens)
    config = make(trained.config["architecture"], trained.config["dictionary"]).config
    train(acts, [config], [folder / "dictionary"], epochs=trained.config["training"]["epochs"])
    some = np.random.default_rng(0).choice(config.n_features, features, replace=False).tolist()
    return explain(folder / "dictionary", acts, control, folder / "rules", features=some, workers=2).mean.f1.value


def on_altered_text(found: Explanations, demo: Path, acts: Activations, model: Model) -> float:
    """Mean F1 of rules on held-out text of which one token in seven is replaced, as the model reads that."""
    made = alter(
        acts, acts.held_out, dictionaries.load(demo / "dictionary"), model, tokens=acts.held_out.n_tokens, seed=1
    )
    text, scores = Surroundings(made.tokens, vocabulary(model), found.fields), []
    for each in found:
        fires = np.zeros(text.n, bool)
        fires[made.firings(each.feature).at] = True
        if fires.any():
            scores.append(f1(each.program.predict(text)[made.rows] > 0, fires[made.rows]))
    return float(np.mean(scores))


def program(found: Explanations, share: Share, kind: str) -> dict:
    """A row: what is added to the loss, with intervals; what smaller programs add; and how good the rules are."""
    losses = {each.name: each.loss for each in share.added}
    ends = {f"{key}_{end}": getattr(losses[name], end) for key, name in NAMES.items() for end in ("low", "high")}
    values = {key: losses[name].value for key, name in NAMES.items()}
    return {
        "site": share.site, "kind": kind, **values, "loss_model": share.model_loss, **ends,
        "recovered": share.recovered and share.recovered.value, "f1": found.mean.f1.value, "leaves": found.mean.size,
        "f1_token": found.mean.f1_token.value,
        "smaller": [each.model_dump() for each in share.smaller],
    }  # fmt: skip


def of_layers(demo: Path, model: Model, tokens: int, folder: Path) -> list[dict]:
    """The share of programs at three layers, for the residual stream and for an MLP as a whole, whose dictionaries are
    trained, and explained, on the demo's text."""
    trained = artifact.read(demo / "dictionary", "dictionary")
    of = artifact.read(demo / "activations", "activations")
    names = [f"L{layer}.{part}" for layer in LAYERS for part in ("resid_post", "mlp_in", "mlp_out")]
    n = of.facts["n_train"] + of.facts["n_held_out"]
    record(model, "stdlib", [Site.parse(name) for name in names], [folder / name for name in names], tokens=n)
    settings = {**trained.config["dictionary"], "n_features": WIDTH, "k": K}
    rows = []
    for layer in LAYERS:
        for kind, reads, writes in (
            ("autoencoder", f"L{layer}.resid_post", None), ("transcoder", f"L{layer}.mlp_in", f"L{layer}.mlp_out")
        ):  # fmt: skip
            read = Activations.open(folder / reads)
            pairs = read if writes is None else Pairs.open([folder / reads], [folder / writes])
            out = folder / f"{kind}-{layer}"
            shape = across(trained.config["architecture"], [pairs.d_in], [pairs.d_out] if writes else [])
            config = make(trained.config["architecture"], {**settings, **shape}).config
            train(pairs, [config], [out / "dictionary"], epochs=trained.config["training"]["epochs"])
            to = [folder / writes] if writes else None
            found = explain(out / "dictionary", [folder / reads], model, out / "rules", workers=2, writes=to)
            share = program_share(found.folder, out / "dictionary", [folder / reads], model, tokens=tokens, writes=to)
            rows.append(program(found, share, kind))
    return rows


def vocabulary(model: Model) -> list:
    return model.corpus.pieces(range(max(model.corpus.ids) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--demo", type=Path, help="folder that `physalis demo` wrote")
    parser.add_argument("--features", type=int, help="how many, at random; all unless given")
    parser.add_argument("--other", help="text of another kind")
    parser.add_argument("--control", type=int, default=300, help="features of the shuffled model; 0 for none")
    parser.add_argument("--share", type=int, default=16_384, help="held-out tokens for the program's share; 0 for none")
    parser.add_argument("--layers", action="store_true", help="the share at three layers, of transcoders too (an hour)")
    parser.add_argument(
        "--altered", type=int, default=0, help="training tokens that rules learn from once more, altered"
    )
    parser.add_argument("--drawn", type=int, help="print so many rules, drawn at random, as a table, and no more")
    parser.add_argument("--out", type=Path, default=CACHE / "out", help="folder to work in; what is there is reused")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    demo = args.demo or CACHE / "demo"
    if not (demo / "dictionary" / "manifest.json").exists():
        subprocess.run([sys.executable, "-m", "physalis", "demo", "--no-serve", "--out", str(demo)], check=True)
    acts, model = Activations.open(demo / "activations"), load_model("smollm2")
    codes = encode(demo / "dictionary", acts, out=args.out / "codes")
    some = None
    if args.features:
        some = np.random.default_rng(0).choice(codes.n_features, args.features, replace=False).tolist()
    started = time.perf_counter()
    out = args.out / f"rules-{args.features or 'all'}{f'-{args.altered}' if args.altered else ''}"
    is_new = not (out / "manifest.json").exists()
    found = explain(
        demo / "dictionary", acts, model, out, codes=codes.folder, features=some, altered=args.altered, workers=2
    )
    took = time.perf_counter() - started
    if args.drawn:
        print(drawn(found, args.drawn))
        return
    text, held = Surroundings(acts.tokens, vocabulary(model), found.fields), np.sort(acts.held_out.at)
    mean = found.mean
    control = of_shuffled(demo, model, args.control, args.out / "shuffled") if args.control else None
    said = {
        "features_per_minute": len(found) / took * 60 if is_new else None,
        "f1": mean.f1.value, "f1_low": mean.f1.low, "f1_high": mean.f1.high, "f1_strong": mean.f1_strong.value,
        "leaves_median": mean.size, "f1_token": mean.f1_token.value, **tables_of(found, codes, acts),
        "f1_shuffled_rules": of_others(found, codes, text, held, 0), "f1_shuffled_model": control,
        "f1_other_text": args.other and on_other_text(found, demo, model, args.other, args.out / "other"),
        "f1_altered_text": on_altered_text(found, demo, acts, model),
        "share_f1_80": mean.at_least_80, "f1_by_leaves": by_leaves(found, codes, text, held), "program": [],
    }  # fmt: skip
    if args.share and some is None:
        share = program_share(
            out, demo / "dictionary", acts, model, tokens=args.share, leaves=CURVE[:5],
            features=(codes.n_features // 8, codes.n_features // 4, codes.n_features // 2),
        )  # fmt: skip
        said["program"].append(program(found, share, "autoencoder"))
    if args.share and args.layers:
        said["program"] += of_layers(demo, model, args.share, args.out / "layers")
    if args.json:
        print(json.dumps(said, indent=1))
        return
    for name, value in said.items():
        print(f"{name:22} {value}")


if __name__ == "__main__":
    main()
