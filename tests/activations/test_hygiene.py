"""Numbers that a recording must not lose or take: what is no number, and what varies about a large mean."""

import numpy as np
import pytest
import torch

from physalis.activations import Pairs
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.placement.encoding import encoded
from physalis.recording import record, stream
from physalis.search.reading import Reader
from physalis.site import Site
from physalis.training.training import train

SITE = Site("resid_post", 1)
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    return tiny_model()


def test_activations_that_are_no_numbers_are_refused(text, tmp_path):
    broken = tiny_model()
    broken.hf.embed.weight.fill_(torch.nan)
    with pytest.raises(BadInput, match=r"248 of 256 positions .* are not finite numbers .*more than 0.1%.*in float32"):
        record(broken, text, [SITE], [tmp_path], **OPTIONS)


def overflowing(model, monkeypatch, wrong):
    """The model, with infinite activations where ``wrong``, a number of each token, says so."""
    run = model.run

    def with_holes(tokens, **kwargs):
        return {s: torch.where(wrong(tokens)[..., None], torch.inf, x) for s, x in run(tokens, **kwargs).items()}

    monkeypatch.setattr(model, "run", with_holes)


def test_many_positions_that_are_no_numbers_stop_a_recording(model, text, tmp_path, monkeypatch):
    overflowing(model, monkeypatch, lambda tokens: tokens == ord("e"))
    with pytest.raises(BadInput, match="are not finite numbers"):
        record(model, text, [SITE], [tmp_path / "pilot"], **OPTIONS)
    monkeypatch.undo()
    seen = []
    overflowing(model, monkeypatch, lambda tokens: (tokens == ord("e")) & bool(seen.append(0) or len(seen) > 5))
    with pytest.raises(BadInput, match=r"of 640 positions the activations of tiny at L1.resid_post are not finite"):
        record(model, text, [SITE], [tmp_path / "later"], **OPTIONS)


def test_a_few_positions_that_are_no_numbers_are_counted_and_named(model, text, tmp_path, monkeypatch, capsys):
    overflowing(model, monkeypatch, lambda tokens: (tokens == ord("p")) & (torch.arange(tokens.shape[1]) == 5))
    found = record(model, text, [SITE], [tmp_path], **OPTIONS)[0]
    wrong = int((found.tokens[found.contexts][:, 5] == ord("p")).sum())
    assert found.manifest.facts["dropped"] == {"bos": 200, "sink": 0, "not_finite": wrong} and wrong > 3
    assert f"{wrong} positions were left out because their activations at L1.resid_post are" in capsys.readouterr().err
    assert all(rows.x.isfinite().all() for rows in found.ordered(1000))


def test_a_dimension_with_a_large_mean_keeps_what_varies_in_it(model, text, tmp_path, monkeypatch):
    run, far = model.run, torch.zeros(32)
    far[7] = 3e4

    def shifted(tokens, **kwargs):
        spread = torch.ones(32)
        spread[7] = 0.45 / run(tokens, **kwargs)[SITE][..., 7].std()
        return {site: x * spread + far for site, x in run(tokens, **kwargs).items()}

    monkeypatch.setattr(model, "run", shifted)
    acts = record(model, text, [SITE], [tmp_path / "acts"], **OPTIONS)[0]
    truth = shifted(torch.from_numpy(np.array(acts.tokens[:8], np.int64)), read=[SITE])[SITE][:, 1:]
    rows = list(acts.train.ordered(1000))
    x = torch.cat([r.x for r in rows])
    assert x.dtype == torch.float32 and acts.mean[7] == pytest.approx(3e4, abs=1)
    assert x[:, 7].std() == pytest.approx(0.45, rel=0.2) and len(x[:, 7].unique()) > 200
    assert (x[:, 7].std() / truth[..., 7].std()).log().abs() < 0.3
    for part in (acts, Pairs.open([tmp_path / "acts"]), stream(model, text, [SITE], **OPTIONS, window=100)):
        batch = part.frame.apply(next(part.train.batches(2000, seed=0)))
        assert batch.x.square().mean() == pytest.approx(1, rel=0.1) and batch.x[:, 7].std() > 0
        assert torch.equal(part.frame.mean_in, acts.frame.mean_in)
    made = train(acts, [TopKConfig(d_in=32, d_out=32, n_features=128, k=8)], [tmp_path / "d"], batch_size=512, epochs=6)
    left = total = 0.0
    for part in encoded(made[0], acts.held_out):
        wrong = made[0].rebuild(part.x, part.codes) - part.y
        left, total = left + wrong[:, 7].square().sum(), total + (part.y - acts.mean)[:, 7].square().sum()
    assert left / total < 0.7, "what varies there is learned, not lost"
    reader = Reader.open(tmp_path / "d", model)
    (read,) = reader.read(["alpha beta gamma"])
    ids = torch.tensor([read.ids])
    own = acts.hygiene.rounded(shifted(ids, read=[SITE])[SITE])[0, 1:]
    assert torch.allclose(made[0].encode(own).values.sum(1), read.codes.values[1:].sum(1), rtol=1e-3)
