"""The whole product on one screen: a real model, real text, a dictionary, its evaluation, its atlas."""

import time
from pathlib import Path
from typing import NamedTuple

from physalis.atlas import Atlas
from physalis.atlas.building import build_atlas
from physalis.dictionaries import TopKConfig
from physalis.evaluation import evaluate
from physalis.models import load_model
from physalis.recording import record
from physalis.site import Site
from physalis.training import train

SITE = Site("resid_post", 9)


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


def run(out: Path, *, tokens: int = 300_000, text: str = "stdlib", k: int = 32, expansion: int = 8) -> Made:
    """Make everything in ``out``; what an earlier run finished is reused."""
    started = time.monotonic()
    made = Made(out / "activations", out / "dictionary", out / "evaluation", out / "atlas", 0.0)
    model = load_model("smollm2")
    [activations] = record(model, text, [SITE], [made.activations], tokens=tokens)
    config = TopKConfig(d_in=activations.d, d_out=activations.d, n_features=expansion * activations.d, k=k)
    train(activations, [config], [made.dictionary])
    evaluate(made.dictionary, made.activations, model, out=made.evaluation)
    build_atlas(made.dictionary, made.activations, model, made.atlas, evaluation=made.evaluation)
    return made._replace(seconds=time.monotonic() - started)
