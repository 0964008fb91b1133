"""A tiny model, activations, a dictionary and their evaluation, made once a session on the CPU without a network."""

import re
from collections.abc import Callable, Iterator

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


@pytest.fixture
def browse(chromium) -> Iterator[Callable]:
    """``browse(site, path, width, scheme)``: a page of somebody's own browser; at the end, consoles were silent but for
    ``browse.refusals`` requests that were refused, and no other server was asked. ``chromium`` is the module's."""
    said, strangers, contexts = [], [], []

    def browse_(site: str, path: str, width: int = 1200, scheme: str = "light"):
        size = {"width": width, "height": 900}
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.set_default_timeout(8_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)
        page.goto(site + path)
        page.wait_for_selector("main h1", state="attached")
        return page

    browse_.refusals = 0
    yield browse_
    for context in contexts:
        context.close()
    refused = [line for line in said if re.search(r"Failed to load resource.*\b(403|409)\b", line)]
    assert [line for line in said if line not in refused] == [] and len(refused) == browse_.refusals
    assert strangers == []
