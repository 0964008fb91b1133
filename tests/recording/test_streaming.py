"""Streams: the batches of a recording without the disk, of one site or several, resumed exactly."""

import time
import weakref

import pytest
import torch

from physalis.activations import Pairs
from physalis.models.tiny import tiny_model
from physalis.recording import record, stream
from physalis.recording.streaming import Stream
from physalis.site import Site

SITES = [Site("resid_post", 1), Site("mlp_out", 0), Site("mlp_in", 2)]
SITE = SITES[0]
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def several(model, text, tmp_path_factory):
    """Three sites recorded together."""
    folder = tmp_path_factory.mktemp("several")
    return record(model, text, SITES, [folder / str(site) for site in SITES], **OPTIONS)


@pytest.fixture(scope="module")
def recorded(several):
    return several[0]


def test_a_stream_of_several_sites_gives_the_batches_of_pairs(model, text, several):
    folders = [acts.folder for acts in several]
    for reads, writes in ((3, 0), (1, 2), (2, 1)):
        pairs = Pairs.open(folders[:reads], folders[reads:] or None)
        live = stream(model, text, SITES[:reads], writes=SITES[reads:], **OPTIONS, window=100)
        assert all(torch.equal(a, b) for a, b in zip(live.frame, pairs.frame, strict=True))
        assert live.origin == pairs.origin and (live.d_in, live.d_out) == (pairs.d_in, pairs.d_out)
        assert live.inputs.keys() == pairs.inputs.keys() and live.inputs["model"] == pairs.inputs["model"]
        stored = list(pairs.train.batches(100, seed=5, epochs=2))
        streamed = list(live.train.batches(100, seed=5, epochs=2, start=3))
        assert live.n_batches(100, epochs=2) == len(stored) == len(streamed) + 3
        for a, b in zip(stored[3:], streamed, strict=True):
            assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and (b.y is b.x) == (not writes)


def test_one_window_is_in_memory(model, text, monkeypatch):
    """While the model computes the next one, the last one's rows are gone, as soon as the reader has them."""
    made, shard, late = [], Stream._shard, []

    def watched(self, span):
        if span.number in (2, 4):  # the first of a window
            deadline = time.monotonic() + 20
            while any(rows() is not None for rows in made) and time.monotonic() < deadline:
                time.sleep(0.01)
            late.append(sum(rows() is not None for rows in made))
        found = shard(self, span)
        made.append(weakref.ref(found.x))
        return found

    monkeypatch.setattr(Stream, "_shard", watched)
    live = stream(model, text, [SITE], **OPTIONS, window=2)
    assert len([batch for batch in live.batches(64, seed=0)]) == live.n_batches(64)
    assert late[:2] == [0, 0]


def test_a_stream_gives_as_many_batches_as_it_says(model, text, monkeypatch):
    # Newlines are sinks, more or fewer of them in each window: what the first one promises is not quite what comes.
    run = model.run

    def with_sink(tokens, **kwargs):
        found = run(tokens, **kwargs)
        return {site: torch.where((tokens == ord("\n"))[..., None], 100 * x, x) for site, x in found.items()}

    monkeypatch.setattr(model, "run", with_sink)
    live = stream(model, text, [SITE], **OPTIONS, window=1)
    n = live.n_batches(64, epochs=2)
    whole = [b.x for b in live.batches(64, seed=0, epochs=2)]
    assert len(whole) == n == 2 * live.n_tokens // 64
    assert sum(map(live._count, range(len(live._spans)))) not in (0, live.n_tokens)
    for start in (1, n // 2, n - 1, n):
        fresh = stream(model, text, [SITE], **OPTIONS, window=1)
        rest = [b.x for b in fresh.batches(64, seed=0, epochs=2, start=start)]
        assert len(rest) == n - start and all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_stream_gives_the_batches_of_a_recording(model, text, recorded):
    live = stream(model, text, [SITE], **OPTIONS, window=100)
    assert all(torch.equal(a, b) for a, b in zip(live.frame, recorded.frame, strict=True))
    assert live.hygienes == {SITE: recorded.hygiene} and live.d_in == live.d_out == recorded.d
    assert live.n_tokens == recorded.train.n_tokens and live.origin == recorded.origin
    stored = [b.x for b in recorded.train.batches(100, seed=5, epochs=3)]
    for start in (0, 7, 75, len(stored)):
        streamed = [b.x for b in live.batches(100, seed=5, epochs=3, start=start)]
        assert len(streamed) == len(stored) - start
        assert all(torch.equal(a, b) for a, b in zip(stored[start:], streamed, strict=True))


def test_a_stream_in_windows_gives_the_same_rows(model, text, recorded):
    live = stream(model, text, [SITE], **OPTIONS, window=2)
    rows = torch.cat([b.x for b in live.batches(1, seed=0)]).float()
    stored = torch.cat([r.x for r in recorded.train.ordered(1000)]).float()
    assert torch.equal(rows.unique(dim=0), stored.unique(dim=0)) and len(rows) == len(stored)
    whole = [b.x for b in live.batches(100, seed=0, epochs=2)]
    resumed = [b.x for b in live.batches(100, seed=0, epochs=2, start=25)]
    assert all(torch.equal(a, b) for a, b in zip(whole[25:], resumed, strict=True))
