"""Worlds whose truth is known: what each architecture of physalis recovers with its defaults, and what SAELens's
recover with theirs and tuned, from as many samples of the same worlds, judged by the same function.

    python benchmarks/worlds.py               # 3 seeds, about 40 minutes on 2 idle cores
    python benchmarks/worlds.py --seeds 1     # about 14 minutes
    python benchmarks/worlds.py --json        # only the list of rows on standard output

1. SAELens builds its own synthetic model for each seed (SynthSAEBench's recipe at 1,024 features in 96 dimensions), and
   physalis takes that very world over. Each library samples it by its own sampler: 5M samples in batches of 1,024.
2. Runs follow one another, each with all cores. Seconds are those of sampling and training, without making the world,
   judging or starting Python; SAELens's samples are drawn once for all runs of a seed and timed once.
3. Each dictionary has 256 features, k = 6, and is judged on 500,000 samples that none was trained on. A run that is
   finished is kept in --out and not run again.

Rows are {library, architecture, seed, f1, mcc, dead, seconds, precision, recall, uniqueness, l0, fvu}; library is
physalis, saelens (defaults), saelens_tuned (learning rate 3e-3, 100 steps up, the last third down) or baseline (an
oracle with the 256 most frequent features, the best dictionary with its directions shuffled, random directions).
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from train_step import CACHE, HERE, peers_python

from physalis import artifact, dictionaries, exchange
from physalis.dictionaries import ARCHITECTURES, Crosscoder, CrossLayer
from physalis.lab.oracles import oracle, permuted, random_directions
from physalis.lab.truth import Reader, score
from physalis.lab.worlds import World
from physalis.training.training import train

SAMPLES, BATCH, FEATURES, K = 5_000_000, 1_024, 256, 6
OURS = tuple(kind.__name__.lower() for kind in ARCHITECTURES if kind not in (Crosscoder, CrossLayer))
"""The other two join sites; of one site they make a BatchTopK."""
THEIRS = ("topk", "batchtopk", "matryoshka", "jumprelu")
SETTINGS = {"saelens": "defaults", "saelens_tuned": "tuned"}
BEST_F1, BEST_MCC, FASTER = 0.90, 0.80, 5.0  # what our best recipe promises, and by how much we are faster


def world_of(out: Path, seed: int) -> World:
    """The world that SAELens made for a seed."""
    arrays = load_file(out / f"saelens-{seed}" / "world.safetensors")
    return World.from_arrays(arrays.pop("directions"), arrays.pop("probabilities"), **arrays)  # pyright: ignore[reportArgumentType]


def judged(dictionary: dictionaries.Dictionary | Reader, world: World) -> dict[str, Any]:
    truth = score(dictionary, world, samples=500_000, seed=1_000_003)
    names = ("f1", "mcc", "dead", "precision", "recall", "uniqueness", "l0", "fvu")
    return {name: getattr(truth, name) for name in names}


def run_ours(out: Path, architecture: str, seed: int, samples: int) -> dict[str, Any]:
    """Train with the defaults."""
    folder, world = out / f"physalis-{architecture}-{seed}", world_of(out, seed)
    shape = {"d_in": world.d, "d_out": world.d, "n_features": FEATURES, "k": K}
    config = dictionaries.make(architecture, shape).config
    world.sample(BATCH, seed=7)  # compiles the sampler, or reads it from numba's cache
    began = time.perf_counter()
    made = train(world.samples(samples), [config], [folder], epochs=1, batch_size=BATCH, seed=seed, device="cpu")[0]
    seconds = time.perf_counter() - began
    return judged(made, world) | {"seconds": round(seconds, 2)}


def run_theirs(out: Path, library: str, architecture: str, seed: int) -> dict[str, Any]:
    """Judge what ``worlds_saelens.py`` left."""
    folder = out / f"saelens-{seed}" / f"{SETTINGS[library]}-{architecture}"
    about = json.loads((folder / "run.json").read_text())
    found = exchange.read(folder / "sae").dictionary
    return judged(found, world_of(out, seed)) | {"seconds": about["seconds"]}


def let_them_train(out: Path, peers: Path, seed: int, libraries: Sequence[str], samples: int) -> None:
    """SAELens's runs of a seed, those that are not finished."""
    settings = [SETTINGS[library] for library in libraries]
    more = ["--seed", str(seed), "--samples", str(samples), "--settings", *settings]
    with open(out / f"saelens-{seed}.log", "a") as log:
        script = [str(peers), str(HERE / "worlds_saelens.py"), str(out / f"saelens-{seed}"), *more]
        subprocess.run(script, stdout=log, stderr=log, check=True)


def row_of(out: Path, library: str, architecture: str, seed: int, samples: int) -> dict[str, Any]:
    """A run's row, kept for the next time."""
    path = out / f"{library}-{architecture}-{seed}.json"
    if not path.exists():
        ours = library == "physalis"
        row: dict[str, Any] = {"library": library, "architecture": architecture, "seed": seed}
        row |= run_ours(out, architecture, seed, samples) if ours else run_theirs(out, library, architecture, seed)
        artifact.write_json(path, {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})
    row = json.loads(path.read_text())
    print(f"{library} {architecture}, seed {seed}: F1 {row['f1']:.3f}, MCC {row['mcc']:.3f}", file=sys.stderr)
    return row


def baselines(out: Path, seed: int) -> list[dict[str, Any]]:
    """What must score 1, and what must score chance."""
    world, best = world_of(out, seed), dictionaries.load(out / f"physalis-{OURS[0]}-{seed}")
    assert isinstance(best, dictionaries.Linear)
    subjects = {
        "oracle": oracle(world, FEATURES),
        "permuted": permuted(best),
        "random": random_directions(world, FEATURES, k=K, seed=seed),
    }
    about = {"library": "baseline", "seed": seed, "seconds": None}
    return [{**about, "architecture": name, **judged(each, world)} for name, each in subjects.items()]


def spread(values: Sequence[float], digits: int) -> str:
    middle = f"{statistics.mean(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(title="mean over seeds [least, most]", title_justify="left", box=None, header_style="dim")
    for name in ("", "", "F1", "MCC", "precision", "recall", "dead", "L0", "FVU", "s", "x SAELens tuned"):
        table.add_column(name, justify="left" if not name else "right")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["library"], row["architecture"]), []).append(row)
    for (library, architecture), group in groups.items():
        peers = groups.get(("saelens_tuned", architecture), [])
        faster = "" if library != "physalis" or not peers else f"{ratio(peers, group):.1f}"
        cells = [spread([r[name] for r in group], 3) for name in ("f1", "mcc", "precision", "recall")]
        cells += [spread([r["dead"] for r in group], 0), spread([r["l0"] for r in group], 2)]
        cells += [spread([r["fvu"] for r in group], 3)]
        cells += ["" if group[0]["seconds"] is None else spread([r["seconds"] for r in group], 0), faster]
        table.add_row(library, architecture, *cells)
    console.print(table)
    for line in bars(groups):
        console.print(line)


def ratio(slow: list[dict[str, Any]], fast: list[dict[str, Any]]) -> float:
    return sum(r["seconds"] for r in slow) / len(slow) / (sum(r["seconds"] for r in fast) / len(fast))


def bars(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """Whether what is promised holds, line by line."""
    said = []
    for (library, architecture), ours in groups.items():
        theirs = groups.get(("saelens_tuned", architecture))
        if library == "physalis" and theirs:
            for name in ("f1", "mcc"):
                a, b = ([r[name] for r in each] for each in (ours, theirs))
                wide = max(max(a) - min(a), max(b) - min(b))
                met = statistics.mean(a) >= statistics.mean(b) - wide
                said.append(
                    f"{'met   ' if met else 'MISSED'} {architecture}: {name} {statistics.mean(a):.3f} against "
                    f"{statistics.mean(b):.3f}, seeds spread {wide:.3f}"
                )
            times = ratio(theirs, ours)
            said.append(f"{'met   ' if times >= FASTER else 'MISSED'} {architecture}: {times:.1f} times as fast, bar 5")
    mine = {a: g for (library, a), g in groups.items() if library == "physalis"}
    if mine:
        best = max(mine, key=lambda a: statistics.mean(r["f1"] for r in mine[a]))
        f1, mcc = (statistics.mean(r[name] for r in mine[best]) for name in ("f1", "mcc"))
        met = f1 >= BEST_F1 and mcc >= BEST_MCC
        said.append(f"{'met   ' if met else 'MISSED'} best is {best}: F1 {f1:.3f} (bar .90), MCC {mcc:.3f} (bar .80)")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--out", type=Path, default=CACHE / "worlds", help="finished runs are kept here")
    parser.add_argument("--peers", type=Path, default=CACHE / "peers", help="virtual environment, made if not there")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="of SAELens's settings")
    parser.add_argument("--architectures", nargs="+", choices=OURS, help="of ours; all unless given")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    args = parser.parse_args()
    out = (args.out / f"{args.samples}").absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with contextlib.redirect_stdout(sys.stderr):
        peers = peers_python(args.peers.absolute())
        for seed in range(args.seeds):
            let_them_train(out, peers, seed, args.only, args.samples)
            rows += [row_of(out, library, a, seed, args.samples) for library in args.only for a in THEIRS]
            wanted = [a for a in OURS if not args.architectures or a in args.architectures]
            rows += [row_of(out, "physalis", architecture, seed, args.samples) for architecture in wanted]
            rows += baselines(out, seed) if OURS[0] in wanted else []
    order = ("physalis", "saelens", "saelens_tuned", "baseline")
    rows.sort(key=lambda row: order.index(row["library"]))
    show(Console(stderr=args.json, width=None if sys.stdout.isatty() else 160), rows)
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
