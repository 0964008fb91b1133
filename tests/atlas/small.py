"""A small atlas of random features, written in a moment by the code that writes real ones, and copies of it."""

import importlib.util
import json
import shutil
from pathlib import Path

from tree import ROOT

from physalis import artifact
from physalis.atlas import Atlas

FEATURES = 60
BENCHMARK = ROOT / "benchmarks" / "atlas.py"


def small_atlas(folder: Path, *, seed: int = 0, dictionary: str | None = None) -> Atlas:
    """An atlas at ``folder``. ``dictionary`` is the hash of the one that it says it is of."""
    spec = importlib.util.spec_from_file_location("benchmark_atlas", BENCHMARK)
    assert spec and spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.VOCABULARY = 3000
    benchmark.synthetic_atlas(folder, FEATURES, seed=seed)
    if dictionary is not None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["inputs"]["dictionary"] = dictionary
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return Atlas.open(folder)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def sealed(folder: Path) -> Path:
    """The folder, with the size and hash in its manifest made those of its atlas.db, whatever that is by now."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["facts"]["bytes"] = (folder / "atlas.db").stat().st_size
    manifest["files"]["atlas.db"] = artifact.file_digest(folder / "atlas.db")
    file.write_text(json.dumps(manifest))
    return folder
