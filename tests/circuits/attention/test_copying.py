"""copying_scores: 1 for a head that hands tokens on as they are, -1 for one that turns them round, near 0 by chance."""

import pytest
import torch
from any_model import FAMILIES, any_model
from torch.nn.functional import normalize

from physalis.circuits import Circuit, Head, copying_scores
from physalis.circuits.attention.copying import positive_share
from physalis.errors import BadInput
from physalis.models.tiny import TinyConfig, tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")
EMBED = Site("embed")


@pytest.fixture(scope="module")
def planted():
    """One head a layer, as wide as the stream: it copies, it turns round, it is left to chance. Tokens are spoken for
    by the direction in which they stand."""
    model = tiny_model(config=TinyConfig(n_heads=1))
    model.hf.embed.weight.data = normalize(model.hf.embed.weight.data, dim=1)
    model.hf.unembed.weight.data = model.hf.embed.weight.data.clone()
    for layer, sign in ((0, 1.0), (1, -1.0)):
        attention = model.hf.blocks[layer].attn
        attention.qkv.weight.data[64:] = torch.eye(32)
        attention.out.weight.data = sign * torch.eye(32)
    return model


def test_planted_heads(planted):
    found = copying_scores(planted, tokens=100, embedded=EMBED)
    assert found.eigenvalues[0, 0] == pytest.approx(1, abs=1e-4)
    assert found.eigenvalues[1, 0] == pytest.approx(-1, abs=1e-4)
    assert abs(float(found.eigenvalues[2, 0])) < 0.5
    assert found.copied[:, 0].tolist()[:2] == [1, 0] and found.suppressed[:, 0].tolist()[:2] == [0, 1]
    assert found.copied[2, 0] < 0.2
    assert found.by_chance[0] < 0 < found.by_chance[1] < 0.5
    best = found.top(found.copied, 1)[0]
    assert best.head == Head(0, 0) and best.score["low"] > 0.95 and best.score["high"] == pytest.approx(1)
    assert found.record(1)["suppressed"][0]["head"] == "L1.H0"
    assert found.record(1)["chance"] == pytest.approx(5 / found.vocabulary)


def test_the_eigenvalues_are_those_of_the_whole_table(planted):
    """Of tokens by tokens, which is never made but here."""
    rows, out = planted.hf.embed.weight, planted.unembedding()
    circuit = Circuit(torch.randn(32, 6), torch.randn(6, 32))
    ids = planted.known_ids
    e, u = rows[ids] - rows[ids].mean(0), out[ids] - out[ids].mean(0)
    whole = torch.linalg.eigvals((e @ circuit.matrix() @ u.T).double())
    wanted = float(whole.real.sum() / whole.abs().sum())
    assert positive_share(circuit, u.T @ e) == pytest.approx(wanted, abs=1e-3)


def test_positions_and_what_all_tokens_share_count_for_nothing(planted):
    first = copying_scores(planted, tokens=50, embedded=EMBED)
    planted.hf.positions.weight.data += 3.0
    again = copying_scores(planted, tokens=50, embedded=EMBED)
    planted.hf.positions.weight.data -= 3.0
    assert torch.allclose(first.eigenvalues, again.eigenvalues, atol=1e-3)
    assert torch.allclose(first.copied[:2], again.copied[:2])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name):
    found = copying_scores(any_model(name), tokens=20, draws=20)
    assert found.eigenvalues.shape == found.copied.shape == found.suppressed.shape == (3, 4)
    assert (found.eigenvalues.abs() <= 1.0001).all() and found.eigenvalues.abs().max() > 0
    assert (found.copied + found.suppressed <= 1).all()


def test_refused(planted):
    for wrong, said in ((dict(k=0), "k is from 1"), (dict(tokens=10_000), "received 10000"), (dict(draws=0), "draws")):
        with pytest.raises(BadInput, match=said):
            copying_scores(planted, **wrong)
    with pytest.raises(BadInput, match="At least 1 head"):
        found = copying_scores(planted, tokens=5, draws=5)
        found.top(found.copied, 0)
