"""A tiny model, activations, a dictionary and their evaluation, made once a session on the CPU without a network."""

import numpy as np
import pytest
import torch

from physalis.atlas.building import build_atlas
from physalis.dictionaries import TopKConfig
from physalis.evaluation import evaluate
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training import train

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny():
    return tiny_model()


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """A folder of 20 short files."""
    folder = tmp_path_factory.mktemp("tiny_text")
    rng = np.random.default_rng(0)
    for i in range(20):
        words = rng.choice(["alpha", "beta", "gamma", "delta", "if", "else", "\n"], size=200)
        (folder / f"{i:02d}.txt").write_text(" ".join(words))
    return folder


@pytest.fixture(scope="session")
def tiny_activations(tiny, tiny_text, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny") / "activations"
    site = Site("resid_post", 1)
    return record(tiny, str(tiny_text), [site], [out], tokens=12_000, context=32, shard_rows=2048)[0]


@pytest.fixture(scope="session")
def tiny_dictionary(tiny_activations):
    """The folder of a trained dictionary."""
    out = tiny_activations.folder.parent / "dictionary"
    d = tiny_activations.d
    train(tiny_activations, [TopKConfig(d_in=d, d_out=d, n_features=4 * d, k=4)], [out], batch_size=512)
    return out


@pytest.fixture(scope="session")
def tiny_evaluation(tiny, tiny_activations, tiny_dictionary):
    """The folder of its evaluation."""
    out = tiny_activations.folder.parent / "evaluation"
    evaluate(tiny_dictionary, tiny_activations.folder, tiny, out=out, splice_tokens=320)
    return out


@pytest.fixture(scope="session")
def tiny_atlas(tiny, tiny_activations, tiny_dictionary, tiny_evaluation):
    """The atlas of it all, opened."""
    out = tiny_activations.folder.parent / "atlas"
    return build_atlas(tiny_dictionary, tiny_activations.folder, tiny, out, evaluation=tiny_evaluation)
