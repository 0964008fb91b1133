"""read_attribution_json: what was written is read again; what the file does not say is NaN; damage is refused."""

import json

import pytest
import torch
from any_model import PROMPT, random_set
from test_graph import by_hand

from physalis.circuits import (
    Difference,
    Graph,
    Supernode,
    Supernodes,
    Tokens,
    attribution_json,
    prune,
    read_attribution_json,
    read_supernodes,
    trace,
)
from physalis.circuits.supernodes import Member, by_edges, group
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    model = tiny_model()
    return trace(model, random_set(model, tmp_path_factory.mktemp("set") / "set", n=80), PROMPT)


def written(graph: Graph, **more) -> dict:
    return json.loads(json.dumps(attribution_json(graph, slug="a", scan=graph.model, **more)))


def test_a_whole_graph_comes_back(graph):
    """Node by node and edge by edge, to the last bit; and what is made of these alone is the same."""
    again = read_attribution_json(written(graph))
    for name in ("layer", "position", "feature", "edges", "tokens", "kept"):
        assert torch.equal(getattr(again, name), getattr(graph, name)), name
    n = graph.n_features
    assert torch.equal(again.value[:n], graph.value[:n])
    assert (again.layers, again.token_strings, again.model) == (graph.layers, graph.token_strings, graph.model)
    assert again.prompt == graph.prompt and again.n_active == n
    assert [(end.name, end.token) for end in again.ends] == [(end.name, end.token) for end in graph.ends]
    assert torch.allclose(again.weights, graph.weights) and again.ends[0].probability == graph.ends[0].probability
    assert again.scores() == pytest.approx(graph.scores())
    assert torch.allclose(again.influence(), graph.influence())
    assert group(again, by_edges(again)).groups == group(graph, by_edges(graph)).groups
    assert [node["node_id"] for node in written(again)["nodes"]] == [
        node["node_id"] for node in written(graph)["nodes"]
    ]
    assert written(again)["links"] == written(graph)["links"]


def test_a_pruned_graph_comes_back_as_far_as_it_is_written(graph):
    kept = prune(graph)
    again = read_attribution_json(written(kept))
    names = {kept.node(i) for i in kept.kept.nonzero()[:, 0].tolist()}
    assert {again.node(i) for i in again.kept.nonzero()[:, 0].tolist()} == names
    edges = [
        {
            (each.node(int(column)), each.node(int(row)) if row < each.n_features else int(row) - each.n_features):
            float(each.edges[row, column]) for row, column in each.edges.nonzero()
        } for each in (kept, again)
    ]  # fmt: skip
    assert edges[0] == edges[1] and len(edges[0]) > 100
    assert again.scores() == pytest.approx(kept.scores(), abs=1e-5)
    assert int(again.kept.sum()) == int(kept.kept.sum()) < len(again.kept)


def test_what_the_file_does_not_say_is_no_number(graph, tmp_path):
    again = read_attribution_json(written(graph))
    n = again.n_features
    for value in (again.bias, again.left_out, again.left_out_size, again.value[n:]):
        assert bool(value.isnan().all())
    assert again.unaccounted != again.unaccounted and again.left_out_share != again.left_out_share
    assert again.directions.shape == (len(again.ends), 0)
    without = written(graph)
    for node in without["nodes"]:
        node["activation"] = None
    with pytest.raises(BadInput, match="codes are"):
        blind = read_attribution_json(without)
        group(blind, by_edges(blind))


def test_other_ends(graph, tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set", n=80)
    for targets in (Difference(200, 85), Tokens((200, 85))):
        own = trace(model, transcoders, PROMPT, targets=targets, features=30)
        again = read_attribution_json(written(own))
        assert [end.token for end in again.ends] == [end.token for end in own.ends]
        assert [end.name for end in again.ends] == [end.name for end in own.ends]
        assert [end.weight for end in again.ends] == pytest.approx([end.weight for end in own.ends])


def test_supernodes_come_back(graph, tmp_path):
    groups = group(graph, by_edges(graph), least=0.3)
    assert len(groups) > 3
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(attribution_json(graph, slug="a", scan="tiny", supernodes=groups)))
    assert read_supernodes(path).groups == groups.groups
    assert read_attribution_json(path).n_features == graph.n_features
    said = written(graph)
    assert read_supernodes(said) == Supernodes((), "read from The graph")
    first, second = (f"{graph.layer[i]}_{graph.feature[i]}_{graph.position[i]}" for i in (0, 1))
    error, token = said["nodes"][graph.n_features]["node_id"], said["nodes"][-len(graph.ends) - 1]["node_id"]
    said["qParams"]["supernodes"] = [
        ["say it", first, token],
        ["say it", second],
        ["tokens", token, error],
        ["x" * 999, f"{graph.layer[2]}_{graph.feature[2]}_{graph.position[2]}"],
    ]
    members = [Member(int(graph.layer[i]), int(graph.position[i]), int(graph.feature[i])) for i in (0, 1)]
    assert read_supernodes(said).groups[:2] == (
        Supernode("say it", (members[0],)), Supernode("say it #2", (members[1],)),
    )  # fmt: skip
    assert len(read_supernodes(said).groups[2].name) <= 200


HAND = by_hand([[0, 0, 0, 0, 1], [5, 0, 0, 0, 0], [0, 2, 0, 1, 0]], features=[0, 1], errors=2, layers=(0, 1))


def test_as_circuit_tracer_writes_it():
    """A file with as little as their schema demands, and an error's id as they have it."""
    said = {
        "metadata": {"slug": "s", "scan": "gemma", "prompt_tokens": ["<bos>", "A"], "prompt": "A"},
        "nodes": [
            {"node_id": "1_41_1", "feature": 905, "layer": "1", "ctx_idx": 1, "clerp": "", "jsNodeId": "1_41-0",
             "feature_type": "cross layer transcoder"},
            {"node_id": "0_2_0", "feature": -1, "layer": "2", "ctx_idx": 0, "clerp": "", "jsNodeId": "2_0-0",
             "feature_type": "mlp reconstruction error"},
            {"node_id": "E_9_1", "feature": 1, "layer": "E", "ctx_idx": 1, "clerp": 'Emb: "A"', "jsNodeId": "E_9-1",
             "feature_type": "embedding"},
            {"node_id": "5_4211_1", "feature": 4211, "layer": "5", "ctx_idx": 1, "clerp": 'Output " B" (p=0.250)',
             "jsNodeId": "L_4211-1", "feature_type": "logit", "token_prob": 0.25},
        ],
        "links": [
            {"source": "E_9_1", "target": "1_41_1", "weight": 2},
            {"source": "0_2_0", "target": "5_4211_1", "weight": -1},
            {"source": "1_41_1", "target": "5_4211_1", "weight": 0.5},
        ],
    }  # fmt: skip
    graph = read_attribution_json(said)
    assert graph.layers == (0, 1, 2, 3) and graph.tokens.tolist() == [-1, 9]
    assert graph.ends[0] == (" B", 4211, 0.25, 1.0)
    assert graph.edges[0, graph.embeddings][1] == 2 and graph.edges[1, 0] == 0.5
    assert graph.edges[1, graph.errors].view(4, 2)[2, 0] == -1
    assert bool(graph.value[0].isnan()) and float(graph.influence()[0]) == pytest.approx(1 / 3)


def spoilt(change) -> dict:
    said = written(HAND)
    change(said)
    return said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("nodes"), "nodes are no list"),
        (lambda s: s.pop("metadata"), "metadata are no table"),
        (lambda s: s["metadata"].pop("prompt_tokens"), "prompt_tokens are no list"),
        (lambda s: s.update(links=3), "links are no list"),
        (lambda s: s["nodes"].append(3), "is no text"),
        (lambda s: s["nodes"].append(dict(s["nodes"][0])), "two nodes with the id"),
        (lambda s: s["nodes"][0].update(ctx_idx=1), "at position 1"),
        (lambda s: s["nodes"][0].update(node_id="x"), "cannot be read"),
        (lambda s: s["nodes"][0].update(feature_type="lorsa"), "type 'lorsa'"),
        (lambda s: s["nodes"].pop(), "ends in nothing"),
        (lambda s: s["links"][0].update(source="9_9_9"), "an edge from '9_9_9'"),
        (lambda s: s["links"][0].update(target="E_0_0"), "an edge from"),
        (lambda s: s["links"][0].update(weight="1"), "of weight 1"),
        (lambda s: s["links"][0].update(weight=float("nan")), "of weight nan"),
        (lambda s: s["links"].append({"source": "1_1_0", "target": "0_0_0", "weight": 1}), "no later layer"),
        (lambda s: s["nodes"][0].update(node_id="999999999_0_0"), "more than memory"),
    ],
)  # fmt: skip
def test_damage_is_refused(change, says):
    with pytest.raises(BadInput, match=says):
        read_attribution_json(spoilt(change))


def test_what_is_no_graph(tmp_path):
    (tmp_path / "a").write_text("[1]")
    with pytest.raises(BadInput, match="is no graph"):
        read_attribution_json(tmp_path / "a")
    with pytest.raises(BadInput, match="no list of a label and ids"):
        read_supernodes(spoilt(lambda said: said["qParams"].update(supernodes=[[3]])))
    with pytest.raises(BadInput, match="supernodes are no list"):
        read_supernodes(spoilt(lambda said: said["qParams"].update(supernodes="x")))
    assert read_attribution_json(spoilt(lambda said: said.pop("qParams"))).n_features == 2
    assert not read_supernodes(spoilt(lambda said: said.pop("qParams")))
