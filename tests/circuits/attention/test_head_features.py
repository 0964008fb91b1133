"""moved_features, compared_features: the pairs with the largest products of all, and planted ones the first."""

import pytest
import torch
from any_model import FAMILIES, any_model, random_set

from physalis.circuits import Head, TranscoderSet, compared_features, moved_features, ov_circuits, qk_circuits
from physalis.circuits.attention import head_features
from physalis.dictionaries import TopK, TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
HEAD = Head(1, 2)


def directions(transcoders, layer, of):
    rows = getattr(transcoders[layer], of)(torch.arange(40)).float()
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.parametrize("block", [7, 2048])
def test_pairs_are_the_best_of_all(block, tmp_path, monkeypatch):
    """However few are looked at at once. Of a model whose norms have a gain of 1."""
    monkeypatch.setattr(head_features, "BLOCK", block)
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    found = moved_features(model, transcoders, HEAD, n=9)
    matrix = ov_circuits(model, [1])[HEAD].matrix()
    writes = directions(transcoders, 0, "writes")
    reads = torch.cat([directions(transcoders, layer, "reads") for layer in (1, 2)])
    table = writes @ matrix @ reads.T
    wanted = table.abs().flatten().topk(9).values
    assert [abs(pair.value) for pair in found.pairs] == pytest.approx(wanted.tolist(), rel=1e-4)
    for (layer, i), (later, j), value in found.pairs:
        assert layer == 0 and value == pytest.approx(float(table[i, (later - 1) * 40 + j]), abs=1e-5)
    lengths = (writes @ matrix).norm(dim=1)
    assert [each.length for each in found.moved] == pytest.approx(lengths.topk(9).values.tolist(), rel=1e-4)
    assert found.compared == 40 * 80 and found.by_chance > 0 and found.moved_by_chance > 0

    compared = compared_features(model, transcoders, Head(2, 2), n=4)
    both = torch.cat([writes, directions(transcoders, 1, "writes")])
    table = both @ qk_circuits(model, [2])[Head(2, 2)].matrix() @ both.T
    assert [abs(pair.value) for pair in compared.pairs] == pytest.approx(
        table.abs().flatten().topk(4).values.tolist(), rel=1e-4
    )
    (layer, i), (other, j), value = compared.pairs[0]
    assert value == pytest.approx(float(table[layer * 40 + i, other * 40 + j]), abs=1e-5)
    assert compared.moved == ()


def test_a_planted_pair_is_first_and_beyond_chance(tmp_path):
    """One feature writes what the head takes along best, a later one reads what it makes of it."""
    model = tiny_model()
    circuit = ov_circuits(model, [1])[HEAD].matrix()
    u, s, v = torch.linalg.svd(circuit)
    given = {}
    for layer in range(3):
        given[layer] = TopK(TopKConfig(d_in=32, d_out=32, n_features=40, k=4))
        random = torch.Generator().manual_seed(layer)
        for weight in (given[layer].enc, given[layer].dec):
            weight.data.copy_(torch.nn.functional.normalize(torch.randn(weight.shape, generator=random), dim=1))
    given[0].dec.data[17], given[2].enc.data[5] = u[:, 0], -v[0]
    for each in given.values():
        each.enc.refresh()
        each.dec.refresh()
    found = moved_features(model, TranscoderSet.write(tmp_path / "set", model, given), HEAD, n=3)
    assert str(found.moved[0].feature) == "L0.17" and found.moved[0].length > found.moved_by_chance
    source, target, value = found.pairs[0]
    assert (str(source), str(target)) == ("L0.17", "L2.5")
    assert value == pytest.approx(-float(s[0]), rel=1e-3) and abs(value) > found.by_chance


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, tmp_path):
    model = any_model(name)
    transcoders = random_set(model, tmp_path / "set")
    found = moved_features(model, transcoders, HEAD, n=5, drawn=64)
    beside = name in ("gpt_neox", "phi")
    assert len(found.pairs) == 5 and found.compared == 40 * (40 if beside else 80)
    if name not in ("qwen3", "gemma3_text"):
        near, far = (compared_features(model, transcoders, HEAD, offset=offset, drawn=64) for offset in (1, 5))
        turns = name not in ("gpt2", "tiny")  # rotary positions: another offset is another matrix
        assert (abs(near.pairs[0].value - far.pairs[0].value) > 1e-6) == turns


def test_refused(tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    for function in (moved_features, compared_features):
        with pytest.raises(BadInput, match="layer before"):
            function(model, transcoders, Head(0, 1))
        with pytest.raises(BadInput, match="heads 0 to 3"):
            function(model, transcoders, Head(1, 4))
        with pytest.raises(BadInput, match="At least 1 direction"):
            function(model, transcoders, HEAD, drawn=0)
        with pytest.raises(BadInput, match="is listed"):
            function(model, transcoders, HEAD, n=0)
    first = TranscoderSet.write(tmp_path / "first", model, {0: transcoders[0]})
    with pytest.raises(BadInput, match="nothing to tell"):
        moved_features(model, first, HEAD)
    with pytest.raises(BadInput, match="tiny"):
        moved_features(tiny_model(seed=1), transcoders, HEAD)
