"""One training step side by side: physalis, SAELens (defaults and autocast), sparsify, dictionary_learning and the bare
encoder product, on the same real activations, in the same order, in one run.

    python benchmarks/train_step.py                # about 10 minutes on 2 idle cores, the first time 5 more
    python benchmarks/train_step.py --json         # only the list of rows on standard output
    python benchmarks/train_step.py --quick        # 8 steps each: does everything work?
    python benchmarks/train_step.py --kind vnni    # as if the processor had AVX-512 and VNNI but no bfloat16; or avx2

1. Peers get a virtual environment of their own; SmolLM2-135M's L9.resid_post is recorded on Python's own library (both
   once, kept in the cache) and written out as plain rows, shuffled: train and held out.
2. Every implementation is a process of its own. They take turns, a share of the steps each, so that a machine that
   changes pace changes it for all; while one computes the others wait.
3. Each trains one dictionary over the rows once, with the settings that it recommends (printed). Times exclude reading
   rows and judging; FVU is computed by one function for all, on raw held-out rows.

Rows are {implementation, tokens_per_s, ms_per_step, peak_mb, fvu, s_to_fvu_020}: ms_per_step is the median over all
steps, tokens_per_s follows from it; peak_mb is the process's peak resident memory, its libraries included;
s_to_fvu_020 is seconds of training (making the dictionary included, judging not) until the first 4,096 held-out rows
have FVU <= .20, looked at every 4 steps; null where it does not apply or was not reached.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from implementations.worker import Setting
from rich.console import Console
from rich.table import Table

from physalis import __version__, artifact
from physalis.activations import Activations
from physalis.models import cache_folder, load_model
from physalis.recording import record
from physalis.runtime.progress import progress
from physalis.site import Site

HERE = Path(__file__).resolve().parent
CACHE = cache_folder() / "benchmarks"
FEATURES, K, BATCH, SEED = 9_216, 32, 2_048, 0
TOKENS = 300_000
PACKAGES = ("sae-lens==6.54.12", "eai-sparsify==1.3.3", "dictionary-learning==0.1.0", "torch==2.13.0")
IMPLEMENTATIONS = ("physalis", "saelens", "saelens_autocast", "sparsify", "dictionary_learning", "encode_product")
PEERS = IMPLEMENTATIONS[1:-1]
KINDS = {
    "native": {},
    "vnni": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NUMBA_CPU_NAME": "haswell",
    },
}  # fmt: skip
"""The processor as it is, or what the libraries of every implementation are told to take it for."""
FASTER = {"saelens": 12.0, "saelens_autocast": 6.0, "sparsify": 3.5}  # times that physalis promises
OF_PRODUCT = 2.0  # of the encoder product that a step of physalis may take


@dataclass(frozen=True)
class Row:
    implementation: str
    tokens_per_s: float
    ms_per_step: float
    peak_mb: float | None
    fvu: float | None
    s_to_fvu_020: float | None


class Process:
    """One implementation, waiting to be asked."""

    def __init__(self, name: str, python: Path, setting: Setting, log: Path) -> None:
        self.name, self.log = name, log
        module = f"implementations.{name.removesuffix('_autocast')}"
        answers, theirs = os.pipe()  # standard output is for what packages print
        command = [str(python), "-m", module, json.dumps(asdict(setting)), str(theirs)]
        command += ["--autocast"] if name.endswith("_autocast") else []
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        with open(log, "w") as said:
            self._process = subprocess.Popen(
                command, cwd=HERE, env=kept, stdin=subprocess.PIPE, stdout=said, stderr=said, pass_fds=[theirs]
            )
        os.close(theirs)
        self._answers = open(answers)
        self.batch = setting.batch
        self.about = self._answer()
        self.seconds: list[float] = []

    def train(self, steps: int) -> list[float]:
        taken = self._ask(train=steps)["seconds"]
        self.seconds += taken
        return taken

    def finish(self) -> tuple[Row, float]:
        """The row, and how much of its peak memory the libraries take before there is a dictionary."""
        found = self._ask(finish=True)
        judged = found["fvu"] is not None
        median = statistics.median(self.seconds)
        return Row(
            implementation=self.name,
            tokens_per_s=round(self.batch / median, 1),
            ms_per_step=round(1000 * median, 2),
            peak_mb=round(found["peak_mb"], 1) if judged else None,
            fvu=round(found["fvu"], 5) if judged else None,
            s_to_fvu_020=None if found["s_to_target"] is None else round(found["s_to_target"], 2),
        ), found["bare_mb"]

    def close(self) -> None:
        """Let it end: it reads questions until there are no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._answers.close()
        self._process.wait()

    def _ask(self, **what: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the answer will say
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            tail = "\n".join(self.log.read_text().splitlines()[-15:])
            raise SystemExit(f"{self.name} ended with code {self._process.returncode}. The end of {self.log}:\n{tail}")
        return json.loads(line)


PROBE = """
import importlib.metadata, importlib.util, sys
for wanted in sys.argv[1:]:
    name, _, version = wanted.partition("==")
    assert importlib.metadata.version(name).partition("+")[0] == version
if importlib.util.find_spec("torchvision"):
    import torchvision
"""


def peers_python(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made first if it is not there."""
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", PROBE, *PACKAGES], stderr=subprocess.DEVNULL).returncode == 0:
        return python
    print(f"Installing {', '.join(PACKAGES)} into {folder}: minutes, once.", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [python, "-m", "pip"]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
    subprocess.run([*pip, "install", "-q", *PACKAGES], check=True, stdout=sys.stderr)
    # A dependency's dependency that no training needs: where torch is a CPU build and it is not, transformers cannot be
    # imported beside it.
    subprocess.run([*pip, "uninstall", "-q", "-y", "torchvision"], check=True, stdout=sys.stderr)
    return python


def activations(folder: Path) -> Activations:
    """What was recorded in ``folder``, or is recorded there now."""
    if (folder / artifact.MANIFEST).exists():
        return Activations.open(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return record(load_model("smollm2"), "stdlib", [Site("resid_post", 9)], [folder], tokens=TOKENS, seed=SEED)[0]


def export(found: Activations, parent: Path) -> Path:
    """Write rows that need no physalis to read: train rows in the order of ``train``'s first epoch, held-out rows
    shuffled, bfloat16 as recorded. Kept: the same activations are written once."""
    folder = parent / f"rows-{found.manifest.hash[:12]}-{BATCH}-{SEED}"
    if (folder / "rows.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)

    def bits(x: torch.Tensor) -> np.ndarray:
        return x.to(torch.bfloat16).contiguous().view(torch.int16).numpy()  # read as float32 where that is faster

    def train_rows(path: Path) -> None:
        with open(path, "wb") as f:
            for batch in found.train.batches(BATCH, seed=SEED):
                f.write(bits(batch.x).data)

    def held_out_rows(path: Path) -> None:
        x = torch.cat([rows.x for rows in found.held_out.ordered(8 * BATCH)])
        path.write_bytes(bits(x[torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))]).data)

    artifact.write_atomic(folder / "train.bf16", train_rows)
    artifact.write_atomic(folder / "held_out.bf16", held_out_rows)
    sizes = {"n_train": found.train.n_batches(BATCH) * BATCH, "n_held_out": found.held_out.n_tokens}
    about = {"d": found.d, "mean": found.mean.tolist(), "scale": found.scale, **sizes}
    artifact.write_json(folder / "rows.json", about)
    return folder


def take_turns(processes: list[Process], steps: int, rounds: int) -> None:
    """All of everyone's steps, in ``rounds`` turns; every other round goes backwards."""
    shares = [steps * (i + 1) // rounds - steps * i // rounds for i in range(rounds)]
    with progress("Training in turns", steps * len(processes), "steps") as advance:
        for turn, share in enumerate(shares):
            for process in processes if turn % 2 == 0 else processes[::-1]:
                taken = process.train(share) if share else []
                note = f"turn {turn + 1}/{rounds}, {process.name} {1000 * statistics.median(taken or [0]):.0f} ms"
                advance(share, note=note)


def cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(
    console: Console, processes: list[Process], rows: list[Row], bare_mb: list[float], steps: int, found: Activations
) -> None:
    """The table, the bars, the settings, the machine."""
    by_name = {row.implementation: row for row in rows}
    ours = by_name.get("physalis")
    table = Table(title=f"One training step: d {found.d}, {FEATURES:,} features, k {K}, batch {BATCH:,}, {steps} steps")
    titles = "|tokens/s|ms a step|middle half|x physalis|peak MB|of it libraries|FVU|s to FVU .20"
    for i, title in enumerate(titles.split("|")):
        table.add_column(title, justify="right" if i else "left")
    for process, row, bare in zip(processes, rows, bare_mb, strict=True):
        low, _, high = (1000 * s for s in statistics.quantiles(process.seconds, n=4))
        ratio = f"{row.ms_per_step / ours.ms_per_step:.2f}" if ours else ""
        judged = row.fvu is not None
        table.add_row(
            row.implementation, f"{row.tokens_per_s:,.0f}", f"{row.ms_per_step:,.1f}", f"{low:,.0f}-{high:,.0f}", ratio,
            f"{row.peak_mb:,.0f}" if row.peak_mb else "", f"{bare:,.0f}" if judged else "",
            f"{row.fvu:.4f}" if judged else "",
            "" if not judged else f"{row.s_to_fvu_020:.1f}" if row.s_to_fvu_020 else "not reached",
        )  # fmt: skip
    console.print(table)
    for bar in bars(by_name):
        console.print(bar)
    console.print()
    for process in processes:
        console.print(f"{process.name}: {process.about['about']}")
    versions: dict[str, str] = {}
    for process in processes:
        versions |= {name: v for name, v in process.about["versions"].items() if name != "torch"}
    torches = {p.about["versions"]["torch"] for p in processes}
    threads = {p.about["threads"] for p in processes}
    said = ", ".join(f"{name} {v}" for name, v in ({"torch": " / ".join(sorted(torches))} | versions).items())
    console.print(
        f"\n{cpu()}, {os.cpu_count()} threads ({' / '.join(map(str, sorted(threads)))} used by torch), "
        f"Python {platform.python_version()}, physalis {__version__}, {said}"
    )
    load = f"load average before the run {LOAD[0]:.1f}"
    console.print(f"{found!r}; FVU on all {found.held_out.n_tokens:,} held-out rows; {load}", highlight=False)


def bars(by_name: dict[str, Row]) -> list[str]:
    """What physalis promises against these rows, one line each."""
    ours, lines = by_name.get("physalis"), []
    if ours is None:
        return lines
    for name, bar in FASTER.items():
        if name in by_name:
            ratio = by_name[name].ms_per_step / ours.ms_per_step
            lines.append(f"{_met(ratio >= bar)} {ratio:.1f}x as fast as {name} (bar {bar:g}x)")
    if "encode_product" in by_name:
        ratio = ours.ms_per_step / by_name["encode_product"].ms_per_step
        lines.append(f"{_met(ratio <= OF_PRODUCT)} a step is {ratio:.2f}x the bare product (bar {OF_PRODUCT:g}x)")
    judged = [row for name, row in by_name.items() if name in PEERS and row.fvu is not None]
    if judged and ours.fvu is not None:
        best = min(judged, key=lambda row: row.fvu or 0)
        lines.append(
            f"{_met(ours.fvu <= (best.fvu or 0))} FVU {ours.fvu:.4f} at equal tokens; the best peer, "
            f"{best.implementation}, has {best.fvu:.4f}"
        )
    return lines


def _met(yes: bool) -> str:
    return "[green]met   [/]" if yes else "[red]missed[/]"


LOAD = os.getloadavg()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    parser.add_argument("--activations", type=Path, default=CACHE / "activations", help="recorded there if not there")
    parser.add_argument("--peers", type=Path, default=CACHE / "peers", help="virtual environment, made if not there")
    parser.add_argument("--rows", type=Path, default=CACHE, help="where the exported rows are kept")
    parser.add_argument("--steps", type=int, help="of each; one pass over the training rows if not given")
    parser.add_argument("--rounds", type=int, default=6, help="turns that the steps are taken in")
    parser.add_argument("--quick", action="store_true", help="8 steps in 2 turns: to see that everything works")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=list(IMPLEMENTATIONS))
    parser.add_argument("--kind", choices=KINDS, default="native", help="of processor to take this one for")
    parser.add_argument("--peer-lr", type=float, help="the peers' learning rate, instead of each one's own")
    parser.add_argument("--centred", action="store_true", help="peers get rows centred and scaled as physalis's are")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    os.environ.update(KINDS[args.kind])
    console = Console(stderr=args.json, width=None if sys.stdout.isatty() else 130)
    with contextlib.redirect_stdout(sys.stderr):
        found = activations(args.activations)
        folder = export(found, args.rows)
        steps = args.steps or (8 if args.quick else found.train.n_batches(BATCH))
        if not 1 < steps <= found.train.n_batches(BATCH):
            raise SystemExit(f"--steps must be from 2 to {found.train.n_batches(BATCH)}, one pass; received {steps}.")
        rounds = min(2 if args.quick else args.rounds, steps)
        setting = Setting(
            rows=str(folder.resolve()), n_features=FEATURES, k=K, batch=BATCH, steps=steps, seed=SEED,
            lr=args.peer_lr, centred=args.centred,
        )  # fmt: skip
        peers = peers_python(args.peers) if set(args.only) & set(PEERS) else None
        processes: list[Process] = []
        try:
            for name in args.only:
                python = peers if name in PEERS else sys.executable
                processes.append(Process(name, Path(str(python)), setting, folder / f"{name}.log"))
                print(f"{name} is ready", file=sys.stderr)
            take_turns(processes, steps, rounds)
            rows, bare_mb = zip(*(process.finish() for process in processes), strict=True)
        finally:
            for process in processes:
                process.close()
    show(console, processes, list(rows), list(bare_mb), steps, found)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
