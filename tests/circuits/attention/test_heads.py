"""head_loadings: heads and what goes past them sum to the edge at every layer between, in every family."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.circuits import LocalReplacementModel, head_loadings, trace
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("skip", [False, True], ids=["", "skip"])
@pytest.mark.parametrize("name", FAMILIES)
def test_they_sum_to_the_edge(name, skip, tmp_path):
    model = any_model(name)
    transcoders = random_set(model, tmp_path / "set", skip=skip)
    graph = trace(model, transcoders, PROMPT, features=10_000)
    deep = int((graph.layer == 2).nonzero()[0])
    sources = [
        0,
        graph.errors.start + 3,
        graph.errors.start + graph.n_tokens + 2,
        *range(*graph.embeddings.indices(10**9)),
    ]
    for target in (deep, graph.n_features):
        found = head_loadings(graph, model, transcoders, target, sources)
        total = found.heads.sum(-1) + found.past
        wanted = found.edges[:, None].expand_as(total) * found.between
        size = (found.heads.abs().sum(-1) + found.past.abs()).clamp_min(1)
        assert ((total - wanted).abs() / size).max() < 1e-5
        assert found.between[-1].any() and found.heads.abs().max() > 0


def test_what_a_head_carries_is_what_is_lost_without_it(tmp_path):
    """Heads of the last layer taken out of the linear pass one at a time: its share of the edge goes, and no more."""
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=10_000)
    local = LocalReplacementModel.of(model, transcoders, PROMPT)
    at, end = 4, graph.n_features
    found = head_loadings(graph, model, transcoders, end, [graph.embeddings.start + at])
    none = {site: torch.zeros_like(value) for site, value in local.sources().items()}
    alone = {**none, Site("embed"): none[Site("embed")].clone()}
    alone[Site("embed")][0, at] = local.embedded[at]

    def reaches(*heads):
        def without(x):
            for head in heads:
                x[..., head * 8 : head * 8 + 8] = 0
            return x

        ends = [local.run(some, [local.last], {Site("z", 2): without})[local.last][0, -1] for some in (alone, none)]
        return float((ends[0] - ends[1]) @ graph.directions[0] / local.scale[-1])

    assert reaches() == pytest.approx(float(found.edges[0]), abs=1e-4)
    for head in range(4):
        assert reaches() - reaches(head) == pytest.approx(float(found.heads[0, 2, head]), abs=1e-4)
    assert reaches(0, 1, 2, 3) == pytest.approx(float(found.past[0, 2]), abs=1e-4)


def test_refused(tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=20)
    for target, sources in ((10_000, [0]), (0, []), (0, [-1])):
        with pytest.raises(BadInput, match="received row"):
            head_loadings(graph, model, transcoders, target, sources)
