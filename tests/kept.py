"""Dictionaries of the tiny model that were trained once and are kept as files.

What is trained on the spot differs from one kind of processor to another, and so would what pages have to show. Made
anew by ``python tests/kept.py`` where a test wants others; nothing else may change them.
"""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from physalis import artifact
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.dictionaries import WEIGHTS, TopKConfig
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training import history
from physalis.training.training import LAST_FIRED, train

KEPT = Path(__file__).parent / "kept"
FILES = (WEIGHTS, history.METRICS, LAST_FIRED)
WIDTHS = {"narrow": 2, "middle": 4, "wide": 8}
"""Features for each dimension of the site."""
SAID = "training.json"


def config_of(name: str, d: int) -> TopKConfig:
    return TopKConfig(d_in=d, d_out=d, n_features=WIDTHS[name] * d, k=4)


def write_kept(name: str, activations: Activations, out: Path) -> Path:
    """The kept dictionary as ``train`` would have written it after these activations."""
    said = json.loads((KEPT / name / SAID).read_text())
    config = asdict(config_of(name, activations.d))
    job = {
        "architecture": "TopK", "dictionary": config, "training": said["training"], "inputs": activations.inputs,
        "seed": 0,
    }  # fmt: skip
    with artifact.claim(out, "dictionary", job):
        for file in FILES:
            shutil.copyfile(KEPT / name / file, out / file)
        told = {key: job[key] for key in ("architecture", "dictionary", "training")} | activations.origin
        manifest = Manifest(kind="dictionary", config=told, seed=0, inputs=activations.inputs, facts=said["facts"])
        artifact.finish(out, manifest, list(FILES))
    return out


def write_text(folder: Path, words: int = 200) -> Path:
    """20 short files."""
    rng = np.random.default_rng(0)
    for i in range(20):
        drawn = rng.choice(["alpha", "beta", "gamma", "delta", "if", "else", "\n"], size=words)
        (folder / f"{i:02d}.txt").write_text(" ".join(drawn))
    return folder


def record_text(model, text: Path, out: Path) -> Activations:
    site = Site("resid_post", 1)
    return record(model, str(text), [site], [out], tokens=12_000, context=32, shard_rows=2048)[0]


def make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text")
        text.mkdir()
        activations = record_text(tiny_model(), write_text(text), Path(folder, "activations"))
        for name in WIDTHS:
            out = Path(folder, name)
            train(activations, [config_of(name, activations.d)], [out], batch_size=512)
            (KEPT / name).mkdir(parents=True, exist_ok=True)
            for file in FILES:
                shutil.copyfile(out / file, KEPT / name / file)
            about = artifact.read(out, "dictionary")
            artifact.write_json(KEPT / name / SAID, {"training": about.config["training"], "facts": about.facts})


if __name__ == "__main__":
    make()
