"""chance: random_dictionary, a dictionary that has learned nothing: random directions, as many as another has, and as
many of them firing on a token. What is said of the other's features, these should not deserve."""

from dataclasses import asdict
from pathlib import Path

import torch

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.dictionaries import Dictionary, TopK, TopKConfig
from physalis.placement.origin import Recordings, recorded
from physalis.types import Batch

KIND = "dictionary"
ROWS = 8_192
"""Training rows that L0 is counted on, and that the lengths of the codes are fitted to."""


def random_dictionary(
    dictionary: Path | str,
    activations: Recordings,
    out: Path | str,
    *,
    writes: Recordings | None = None,
    seed: int = 0,
) -> Dictionary:
    """Write a TopK dictionary of the same sites with as many features as the one in ``dictionary``, along random
    directions, of which as many fire on each token as of its on average, rounded. It reads what is left without the
    mean, and codes are as long as rebuilds the training rows best. Where the given one reads and writes the same, so
    does this one; a linear path beside the features is not kept.

    It is a baseline of scores, as the model with shuffled weights is (arXiv 2501.17727); that of arXiv 2602.14111,
    which keeps random directions and trains the rest, is ``train(frozen="dec")``. ``activations`` and ``writes`` are as
    for ``evaluate``. Returns the dictionary. Raises BadInput for recordings that do not belong to it.
    """
    out, about = Path(out), artifact.read(Path(dictionary), KIND)
    stored = recorded(about, activations, writes)
    given = dictionaries.load(dictionary)
    n = about.config["dictionary"]["n_features"]
    job = {"random as": about.hash, "inputs": stored.inputs, "seed": seed}
    with artifact.claim(out, KIND, job) as done:
        if done is None:
            made = _made(given, stored, n, seed)
            origin = {key: value for key, value in about.config.items() if key not in NOT_KEPT}
            config = {**origin, "architecture": TopK.__name__, "dictionary": asdict(made.config)}
            inputs = {**stored.inputs, "random as": about.hash}
            manifest = Manifest(kind=KIND, config=config, seed=seed, inputs=inputs)
            artifact.finish(out, manifest, [dictionaries.save(made, out)])
    return dictionaries.load(out)


NOT_KEPT = ("architecture", "dictionary", "training")
"""Of what a manifest says of the given dictionary: the rest is where it belongs."""


@torch.no_grad()
def _made(given: Dictionary, stored: Stored, n: int, seed: int) -> TopK:
    raw = next(stored.train.batches(min(ROWS, stored.train.n_tokens), seed=seed))
    x = raw.x.float()
    batch = stored.frame.apply(Batch(x, x if raw.y is raw.x else raw.y.float()))
    l0 = float((given.encode(x).values > 0).sum(1).float().mean())
    k = min(max(1, round(l0)), n - 1)
    made = TopK(TopKConfig(d_in=stored.d_in, d_out=stored.d_out, n_features=n, k=k))
    made.start_frozen(batch, "dec", seed=seed)
    made.fold(stored.frame)
    return made
