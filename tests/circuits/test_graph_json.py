"""graph_json: the layout that circuit-tracer's pages read, every id of one node, every link between nodes."""

import json

import pytest
import torch
from any_model import PROMPT, random_set
from test_graph import by_hand

from physalis.circuits import Difference, Supernode, Supernodes, attribution_json, prune, trace
from physalis.circuits.graph_json import cantor
from physalis.circuits.supernodes import Member
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
REQUIRED = {
    "metadata": {"slug", "scan", "prompt_tokens", "prompt"},
    "nodes": {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"},
    "links": {"source", "target", "weight"},
}
"""What their schema demands."""


def test_by_hand():
    """One feature, its layer's error, one token, one logit: ids as their page has them."""
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    said = json.loads(json.dumps(attribution_json(graph, slug="one", scan="none")))
    assert [node["node_id"] for node in said["nodes"]] == ["0_0_0", "0_0_0_error", "E_0_0", "2_1_0"]
    assert [node["feature_type"] for node in said["nodes"]] == [
        "cross layer transcoder", "mlp reconstruction error", "embedding", "logit",
    ]  # fmt: skip
    assert {(link["source"], link["target"], link["weight"]) for link in said["links"]} == {
        ("E_0_0", "0_0_0", 2.0), ("0_0_0", "2_1_0", 3.0), ("0_0_0_error", "2_1_0", 1.0), ("E_0_0", "2_1_0", -4.0),
    }  # fmt: skip
    # The token has 7/8 of all influence, the feature 3/8, the error 1/8: shares are of what all with as much hold.
    shares = {node["node_id"]: node["influence"] for node in said["nodes"] if node["influence"] is not None}
    assert shares == pytest.approx({"E_0_0": 7 / 11, "0_0_0": 10 / 11, "0_0_0_error": 1.0})
    assert said["nodes"][3]["clerp"] == 'Output "b" (p=1.000)' and said["nodes"][3]["is_target_logit"]


def test_a_real_one_is_whole(tmp_path):
    model = tiny_model()
    graph = prune(trace(model, random_set(model, tmp_path / "set", n=80), PROMPT))
    columns = graph.kept[: graph.n_features].nonzero()[:3, 0].tolist()
    members = [Member(int(graph.layer[i]), int(graph.position[i]), int(graph.feature[i])) for i in columns]
    group = Supernodes((Supernode("some", tuple(members)),))
    said = attribution_json(graph, slug="real-1", scan="tiny", supernodes=group)
    names = [node["node_id"] for node in said["nodes"]]
    assert len(set(names)) == len(names) == int(graph.kept.sum()) + len(graph.ends)
    assert {link["source"] for link in said["links"]} | {link["target"] for link in said["links"]} <= set(names)
    assert len(said["links"]) == int((graph.edges != 0).sum())
    assert REQUIRED["metadata"] <= set(said["metadata"])
    for part in ("nodes", "links"):
        assert all(REQUIRED[part] <= set(each) for each in said[part])
    [[label, *members]] = said["qParams"]["supernodes"]
    assert label == "some" and len(members) == 3 and set(members) <= set(names)
    json.dumps(said, allow_nan=False)


def test_an_end_that_is_no_token(tmp_path):
    model = tiny_model()
    graph = trace(model, random_set(model, tmp_path / "set"), PROMPT, targets=Difference(200, 85), features=20)
    end = attribution_json(graph, slug="d", scan="tiny")["nodes"][-1]
    assert end["feature"] >= model.vocab_size and "rather than" in end["clerp"]


def test_pairs_are_cantors():
    assert [cantor(0, 0), cantor(1, 0), cantor(0, 1), cantor(3, 41)] == [0, 1, 2, 1031]
    assert len({cantor(x, y) for x in range(30) for y in range(30)}) == 900


def test_refused():
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    for slug in ("", "a b", "../x"):
        with pytest.raises(BadInput, match="A slug has"):
            attribution_json(graph, slug=slug, scan="none")
    with pytest.raises(BadInput, match="which is no feature"):
        other = Supernodes((Supernode("x", (Member(0, 0, 7),)),))
        attribution_json(graph, slug="a", scan="none", supernodes=other)
    gone = graph.kept_only(torch.tensor([False, True, True]), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(BadInput, match="was pruned from it"):
        own = Supernodes((Supernode("x", (Member(0, 0, 0),)),))
        attribution_json(gone, slug="a", scan="none", supernodes=own)
