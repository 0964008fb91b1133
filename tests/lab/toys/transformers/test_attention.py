"""Attention: the forward pass against loops, what ablation and frozen patterns do, smeared keys, and training."""

from dataclasses import replace

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.toys.transformers.attention import train, transformers


def drawn(*shape: int, vocab: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(seed))


def test_it_does_what_loops_say():
    models = transformers(instances=2, vocab=5, length=6, layers=1, heads=2, width=8).mapped(torch.Tensor.double)
    tokens = drawn(2, 3, 4, vocab=5)
    trace = models.trace(tokens)
    assert torch.allclose(trace.logits, models.logits(tokens))
    i, b, h = 1, 2, 1
    x = models.embed[i][tokens[i, b]]
    placed = x + models.position[i][:4]
    for t in range(4):
        scores = [
            (placed[t] @ models.query[i, 0, h]) @ (placed[s] @ models.key[i, 0, h]) / 4**0.5 for s in range(t + 1)
        ]
        pattern = torch.stack(scores).softmax(0)
        assert torch.allclose(trace.patterns[i, 0, b, h, t, : t + 1], pattern)
        assert (trace.patterns[i, 0, b, h, t, t + 1 :] == 0).all()
        out = (
            torch.stack([pattern[s] * x[s] for s in range(t + 1)]).sum(0)
            @ models.value[i, 0, h]
            @ models.output[i, 0, h]
        )
        assert torch.allclose(trace.outputs[i, 0, b, h, t], out)
    last = (x + trace.outputs[i, 0, b].sum(0)) @ models.unembed[i]
    assert torch.allclose(trace.logits[i, b], last)
    expected = -last.log_softmax(-1)[range(3), tokens[i, b, 1:]]
    assert torch.allclose(models.losses(tokens)[i, b], expected)


def test_without_layers_there_is_nothing_but_a_table():
    models = transformers(instances=1, vocab=5, length=6, layers=0, width=4)
    tokens = drawn(1, 2, 6, vocab=5)
    assert torch.allclose(models.trace(tokens).logits[0], (models.embed @ models.unembed)[0][tokens[0]])
    assert models.trace(tokens).patterns.shape == (1, 0, 2, 1, 6, 6)


def test_an_ablated_head_writes_nothing():
    models = transformers(instances=1, vocab=5, length=6, layers=2, heads=2, width=8)
    tokens = drawn(1, 2, 6, vocab=5)
    output = models.output.clone()
    output[:, 0, 1] = 0
    without = replace(models, output=output)
    assert torch.allclose(models.trace(tokens, ablated=[(0, 1)]).logits, without.logits(tokens), atol=1e-6)
    assert torch.allclose(models.losses(tokens, ablated=[(0, 1)]), without.losses(tokens), atol=1e-6)
    assert not torch.allclose(models.logits(tokens), without.logits(tokens), atol=1e-3)


def test_frozen_patterns_take_the_place_of_its_own():
    models = transformers(instances=1, vocab=5, length=6, layers=2, heads=2, width=8)
    tokens, others = drawn(1, 2, 6, vocab=5), drawn(1, 2, 6, vocab=5, seed=1)
    trace = models.trace(tokens)
    assert torch.allclose(models.trace(tokens, patterns=trace.patterns).logits, trace.logits, atol=1e-6)
    frozen = models.trace(others, patterns=trace.patterns)
    assert torch.equal(frozen.patterns, trace.patterns)


def test_smeared_keys_carry_a_share_of_the_key_before():
    models = transformers(instances=1, vocab=5, length=6, layers=1, heads=1, width=8, smeared=True)
    tokens = drawn(1, 2, 6, vocab=5)
    assert models.smear is not None and torch.allclose(
        replace(models, smear=models.smear + 50).logits(tokens), replace(models, smear=None).logits(tokens)
    )
    before = replace(models, smear=models.smear - 50).trace(tokens).patterns[0, 0, 0, 0]
    plain = replace(models, smear=None)
    x = models.embed[0][tokens[0, 0]] + models.position[0]
    scores = (x @ plain.query[0, 0, 0]) @ (x @ plain.key[0, 0, 0]).T / 8**0.5
    assert torch.allclose(before[5], scores[5][[0, 0, 1, 2, 3, 4]].softmax(0), atol=1e-6)


def test_training_lowers_the_loss_and_keeps_what_was_asked():
    models = transformers(instances=2, vocab=6, length=8, layers=1, heads=1, width=8)
    count = torch.arange(8) % 6
    trained = train(models, lambda step: (count + drawn(2, 8, 1, vocab=6, seed=step)) % 6, steps=80, lr=3e-2, every=40)
    assert trained.steps == [0, 40, 80] and trained.losses.shape == (80, 2)
    assert (trained.losses[-5:].mean(0) < 0.3 * trained.losses[:5].mean(0)).all()
    assert torch.equal(trained.kept[-1].embed, trained.models.embed) and trained.kept[0] is models
    assert torch.equal(models.instance(1).embed[0], models.embed[1])


def test_heads_must_share_the_width():
    with pytest.raises(BadInput, match="received width 8 for 3"):
        transformers(instances=1, vocab=6, length=8, layers=1, heads=3, width=8)
