"""A card: does it compute what the CPU computes, and how fast is a training step beside SAELens, sparsify and
dictionary_learning on it?

    python benchmarks/gpu.py                  # on a CUDA machine, 8 minutes; installing the peers is not counted
    python benchmarks/gpu.py --json           # only the list of rows on standard output
    python benchmarks/gpu.py --device cpu     # small sizes without a card: does everything work?
    python benchmarks/gpu.py --only physalis encode_product      # no peers

1. Agreement: from the same start, codes, losses and the weights after some steps on the card and on the CPU, in
   float32; and two runs on the card with the same seed, which must give the same bits.
2. Speed: d 2,048, 65,536 features, k 64, batches of 8,192; then 262,144 features where they fit. Rows are made, sparse
   sums of directions that have to be found, and are the same for all. The rest is as in train_step.py.

Rows are train_step.py's, and ``n_features``; peak_mb is what torch holds on the card at most. Ends with code 1 where
card and CPU disagree, and 2 where there is no card.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import train_step
from implementations.worker import Setting
from rich.console import Console
from rich.table import Table
from train_step import CACHE, IMPLEMENTATIONS, PACKAGES, PEERS, Process, take_turns

from physalis import artifact, dictionaries
from physalis.dictionaries import Dictionary
from physalis.runtime.device import compute_dtype, repeatable
from physalis.training.runs import Run, Schedule
from physalis.types import Batch

FASTER, OF_PRODUCT = 3.0, 2.0
"""Times the best peer that is the goal, and times the bare product that a step may take."""
IMPORTS = "import sae_lens, sparsify, dictionary_learning"
CHECKED = ("topk", "batchtopk", "jumprelu", "gated", "matryoshka")
CLOSE = 1e-3
"""Relative: sums of thousands of terms in another order differ by so much after some steps."""


@dataclass(frozen=True)
class Sizes:
    d: int
    features: tuple[int, ...]
    k: int
    batch: int
    steps: int
    batches: int
    """Of rows that are made; a longer run begins again."""


CARD = Sizes(d=2048, features=(65_536, 262_144), k=64, batch=8192, steps=60, batches=24)
SMALL = Sizes(d=64, features=(512,), k=8, batch=256, steps=12, batches=8)


@dataclass(frozen=True)
class Agreement:
    architecture: str
    codes: float
    """Largest difference of a code, relative to the largest code."""
    loss: float
    weights: float
    """After the steps."""
    repeated: bool
    """Whether two runs on the card gave the same bits."""

    @property
    def holds(self) -> bool:
        return max(self.codes, self.loss, self.weights) <= CLOSE and self.repeated


def world(n: int, d: int, k: int, *, seed: int, device: torch.device) -> torch.Tensor:
    """Rows [n, d] on ``device``: each the sum of ``k`` of 8 d directions, some more frequent, and a mean."""
    generator = torch.Generator(device).manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(8 * d, d, generator=generator, device=device), dim=1)
    mean = torch.randn(d, generator=generator, device=device) / d**0.5
    generator.manual_seed(seed)
    which = (torch.rand(n, k, generator=generator, device=device).square() * len(directions)).long()
    much = torch.rand(n, k, generator=generator, device=device) + 0.5
    summed = torch.nn.functional.embedding_bag(which, directions, per_sample_weights=much, mode="sum")
    return summed + 4 * mean + 0.02 * torch.randn(n, d, generator=generator, device=device)


def write_rows(folder: Path, sizes: Sizes, device: torch.device) -> Path:
    """The rows as ``worker.Rows`` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    total = torch.zeros(sizes.d, dtype=torch.float64)
    squares = 0.0
    with open(folder / "train.bf16", "wb") as f:
        for i in range(sizes.batches):
            x = world(sizes.batch, sizes.d, sizes.k, seed=1 + i, device=device).bfloat16()
            total += x.double().sum(0).cpu()
            squares += float(x.double().square().sum())
            f.write(x.cpu().contiguous().view(torch.int16).numpy().data)
    held = world(4 * sizes.batch, sizes.d, sizes.k, seed=0, device=device).bfloat16().cpu()
    (folder / "held_out.bf16").write_bytes(held.contiguous().view(torch.int16).numpy().data)
    n = sizes.batches * sizes.batch
    mean = total / n
    variance = squares / n - float(mean.square().sum())
    about = {"d": sizes.d, "mean": mean.tolist(), "scale": (sizes.d / variance) ** 0.5, "n_train": n}
    artifact.write_json(folder / "rows.json", {**about, "n_held_out": len(held)})
    return folder


def agreement(name: str, device: torch.device, *, d: int, features: int, k: int, batch: int) -> Agreement:
    """The card against the CPU from the same start, in float32."""
    x = world(4 * batch, d, k, seed=3, device=torch.device("cpu"))
    x = (x - x.mean(0)) / x.std()
    shape = {"d_in": d, "d_out": d, "n_features": features, "k": k}
    start = dictionaries.make(name, shape)
    start.start(Batch(x, x), seed=0)

    def trained(where: torch.device) -> tuple[Dictionary, dict[str, float]]:
        dictionary = dictionaries.make(name, shape)
        dictionary.load_state_dict(start.state_dict())
        dictionary.to(where)
        dictionary.compute_in(torch.float32)
        run, there = Run(dictionary), x.to(where)
        schedule = Schedule(lr=1e-3, warmup=2, decay=0.5, steps=10)
        row: dict[str, float] = {}
        for step in range(4):
            rows = there[batch * step : batch * (step + 1)]
            row = run.descend(Batch(rows, rows), step, schedule, 1 << 40) or row
        return dictionary, row

    with torch.no_grad():
        dense = []
        for where in (torch.device("cpu"), device):
            there = dictionaries.make(name, shape)
            there.load_state_dict(start.state_dict())
            codes = there.to(where).encode(x[:batch].to(where))
            out = torch.zeros(batch, features, device=where)
            dense.append(out.scatter_add_(1, codes.ids.long(), codes.values).cpu())
    with repeatable(device):
        (here, told), (there, said), (again, _) = (trained(where) for where in (torch.device("cpu"), device, device))
    pairs = list(zip(here.state_dict().values(), there.state_dict().values(), strict=True))
    same = all(map(torch.equal, there.state_dict().values(), again.state_dict().values()))
    return Agreement(
        name, float((dense[0] - dense[1]).abs().max() / dense[0].abs().max()),
        max(abs(told[term] - said[term]) / max(abs(told[term]), 1e-3) for term in told if term not in ("step", "lr")),
        max(float((a.float() - b.float().cpu()).norm() / a.float().norm().clamp_min(1e-9)) for a, b in pairs), same,
    )  # fmt: skip


def peers_python(folder: Path) -> Path | None:
    """The interpreter of the peers' environment, which uses this one's torch; None where it cannot be made."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            print(f"Installing {', '.join(PACKAGES[:3])} into {folder}, once.", file=sys.stderr)
            folder.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [sys.executable, "-m", "venv", "--system-site-packages", folder], check=True, stdout=sys.stderr
            )
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[:3]], check=True, stdout=sys.stderr)
        subprocess.run([python, "-c", IMPORTS], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"The peers cannot be installed here ({error}): only physalis is measured.", file=sys.stderr)
        return None
    return python


def measure(args: argparse.Namespace, sizes: Sizes, device: torch.device, folder: Path) -> list[dict[str, object]]:
    """Everyone's rows, for each number of features."""
    peers = peers_python(args.peers) if set(args.only) & set(PEERS) else None
    names = [name for name in args.only if name not in PEERS or peers is not None]
    rows: list[dict[str, object]] = []
    for features in sizes.features:
        needed = 5 * 2 * 4 * features * sizes.d + 3 * 4 * sizes.batch * features  # of the peers, which hold dense codes
        mine = names
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0]:
            mine = [name for name in names if name not in PEERS]
            print(f"With {features:,} features the peers would not fit: they are left out.", file=sys.stderr)
        setting = Setting(
            rows=str(folder), n_features=features, k=sizes.k, batch=sizes.batch, steps=sizes.steps, device=device.type
        )
        for name in mine:  # one after another: a card has memory for one of them
            python = Path(str(peers if name in PEERS else sys.executable))
            process = Process(name, python, setting, folder / f"{name}-{features}.log")
            try:
                take_turns([process], sizes.steps, 2)
                found, _ = process.finish()
            except SystemExit as error:
                print(error, file=sys.stderr)
                continue
            finally:
                process.close()
            rows.append({**asdict(found), "n_features": features})
    return rows


def show(console: Console, agreed: list[Agreement], rows: list[dict[str, object]], sizes: Sizes, device: str) -> None:
    table = Table(title=f"{device} and the CPU, relative differences (bar {CLOSE:g})")
    for i, title in enumerate(("", "codes", "loss", "weights after 4 steps", "same bits twice")):
        table.add_column(title, justify="right" if i else "left")
    for each in agreed:
        numbers = (f"{value:.1e}" for value in (each.codes, each.loss, each.weights))
        table.add_row(each.architecture, *numbers, "yes" if each.repeated else "[red]no[/]")
    console.print(table)
    table = Table(title=f"One training step: d {sizes.d:,}, k {sizes.k}, batch {sizes.batch:,}, {sizes.steps} steps")
    for i, title in enumerate(("", "features", "tokens/s", "ms a step", "peak MB", "FVU")):
        table.add_column(title, justify="right" if i else "left")
    for row in rows:
        peak, fvu = row["peak_mb"], row["fvu"]
        table.add_row(
            str(row["implementation"]), f"{row['n_features']:,}", f"{row['tokens_per_s']:,.0f}",
            f"{row['ms_per_step']:,.2f}", "" if peak is None else f"{peak:,.0f}", "" if fvu is None else f"{fvu:.4f}",
        )  # fmt: skip
    console.print(table)
    for features in sizes.features:
        for line in bars({str(row["implementation"]): row for row in rows if row["n_features"] == features}):
            console.print(f"{features:,} features: {line}", highlight=False)
    where = torch.cuda.get_device_name() if device == "cuda" else train_step.cpu()
    console.print(f"{where}, torch {torch.__version__}, products in {compute_dtype(torch.device(device))}")


def bars(rows: dict[str, dict]) -> list[str]:
    ours, lines = rows.get("physalis"), []
    peers = [row for name, row in rows.items() if name in PEERS]
    if ours and peers:
        best = min(peers, key=lambda row: row["ms_per_step"])
        ratio = best["ms_per_step"] / ours["ms_per_step"]
        least = min(row["fvu"] for row in peers)
        lines.append(f"{ratio:.1f}x as fast as {best['implementation']} (goal {FASTER:g}x)")
        lines.append(f"FVU {ours['fvu']:.4f} after as many tokens; the best peer's is {least:.4f}")
    if ours and "encode_product" in rows:
        ratio = ours["ms_per_step"] / rows["encode_product"]["ms_per_step"]
        lines.append(f"a step is {ratio:.2f}x the bare product (goal {OF_PRODUCT:g}x)")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--peers", type=Path, default=CACHE / "peers-gpu", help="environment, made if not there")
    parser.add_argument("--steps", type=int, help="of each")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=list(IMPLEMENTATIONS))
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py measures a CUDA card and this machine has none: --device cpu tries it out.", file=sys.stderr)
        sys.exit(2)
    device, sizes = torch.device(args.device), CARD if args.device == "cuda" else SMALL
    sizes = Sizes(**{**asdict(sizes), "steps": args.steps or sizes.steps})
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        small = {"d": 256, "features": 2048, "k": 16, "batch": 1024}
        small = small if args.device == "cuda" else {"d": 32, "features": 128, "k": 4, "batch": 128}
        agreed = [agreement(name, device, **small) for name in CHECKED]
        rows = measure(args, sizes, device, write_rows(Path(folder) / "rows", sizes, device))
    show(Console(stderr=args.json), agreed, rows, sizes, args.device)
    if args.json:
        print(json.dumps(rows, indent=1))
    if not all(each.holds for each in agreed):
        print("Card and CPU disagree.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
