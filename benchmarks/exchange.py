"""Round trips with the real tools: their files read here, ours read there, the same codes and reconstructions.

    python benchmarks/exchange.py            # everything; 3 minutes, and the tools' environment once
    python benchmarks/exchange.py --json     # only the list of rows on standard output

1. In an environment of their own (that of train_step.py, and circuit-tracer beside it) SAELens, sparsify,
   dictionary_learning and circuit-tracer write small dictionaries, by the grid of what changes numbers (architecture,
   checkpoint or inference file, normalisation, lengths, number formats, trainers), with their own codes and
   reconstructions of 16 inputs.
2. physalis converts the files and loads the dictionary as people do; the largest differences are reported, relative to
   the largest value (bar 1e-5). ``--keep tests/peers`` keeps these files for the tests, which need no tool.
3. physalis writes each of its architectures for SAELens, sparsify and circuit-tracer; they load the files and encode.
4. Loads that are wrong in the tools are tried, and what they gave is printed.
Gemma Scope and Llama Scope have no tool that could be installed: their files are written as documented and read by
SAELens's and circuit-tracer's loaders. OpenAI, Llamascopium and bare weights are tested against their mathematics alone
(tests/exchange/test_formats.py).

Rows are {direction, library, case, codes, reconstructions, note}.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_step import CACHE, HERE, peers_python

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.exchange import convert, write
from physalis.types import Batch

BAR = 1e-5
CIRCUIT_TRACER = "circuit-tracer==0.5.0"
D, F, K, N, L = 48, 160, 6, 256, 3
OURS = ("TopK", "BatchTopK", "JumpReLU", "L1", "L1Resampled", "Gated", "Matryoshka", "MatchingPursuit",
        "ListaMatryoshka")  # fmt: skip
FORMATS = {"SAELens": "saelens", "sparsify": "sparsify", "circuit-tracer": "circuit-tracer"}


@dataclass(frozen=True)
class Row:
    direction: str
    """"read" or "written"."""
    library: str
    case: str
    codes: float | None
    reconstructions: float | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.codes is None or self.reconstructions is None:
            return None
        return self.codes < BAR and self.reconstructions < BAR


def circuit_tracer(python: Path, folder: Path) -> Path:
    """A folder for PYTHONPATH that holds circuit-tracer without what it wants otherwise: other versions of what is
    there."""
    if not (folder / "circuit_tracer").exists():
        print(f"Installing {CIRCUIT_TRACER} into {folder}: once.", file=sys.stderr)
        pip = [python, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, CIRCUIT_TRACER]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return folder


def ask(python: Path, beside: Path, what: str, folder: Path, *, answer: str | None = None) -> Any:
    """Run the tools' side; its answer, which stands in the file of that name."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONHOME"}
    command = [str(python), "-m", "implementations.exchange_peers", what, str(folder)]
    done = subprocess.run(command, cwd=HERE, env=env | {"PYTHONPATH": str(beside)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The tools' side ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads((folder / (answer or f"{what}.json")).read_text())


def dense(dictionary: Dictionary, x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of each row, written out, and reconstructions."""
    codes = dictionary.encode(x)
    full = torch.zeros(len(x), dictionary.config.n_features)
    return full.scatter_add_(1, codes.ids.long(), codes.values), dictionary.rebuild(x, codes)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest, relative to the largest value where that is above 1."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1))


def read_theirs(folder: Path, made: list[dict[str, str]]) -> list[Row]:
    rows = []
    for case in made:
        if case["failed"]:
            rows.append(Row("read", case["library"], case["case"], None, None, case["failed"]))
            continue
        own = Path(case["folder"])
        files = own / "layer_0.safetensors" if (own / "layer_0.safetensors").exists() else own
        known = load_file(own.parent / "known.safetensors")
        try:
            convert(files, own.parent / "ours")
        except BadInput as error:
            rows.append(Row("read", case["library"], case["case"], None, None, f"refused: {error}"))
            continue
        codes, y = dense(dictionaries.load(own.parent / "ours"), known["x"])
        note = "codes are not comparable" if codes.shape != known["codes"].shape else ""
        rows.append(
            Row(
                "read",
                case["library"],
                case["case"],
                difference(codes, known["codes"]),
                difference(y, known["y"]),
                note,
            )
        )
    return rows


def ours(folder: Path, kind: str, **more: Any) -> Path:
    """A dictionary of ours as after training: a centre, biases, thresholds, directions of length 1."""
    shape = {"d_in": D, "d_out": D, "n_features": F, "k": K} | more.pop("shape", {})
    site = more.pop("site", {"site": "L0.resid_post"})
    d = dictionaries.make(kind, shape | more)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(400, width, generator=generator) for width in (shape["d_in"], shape["d_out"]))
    d.start(Batch(x, x if shape["d_in"] == shape["d_out"] else y), seed=0)
    for name, value in d.state_dict().items():
        drawn = 0.3 * torch.randn(value.shape, generator=generator)
        if name in ("b_dec", "b_mag", "r_mag", "skip") or (name in ("b_enc", "centre") and kind != "MatchingPursuit"):
            value.add_(drawn)
        elif "threshold" in name:
            value.copy_(0.1 + drawn.abs())
    config = {"architecture": kind, "dictionary": asdict(d.config), "model": "gpt2"} | site
    with artifact.claim(folder, "dictionary", {}):
        artifact.finish(folder, Manifest(kind="dictionary", config=config), [dictionaries.save(d, folder)])
    return folder


def write_ours(folder: Path) -> tuple[list[dict[str, str]], list[Row]]:
    """Every architecture of ours in every format that can say it: the jobs for the tools, and rows for the refusals."""
    jobs, rows = [], []
    transcoder = {"site": "L0.mlp_in", "writes": "L0.mlp_out"}
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (kind, kind, {}) for kind in OURS if kind not in ("Crosscoder", "CrossLayer")
    ]
    cases += [(f"{kind}, transcoder with a skip path", kind, {"skip": True, "site": transcoder})
              for kind in ("TopK", "JumpReLU", "BatchTopK", "L1")]  # fmt: skip
    wide = {"d_in": L * D, "d_out": L * D, "n_features": L * F}
    layers = [[f"L{i}.{name}" for i in range(L)] for name in ("mlp_in", "mlp_out")]
    cases.append(
        ("CrossLayer", "CrossLayer", {"shape": wide, "layers": L, "site": {"site": layers[0], "writes": layers[1]}})
    )
    cases.append(("Crosscoder", "Crosscoder", {"sites": (D // 2, D // 2)}))
    for i, (name, kind, more) in enumerate(cases):
        source = ours(folder / "ours" / str(i), kind, **dict(more))
        d = dictionaries.load(source)
        x = 1.5 * torch.randn(N, d.config.d_in, generator=torch.Generator().manual_seed(7))
        codes, y = dense(d, x)
        for library, to in FORMATS.items():
            own = folder / "written" / f"{i}_{to}" / "layers.0"
            own.parent.mkdir(parents=True)
            try:
                write([source], own, to=to)
            except BadInput as error:
                rows.append(Row("written", library, name, None, None, f"refused: {error}"))
                continue
            save_file({"x": x, "codes": codes, "y": y}, own.parent / "known.safetensors")
            jobs.append({"library": library, "case": name, "folder": str(own), "failed": ""})
    return jobs, rows


def loaded(answers: list[dict[str, str]]) -> list[Row]:
    rows = []
    for case in answers:
        if case["failed"]:
            rows.append(Row("written", case["library"], case["case"], None, None, f"it failed: {case['failed']}"))
            continue
        parent = Path(case["folder"]).parent
        known, found = load_file(parent / "known.safetensors"), load_file(parent / "found.safetensors")
        codes, y = (difference(found[name], known[name]) for name in ("codes", "y"))
        rows.append(Row("written", case["library"], case["case"], codes, y))
    return rows


def show(console: Console, rows: list[Row], wrong: list[dict[str, str]]) -> None:
    for direction, title in (("read", "Their files, read here"), ("written", "Our files, read there")):
        table = Table(title=f"{title}: largest difference, relative (bar {BAR:g})")
        for name in ("tool", "case", "codes", "reconstructions", ""):
            table.add_column(name, justify="right" if name in ("codes", "reconstructions") else "left")
        for row in rows:
            if row.direction == direction:
                numbers = ["" if v is None else f"{v:.1e}" for v in (row.codes, row.reconstructions)]
                mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
                table.add_row(row.library, row.case, *numbers, f"{mark} {row.note[:60]}".strip())
        console.print(table)
    judged = [row for row in rows if row.met is not None]
    console.print(
        f"{sum(bool(row.met) for row in judged)} of {len(judged)} met the bar.\n\nLoads that are wrong in the tools:"
    )
    for each in wrong:
        console.print(f"  {each['load']}: {each['gave']}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    parser.add_argument("--peers", type=Path, default=CACHE / "peers", help="virtual environment, made if not there")
    parser.add_argument(
        "--circuit-tracer", type=Path, default=CACHE / "circuit-tracer", help="folder, made if not there"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="only keep the tools' files there, for the tests")
    args = parser.parse_args()
    console = Console(stderr=args.json, width=None if sys.stdout.isatty() else 140)
    python = peers_python(args.peers.absolute())
    beside = circuit_tracer(python, args.circuit_tracer.absolute())
    if args.keep:
        index = ask(python, beside, "keep", args.keep.absolute(), answer="cases.json")
        print(f"{len(index['cases'])} cases of {index['versions']} are in {args.keep}.", file=sys.stderr)
        return
    folder = Path(tempfile.mkdtemp(prefix="physalis-exchange-"))
    try:
        rows = read_theirs(folder, ask(python, beside, "make", folder))
        jobs, refused = write_ours(folder)
        (folder / "job.json").write_text(json.dumps(jobs))
        rows += loaded(ask(python, beside, "load", folder)) + refused
        wrong = ask(python, beside, "wrong", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(console, rows, wrong)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
