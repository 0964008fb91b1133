"""Artefacts as physalis 0.1 wrote them, one of each kind, kept as files: whatever is written later, these must open.

``python tests/earlier.py`` writes those of the present version into ``tests/earlier/VERSION``, once, when it is
released; nothing changes what an older version wrote.
"""

import shutil
import tempfile
from pathlib import Path

from kept import write_kept, write_text

import physalis
from physalis.artifact import LOCK
from physalis.atlas import Atlas
from physalis.atlas.build.building import build_atlas
from physalis.comparing.comparison import compare
from physalis.comparing.growing import grow
from physalis.evaluation import evaluate
from physalis.lab import Recipe, World
from physalis.models.tiny import tiny_model
from physalis.people.notes import Notes, beside
from physalis.recording import record
from physalis.site import Site
from physalis.sweeping import sweep

EARLIER = Path(__file__).parent / "earlier"
TOKENS, CONTEXT = 1_500, 32


def write_all(out: Path) -> None:
    """One artefact of each kind below ``out``, each made of the ones before it."""
    model = tiny_model()
    with tempfile.TemporaryDirectory() as folder:
        text = write_text(Path(folder), words=40)
        [acts] = record(
            model, str(text), [Site("resid_post", 1)], [out / "activations"], tokens=TOKENS, context=CONTEXT,
            held_out=0.3,
        )  # fmt: skip
    pair = [write_kept(name, acts, out / name) for name in ("narrow", "middle")]
    evaluate(pair[0], acts.folder, model, out=out / "evaluation", splice_tokens=320)
    build_atlas(pair[0], acts.folder, model, out / "atlas", evaluation=out / "evaluation", causes=4)
    compare(*pair, acts.folder, out=out / "comparison")
    grow(pair, acts.folder, out=out / "tree", rate=0.8, least=0.3)
    sweep(acts, out / "sweep", architectures=["topk"], ks=[2, 4], widths=[40], batch_size=256)
    World.make(Recipe(d=8, n_features=16, n_roots=2, branching=2, depth=2, rank=4)).save(out / "world")
    write_notes(out / "atlas")
    for lock in out.rglob(LOCK):
        lock.unlink()


def write_notes(folder: Path) -> None:
    """A label, a note and a list beside the atlas."""
    atlas = Atlas.open(folder)
    notes = Notes.open(beside(folder), atlas=atlas.manifest.hash)
    notes.label(0, "the word if", author="Ada")
    notes.note(1, "See feature 0.", author="Ben")
    notes.make_list("Words", author="Ada", features=[0, 1])
    notes.close()


if __name__ == "__main__":
    where = EARLIER / physalis.__version__
    shutil.rmtree(where, ignore_errors=True)
    write_all(where)
