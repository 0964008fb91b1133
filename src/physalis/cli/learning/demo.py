"""The whole product on one screen: a real model, real text, a dictionary, its evaluation, its atlas.

While it is made a browser can watch. All text has to be recorded before a dictionary is trained on it, so one of the
same shape is trained on the beginning of the text first: what it shows after a minute is real, and the real one
replaces it.
"""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

from physalis.artifact import JOB
from physalis.atlas import Atlas
from physalis.atlas.build.building import build_atlas
from physalis.dictionaries import TopKConfig
from physalis.evaluation import evaluate
from physalis.models import load_model
from physalis.recording import record
from physalis.runtime.device import dtype_named
from physalis.site import Site
from physalis.training.training import train

SITE = Site("resid_post", 9)
FIRST_TOKENS, FIRST_EPOCHS = 20_000, 8
"""What the first look is trained on: seconds on a small machine."""
CAUSES = 12
"""Features for which the model is edited: those that the atlas's first page shows."""


class Made(NamedTuple):
    """What the demo made: folders, and how long all of it took."""

    activations: Path
    dictionary: Path
    evaluation: Path
    atlas: Path
    seconds: float

    def record(self) -> dict[str, object]:
        """For ``--json``: where everything is, the seconds it took and the atlas's summary."""
        folders = {name: str(getattr(self, name)) for name in self._fields[:-1]}
        return {"folders": folders, "seconds": self.seconds, **Atlas.open(self.atlas).summary().model_dump()}


def first_look(out: Path) -> Path:
    """Where the first dictionary stands while the demo is made."""
    return out / "first" / "first look"


def run(
    out: Path,
    *,
    tokens: int = 150_000,
    text: str = "stdlib",
    k: int = 32,
    expansion: int = 8,
    device: str | None = None,
    dtype: str | None = None,
) -> Made:
    """Make everything in ``out``; what an earlier run finished is reused. All of it happens on ``device``, the model
    computes in ``dtype``: what the machine does best unless given."""
    started = time.monotonic()
    made = Made(out / "activations", out / "dictionary", out / "evaluation", out / "atlas", 0.0)
    model = load_model("smollm2", device=device, dtype=None if dtype is None else dtype_named(dtype))
    d = model.width(SITE)
    config = TopKConfig(d_in=d, d_out=d, n_features=expansion * d, k=k)
    if tokens > FIRST_TOKENS and not (made.dictionary / JOB).exists():
        first = first_look(out)
        [few] = record(model, text, [SITE], [first.with_name("activations")], tokens=FIRST_TOKENS)
        train(few, [config], [first], epochs=FIRST_EPOCHS, device=device)
    [activations] = record(model, text, [SITE], [made.activations], tokens=tokens)
    train(activations, [config], [made.dictionary], device=device)
    evaluate(made.dictionary, made.activations, model, out=made.evaluation)
    build_atlas(made.dictionary, made.activations, model, made.atlas, evaluation=made.evaluation, causes=CAUSES)
    shutil.rmtree(first_look(out).parent, ignore_errors=True)
    return made._replace(seconds=time.monotonic() - started)
