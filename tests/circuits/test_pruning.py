"""prune(): what influence goes through stays; nothing that leads nowhere does."""

import pytest
import torch
from any_model import PROMPT, random_set
from test_graph import by_hand

from physalis.circuits import prune, trace
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_carries_little_goes():
    """f carries 90 of 100, g 9 and h 1, each from the token."""
    graph = by_hand([[0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [90, 9, 1, 0, 0]], features=[0, 0, 0], errors=1)
    kept = prune(graph, nodes=0.9, edges=1.0)
    assert kept.kept.tolist() == [True, False, False, False, True] and int((kept.edges != 0).sum()) == 2
    every = prune(graph, nodes=1.0, edges=1.0)
    assert every.kept[:3].all() and int((every.edges != 0).sum()) == 6


def test_every_feature_left_is_on_a_path_from_something_to_an_end(tmp_path):
    model = tiny_model()
    graph = trace(model, random_set(model, tmp_path / "set"), PROMPT, features=10_000)
    kept = prune(graph, nodes=0.7, edges=0.9)
    n = graph.n_features
    assert 0 < int(kept.kept[:n].sum()) < n
    live = kept.edges != 0
    assert live[:, :n].any(0)[kept.kept[:n]].all() and live[:n].any(1)[kept.kept[:n]].all()
    assert not live[:, ~kept.kept].any() and not live[:n][~kept.kept[:n]].any()
    assert live[:, kept.errors].any(0)[kept.kept[kept.errors]].all()
    assert torch.equal(kept.edges[live], graph.edges[live])
    assert kept.unaccounted < 1e-4 and kept.left_out_share > graph.left_out_share  # what was pruned is counted
    assert prune(kept, nodes=0.7, edges=0.9).unaccounted < 1e-4


def test_refused():
    with pytest.raises(BadInput, match="share of influence"):
        prune(by_hand([[0, 0, 2], [3, 1, -4]], features=[0]), nodes=0)
