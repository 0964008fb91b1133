"""split(): parts that together are the oracle, whose origin is known."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.rasp import histogram, oracle
from physalis.lab.rasp.splitting import split


@pytest.fixture(scope="module")
def known():
    compiled = histogram().compiled()
    return next(found for layer in range(compiled.model.n_layers) if len((found := oracle(compiled, layer)).neurons))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_together_the_parts_write_what_the_features_write(known, noise):
    parts = split(known, 4, noise=noise, seed=1)
    x = torch.randn(50, known.W_enc.shape[1], generator=torch.Generator().manual_seed(0))
    whole = known.dictionary()
    assert torch.allclose(parts.dictionary(x)[0], whole(x)[0], atol=1e-3)
    codes = parts.dictionary.encode(x).dense()
    assert torch.allclose(codes, whole.encode(x).dense()[:, parts.origin], atol=1e-5)
    for feature in range(len(known.neurons)):
        own = parts.origin == feature
        assert int(own.sum()) == 4
        assert torch.allclose(parts.dictionary.writes(own.nonzero()[:, 0]).sum(0), known.W_dec[feature], atol=1e-4)


def test_noise_is_as_long_as_was_asked_for(known):
    parts = split(known, 40, noise=0.5, reads=0.25)
    every = torch.arange(len(parts.origin))
    writes, true = parts.dictionary.writes(every), known.W_dec[parts.origin]
    along = (writes * true).sum(1, keepdim=True) / true.square().sum(1, keepdim=True) * true
    beside = (writes - along).norm(dim=1) / along.norm(dim=1)
    assert 0.4 < float(beside.median()) < 0.6
    read = parts.dictionary.reads(every) - known.W_enc[parts.origin]
    assert torch.allclose(read.norm(dim=1), 0.25 * known.W_enc[parts.origin].norm(dim=1), rtol=1e-4)


def test_the_seed_decides(known):
    assert torch.equal(split(known, seed=3).origin, split(known, seed=3).origin)
    assert not torch.equal(split(known, seed=3).origin, split(known, seed=4).origin)


def test_refused(known):
    for wrong in (dict(copies=0), dict(noise=-1), dict(reads=-0.1)):
        with pytest.raises(BadInput, match="is split into"):
            split(known, **wrong)
