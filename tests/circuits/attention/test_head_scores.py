"""head_scores: planted heads are found by the score of what they do, and the numbers are means of weights."""

import pytest
import torch
from any_model import FAMILIES, any_model

from physalis.circuits import Head, head_scores, repeated_tokens
from physalis.circuits.attention.head_scores import duplicate_token, first_token, induction, previous_token
from physalis.errors import BadInput
from physalis.lab.rasp import aggregate, compile_program, indices, select
from physalis.lab.rasp import induction as program
from physalis.lab.rasp import tokens as letter
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


def twice(n, letters="abcdef"):
    """Words of letters, no two alike, that come twice."""
    random = torch.Generator().manual_seed(0)
    drawn = [[letters[i] for i in torch.randperm(len(letters), generator=random)] for _ in range(n)]
    return [each * 2 for each in drawn]


def test_the_rules_name_these_places():
    tokens = torch.tensor([[9, 1, 2, 3, 1, 2]])
    places = {rule: rule(tokens)[0].nonzero().tolist() for rule in (duplicate_token, induction, previous_token)}
    assert places[duplicate_token] == [[4, 1], [5, 2]]
    assert places[induction] == [[4, 2], [5, 3]]  # what followed, not what went before
    assert places[previous_token] == [[q, q - 1] for q in range(1, 6)]
    assert first_token(tokens)[0].nonzero().tolist() == [[q, 0] for q in range(1, 6)]


def test_planted_heads_are_found():
    """Of a compiled program with heads of other programs beside it, each head is the best by what it does."""
    task = program()
    start = aggregate(select(indices, indices, lambda key, query: key == 0), letter, name="first")
    same = aggregate(select(letter, letter, lambda key, query: key == query), letter, name="same")
    compiled = compile_program(task.program, vocabulary=task.vocabulary, context=task.longest, beside=[start, same])
    tokens = compiled.encode(twice(8))
    found = head_scores(compiled.model, tokens)
    true = [node for node in compiled.circuit.components if ".H" in node]
    previous, follows = found.top("previous_token", 1)[0], found.top("induction", 1)[0]
    assert [str(previous.head), str(follows.head)] == true
    assert previous.score["value"] > 0.99 and follows.score["value"] > 0.99
    assert found.top("induction", 2)[1].score["value"] < 0.5
    assert found.top("duplicate_token", 1)[0].head not in (previous.head, follows.head)


def test_a_score_is_the_mean_weight(tiny):
    tokens = repeated_tokens(tiny, sequences=6, length=9, seed=3)
    found = head_scores(tiny, tokens)
    pattern = tiny.run(tokens, read=[Site("attn_pattern", 1)])[Site("attn_pattern", 1)][:, 2]
    at = torch.arange(10, 19)
    each = pattern[:, at, at - 8].mean(1)
    score = found["induction"].of(Head(1, 2))
    assert score["value"] == pytest.approx(float(each.mean()), rel=1e-5)
    half = 2.5706 * float(each.std()) / 6**0.5  # Student's t with 5 degrees of freedom
    assert score["high"] - score["value"] == pytest.approx(half, rel=1e-3)
    assert found["previous_token"].uniform == pytest.approx(float((1 / torch.arange(2, 20)).mean()))
    assert found["induction"].uniform == pytest.approx(float((1 / torch.arange(11, 20)).mean()))
    best = found.top("induction", 3)
    assert [each.score["value"] for each in best] == sorted((each.score["value"] for each in best), reverse=True)
    assert found.record(2)["induction"]["heads"][0] == {"head": str(best[0].head), **best[0].score}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name):
    model = any_model(name)
    found = head_scores(model, repeated_tokens(model, sequences=2, length=8))
    assert [*found] == ["previous_token", "induction", "duplicate_token", "first_token"]
    for score in found.values():
        assert score.value.shape == (3, 4) and score.value.isfinite().all() and score.low.isnan().all()
    total = sum(found[name].value for name in ("induction", "duplicate_token"))
    assert (total <= 1).all()


def test_what_is_written_counts(tiny):
    """Heads of a pass in which all look at the first token do."""

    def at_first(x):
        x[:] = 0
        x[..., 0] = 1
        return x

    writes = {Site("attn_pattern", layer): at_first for layer in range(3)}
    found = head_scores(tiny, repeated_tokens(tiny, sequences=5, length=4), rules=[first_token], write=writes)
    assert [*found] == ["first_token"] and (found["first_token"].value == 1).all()


def test_tokens_of_chance(tiny):
    tokens = repeated_tokens(tiny, sequences=3, length=20)
    assert tokens.shape == (3, 41) and (tokens[:, 0] == tiny.bos_id).all()
    assert (tokens[:, 1:21] == tokens[:, 21:]).all()
    assert all(len({*row[1:21].tolist()}) == 20 for row in tokens)
    assert not (tokens[:, 1:] >= 256).any()  # neither BOS nor the end of a document
    assert torch.equal(tokens, repeated_tokens(tiny, sequences=3, length=20))
    assert not torch.equal(tokens, repeated_tokens(tiny, sequences=3, length=20, seed=1))


def test_refused():
    model = tiny_model()
    for wrong, said in ((dict(length=1), "received 1"), (dict(length=257), "received 257"), (dict(length=128), "257"),
                        (dict(sequences=0), "received 0")):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            repeated_tokens(model, **wrong)
    found = head_scores(model, torch.tensor([[1, 2, 3]]))
    assert "induction" not in found
    with pytest.raises(BadInput, match="no token of these contexts"):
        found["induction"]
    with pytest.raises(BadInput, match="At least 1 head"):
        found.top("previous_token", 0)
    with pytest.raises(BadInput, match="reads ids"):
        head_scores(model, torch.tensor([[1, 999]]))
