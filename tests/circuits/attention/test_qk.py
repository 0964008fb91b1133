"""qk_attribution: pairs of sources sum to a head's score, in every family whose scores are such sums."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model, random_set

from physalis.circuits import TranscoderSet, qk_attribution, trace
from physalis.errors import BadInput
from physalis.lab.rasp import induction, oracle
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")
NORMALISED = ("qwen3", "gemma3_text")


@pytest.mark.parametrize("name", FAMILIES)
def test_pairs_sum_to_the_score(name, tmp_path):
    """A head's weights are the softmax of its scores: differences of the two are held against each other."""
    model = any_model(name)
    transcoders = random_set(model, tmp_path / "set", skip=True)
    graph = trace(model, transcoders, PROMPT, features=60)
    if name in NORMALISED:
        with pytest.raises(BadInput, match="normalise what they compare"):
            qk_attribution(graph, model, transcoders, layer=2, head=1, query=9, key=7)
        return
    site = Site("attn_pattern", 2)
    pattern = model.run(graph.tokens[None], read=[site])[site][0, 1, 9].log()
    first, second = (qk_attribution(graph, model, transcoders, layer=2, head=1, query=9, key=key) for key in (7, 8))
    cap = getattr(model.hf.config, "attn_logit_softcapping", None)
    scores = [cap * torch.tanh(torch.tensor(each.score / cap)) if cap else each.score for each in (first, second)]
    assert float(scores[0] - scores[1]) == pytest.approx(float(pattern[7] - pattern[8]), rel=1e-4, abs=5e-4)
    assert float(first.pairs.sum()) == pytest.approx(first.score, abs=1e-5)
    assert float(first.by_query.sum()) == pytest.approx(first.score, abs=1e-4)
    assert len(first.names) == first.pairs.shape[0] == graph.edges.shape[1] + 2
    best = first.top(3)
    assert abs(best[0].amount) == pytest.approx(float(first.pairs.abs().max())) and best[0].query in first.names


def test_a_planted_pair_is_found(tmp_path):
    """Induction: a head of the second layer looks at what followed the last place of this token, by the token that was
    moved there and the token that stands here."""
    task = induction()
    compiled = task.compiled()
    layers = range(compiled.model.n_layers)
    given = {layer: oracle(compiled, layer).dictionary() for layer in layers}
    transcoders = TranscoderSet.write(tmp_path / "set", compiled.model, given)
    word = task.inputs(1, seed=0)[0]
    repeated = next(i for i in range(len(word) - 1, 0, -1) if word[i] in word[:i])
    earlier = max(i for i in range(repeated) if word[i] == word[repeated])
    ids = compiled.encode([word])[0].tolist()
    graph = trace(compiled.model, transcoders, ids)
    pattern = compiled.model.run(torch.tensor([ids]), read=[Site("attn_pattern", i) for i in layers])
    query = repeated + 1  # behind <bos>
    weights = pattern[Site("attn_pattern", 1)][0, :, query]
    head = int((weights.argmax(-1) == earlier + 2).nonzero()[0])
    found = qk_attribution(graph, compiled.model, transcoders, layer=1, head=head, query=query, key=earlier + 2)
    planted, place = found.top(2)
    names = graph.token_strings
    assert planted.query == f"token {names[query]!r} ({query})"
    assert planted.key == f"token {names[earlier + 1]!r} ({earlier + 1})"  # moved there by a head of the first layer
    assert place.query == "biases"  # of several such places the latest is looked at
    assert planted.amount > 0.75 * found.score
    assert planted.amount + place.amount == pytest.approx(found.score, rel=1e-3)


def test_refused(tmp_path):
    model = tiny_model()
    transcoders = random_set(model, tmp_path / "set")
    graph = trace(model, transcoders, PROMPT, features=20)
    good = dict(layer=1, head=0, query=5, key=3)
    for wrong, said in ((dict(layer=9), "layers 0 to 2"), (dict(head=4), "heads 0 to 3"), (dict(key=16), "positions"),
                        (dict(key=6), "masked")):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            qk_attribution(graph, model, transcoders, **{**good, **wrong})
