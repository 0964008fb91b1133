"""group(): known groups are found, by every way and better than by chance; what must not be joined is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_groups import planted_graph

from physalis.circuits import TranscoderSet, trace
from physalis.circuits.supernodes import (
    Likeness,
    Member,
    Supernode,
    Supernodes,
    agreement,
    by_behaviour,
    by_chance,
    by_decoders,
    by_edges,
    group,
    signed_effects,
    together,
)
from physalis.errors import BadInput
from physalis.lab.rasp import dyck1, oracle, two_hop
from physalis.lab.rasp.splitting import split

pytestmark = pytest.mark.usefixtures("one_thread")


def test_groups_that_were_made_by_hand_are_found():
    for seed in range(3):
        graph, true = planted_graph(seed=seed)
        found = group(graph, by_edges(graph), least=0.9)
        assert agreement(found, true, graph) == 1 and found.method == "edges"
        noisy, true = planted_graph(noise=0.3, seed=seed)
        assert agreement(group(noisy, by_edges(noisy)), true, noisy) > 0.7


@pytest.mark.parametrize("make", [dyck1, two_hop], ids=lambda make: make.__name__)
def test_features_that_were_split_are_put_together_again(make, tmp_path):
    """Of a compiled program each feature is three. All three ways together find which; chance, by the same rules of
    what may be joined, finds little."""
    task = make()
    compiled = task.compiled()
    parts = {
        layer: split(oracle(compiled, layer), 3, noise=0.5, reads=0.05, seed=layer)
        for layer in range(compiled.model.n_layers)
    }
    transcoders = TranscoderSet.write(
        tmp_path / "set", compiled.model, {layer: part.dictionary for layer, part in parts.items()}
    )
    first, *rest = (compiled.encode([each])[0].tolist() for each in task.inputs(20))
    graph = trace(compiled.model, transcoders, first)
    known: dict[tuple, list[Member]] = {}
    for member in zip(graph.layer.tolist(), graph.position.tolist(), graph.feature.tolist(), strict=True):
        key = member[0], member[1], int(parts[member[0]].origin[member[2]])
        known.setdefault(key, []).append(Member(*member))
    true = Supernodes(tuple(Supernode(str(key), tuple(own)) for key, own in known.items()))
    ways = [by_edges(graph), by_decoders(graph, transcoders), by_behaviour(graph, compiled.model, transcoders, rest)]
    for way in ways:
        assert agreement(group(graph, way), true, graph) > 0.45
    assert agreement(group(graph, together(*ways)), true, graph) > 0.8
    chance = [agreement(group(graph, by_chance(graph, seed)), true, graph) for seed in range(5)]
    assert abs(np.mean(chance)) < 0.2


def all_alike(graph):
    columns = torch.arange(graph.n_features)
    return Likeness("one", columns, torch.ones(len(columns), len(columns), dtype=torch.float64))


def test_what_is_never_joined():
    """Where all features are alike, position, layers and signs still keep some apart."""
    graph, _ = planted_graph(n_groups=12)
    members = zip(graph.layer.tolist(), graph.position.tolist(), graph.feature.tolist(), strict=True)
    effects = dict(zip(members, signed_effects(graph).tolist(), strict=True))
    found = group(graph, all_alike(graph), span=2)
    assert len(found) > 3
    for _, members in found:
        assert len({member.position for member in members}) == 1
        assert max(member.layer for member in members) - min(member.layer for member in members) <= 2
        signs = {effects[member] > 0 for member in members if abs(effects[member]) > 0.2}
        assert len(signs) <= 1
    wide = group(graph, all_alike(graph), span=9)
    assert max(len({member.layer for member in members}) for _, members in wide) > 3


def test_no_chain_of_neighbours_is_one_group():
    """a is like b, b like c, but a not like c: complete linkage joins two of them."""
    graph, _ = planted_graph(n_groups=1, size=3)
    values = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1, 0.8], [0.1, 0.8, 1]], dtype=torch.float64)
    found = group(graph, Likeness("chain", torch.arange(3), values))
    assert [len(members) for _, members in found] == [2]


def test_the_least_likeness_is_kept_and_the_same_comes_again():
    graph, _ = planted_graph(noise=0.8)
    likeness = by_edges(graph)
    sizes = []
    for least in (0.2, 0.5, 0.8, 1.0):
        found = group(graph, likeness, least=least)
        assert found == group(graph, likeness, least=least)
        for columns in found.columns(graph).values():
            at = torch.searchsorted(likeness.columns, torch.tensor(columns))
            assert float(likeness.values[at][:, at].min()) >= least - 1e-6
        sizes.append(sum(len(members) for _, members in found))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1] == 0


def test_a_scale_of_all_edges_changes_nothing():
    graph, _ = planted_graph(noise=0.3)
    larger = replace(graph, edges=graph.edges * 1000, value=graph.value * 1000)
    assert group(larger, by_edges(larger)) == group(graph, by_edges(graph))


def test_refused():
    graph, _ = planted_graph()
    for wrong in (dict(least=0), dict(least=1.1), dict(span=-1)):
        with pytest.raises(BadInput, match="Members are alike"):
            group(graph, by_edges(graph), **wrong)
