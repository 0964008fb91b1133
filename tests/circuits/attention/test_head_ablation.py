"""confirm_heads, composition: planted heads are missed when they are taken out, and others are not."""

import pytest
import torch
from test_head_scores import twice

from physalis.circuits import Head, composition, confirm_heads, mean_ablation, repeated_tokens
from physalis.errors import BadInput
from physalis.lab.rasp import aggregate, compile_program, indices, select
from physalis.lab.rasp import induction as program
from physalis.lab.rasp import tokens as letter
from physalis.models.tiny import tiny_model
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def planted():
    """The model of a program, its two heads, and words that come twice. Heads that no answer needs stand beside."""
    task = program()
    start = aggregate(select(indices, indices, lambda key, query: key == 0), letter, name="first")
    compiled = compile_program(task.program, vocabulary=task.vocabulary, context=task.longest, beside=[start])
    heads = [node for node in compiled.circuit.components if ".H" in node]
    found = [Head(*map(int, name[1:].split(".H"))) for name in heads]
    return compiled.model, found, compiled.encode(twice(8))


def test_heads_of_the_circuit_are_missed(planted):
    model, (previous, follows), tokens = planted
    for head in (previous, follows):
        found = confirm_heads(model, [head], tokens, draws=3)
        assert found.loss["value"] < 0.01 and found.added["low"] > 1
        assert all(other != (head,) and other[0].layer == head.layer for other in found.others)
        assert max(found.added_by_others) < 1e-4 and found.over_others["low"] > 1
        assert found.added_elsewhere["value"] < 1e-6  # there the model is sure that nothing follows, and is wrong
        assert found.record()["heads"] == [str(head)]


def test_what_the_later_head_owes_the_earlier(planted):
    model, (previous, follows), tokens = planted
    found = composition(model, [previous], [follows], tokens, draws=2)
    assert found.score["value"] > 0.99 and found.without["high"] < 0.5
    assert min(found.without_others) > 0.99
    with pytest.raises(BadInput, match="do not stand in earlier layers"):
        composition(model, [follows], [previous], tokens)


def test_the_loss_is_the_models(tiny):
    """Once more, by hand: one head held at its mean, behind the first position."""
    tokens = repeated_tokens(tiny, sequences=6, length=7)
    found = confirm_heads(tiny, [Head(1, 2)], tokens, draws=2)
    z = tiny.run(tokens, read=[Site("z", 1)])[Site("z", 1)]
    mean = z[:, 1:, 16:24].mean((0, 1))

    def loss(write):
        logits = tiny.run(tokens, read=[Site("logits")], write=write)[Site("logits")].log_softmax(-1)
        return -logits[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]

    def held(x):
        x[:, 1:, 16:24] = mean
        return x

    clean, without = loss({}), loss({Site("z", 1): held})
    assert found.loss["value"] == pytest.approx(float(clean[:, 8:].mean()), rel=1e-5)
    assert found.added["value"] == pytest.approx(float((without - clean)[:, 8:].mean()), abs=1e-5)
    assert found.added_elsewhere["value"] == pytest.approx(float((without - clean)[:, :8].mean()), abs=1e-5)
    again = loss(mean_ablation(tiny, [Head(1, 2)], tokens))
    assert torch.allclose(again, without, atol=1e-5)


def test_draws_are_by_their_seed_and_of_the_same_layers(tiny):
    tokens = repeated_tokens(tiny, sequences=5, length=5)
    heads = [Head(0, 1), Head(2, 0), Head(2, 3)]
    first, again, other = (confirm_heads(tiny, heads, tokens, draws=4, seed=seed) for seed in (0, 0, 1))
    assert first.others == again.others != other.others and first.added_by_others == again.added_by_others
    for drawn in first.others:
        assert [head.layer for head in drawn] == [0, 2, 2] and not {*drawn} & {*heads}
    crowded = [Head(1, i) for i in range(3)]
    drawn = confirm_heads(tiny, crowded, tokens, draws=1).others[0]
    assert Head(1, 3) in drawn and len({*drawn}) == 3 and not {*drawn} & {*crowded}


def test_refused():
    model = tiny_model()
    tokens = repeated_tokens(model, sequences=2, length=5)
    every = [Head(i, j) for i in range(3) for j in range(4)]
    for heads, options, said in (
        ([], {}, "No head"), ([Head(0, 4)], {}, "heads 0 to 3"), ([Head(3, 0)], {}, "L3"),
        (every[:7], {}, "has 5 heads"), ([Head(0, 0)], dict(draws=0), "At least 1 draw"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            confirm_heads(model, heads, tokens, **options)
    with pytest.raises(BadInput, match="some of both"):
        confirm_heads(model, [Head(0, 0)], torch.arange(8)[None])
    with pytest.raises(BadInput, match="nothing is scored"):
        composition(model, [Head(0, 0)], [Head(1, 0)], torch.arange(8)[None])
