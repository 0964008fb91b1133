"""What a right hypothesis keeps is all, a wrong one loses it, and one that says nothing keeps no more than chance."""

import pytest
import torch
from made_models import induction_pair

from physalis.errors import BadInput
from physalis.lab.compiled import KNOWN, Words, known_transformer
from physalis.models import tiny_model
from physalis.patching import Along, LogitDifference, Node, all_different, graph_nodes, heads, scrub
from physalis.site import Site


@pytest.fixture(scope="module")
def induction():
    pair, metric = induction_pair()
    return pair.model, torch.cat([pair.clean, pair.corrupted]), metric


def test_the_nodes_of_induction_keep_all(induction):
    model, contexts, metric = induction
    nodes = graph_nodes(model)
    circuit = [nodes[0], heads(model, 0)[0], nodes[5], heads(model, 1)[3], nodes[10]]
    whole = all_different(contexts)
    found = scrub(model, contexts, metric, dict.fromkeys(circuit, whole), nodes)
    torch.testing.assert_close(found.model, torch.tensor([1.0, 1, 1, 0, 0, 0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scrubbed, found.model.expand_as(found.scrubbed), atol=1e-3, rtol=0)


def test_nothing_said_keeps_chance(induction):
    model, contexts, metric = induction
    found = scrub(
        model, contexts, _Signed(metric, torch.tensor([1.0, 1, 1, -1, -1, -1])), {}, graph_nodes(model), draws=32
    )
    assert abs(found.recovered) < 0.3


def words(texts):
    tokenizer = Words(["self", "import", "a", "b", "c", "."])
    return known_transformer(tokenizer), torch.tensor(tokenizer(texts)["input_ids"])


def test_labels_say_what_may_stand_for_each_other():
    """Of the occurrences of "self" none differs from another, whatever stands before."""
    model, contexts = words(["a.self", "b.self", "c.self", "a.b", "b.c", "c.a"])
    direction = torch.zeros(model.d_model)
    direction[[known.name for known in KNOWN].index("self")] = 1.0
    # positive and negative contexts are told apart by the sign of the metric's worth
    metric = _Signed(Along(Site("resid_post", 1), direction), torch.tensor([1.0, 1, 1, -1, -1, -1]))
    nodes = graph_nodes(model)
    right = torch.tensor([1, 1, 1, 0, 0, 0])
    mlp = Node(Site("mlp_out", 0))
    found = scrub(model, contexts, metric, {mlp: right}, nodes, seed=1)
    assert found.recovered == pytest.approx(1, abs=1e-3)
    wrong = scrub(model, contexts, metric, {mlp: torch.tensor([0, 1, 0, 0, 1, 0])}, nodes, seed=1)
    assert wrong.recovered < 0.6
    other = scrub(model, contexts, metric, {heads(model, 0)[0]: right}, nodes, draws=32, seed=1)
    assert abs(other.recovered) < 0.3
    assert "recovered, 16 draws of 6 contexts" in repr(found)


class _Signed:
    def __init__(self, metric, signs):
        self.metric, self.signs = metric, signs
        self.site, self.position = metric.site, metric.position

    def __call__(self, x):
        return self.metric(x) * self.signs


def test_the_same_seed_draws_the_same(induction):
    model, contexts, metric = induction
    nodes = graph_nodes(model)
    a, b, c = (scrub(model, contexts, metric, {}, nodes, draws=3, seed=seed).chance for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


METRIC = LogitDifference(1, 2)
EMBED = Node(Site("embed"))


@pytest.mark.parametrize(
    ("contexts", "hypothesis", "draws", "said"),
    [
        (torch.zeros(1, 3), {}, 2, "received 1 contexts"),
        (torch.zeros(3, 3), {}, 0, "received 3 contexts and 0 draws"),
        (
            torch.zeros(3, 3),
            {EMBED: torch.zeros(2).long()},
            2,
            r"3 contexts; received labels of shape \(2,\) for embed",
        ),
        (torch.zeros(3, 3), {Node(Site("z", 0)): torch.zeros(3).long()}, 2, "L0.z, which is none of the 1 nodes"),
        (torch.zeros(3, 3), {}, 2, "with every node resampled, so nothing can be recovered"),
    ],
)
def test_what_cannot_be_scrubbed_is_refused(contexts, hypothesis, draws, said):
    with pytest.raises(BadInput, match=said):
        scrub(tiny_model(), contexts.long(), METRIC, hypothesis, [EMBED], draws=draws)
