"""Heads' shares sum to what attention adds, but for what it adds to every token alike."""

from dataclasses import replace

import pytest
import torch
from made_models import NORM_BEHIND, pair_of
from torch import nn

from physalis.errors import BadInput
from physalis.models import Model, tiny_model
from physalis.patching.head_outputs import HeadOutputs
from physalis.site import Site


def test_shares_sum_to_what_attention_adds(pair):
    z, out = Site("z", 1), Site("attn_out", 1)
    got = pair.model.run(pair.clean, read=[z, out])
    outputs = HeadOutputs(pair.model, 1)
    shares = outputs(got[z])
    rest = got[out] - shares.sum(0)
    torch.testing.assert_close(rest, rest[:1, :1].expand_as(rest), atol=1e-5, rtol=0)
    if pair.name in NORM_BEHIND:
        assert rest.abs().max() < 1e-5
        return
    for share, node in zip(shares, outputs.nodes, strict=True):
        alone = torch.zeros_like(got[z])
        alone[..., node.span] = got[z][..., node.span]
        made = pair.model.run(pair.clean, read=[out], write={z: lambda _, alone=alone: alone})[out]
        torch.testing.assert_close(made - rest, share, atol=1e-5, rtol=1e-4)


def test_a_multiplier_counts():
    model = tiny_model()
    z = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    plain = HeadOutputs(model, 0)(z)
    halved = Model(model.hf, model.corpus, name="halved", family=replace(model.family, attn_scale=0.5))
    torch.testing.assert_close(HeadOutputs(halved, 0)(z), plain / 2)


def test_what_a_norm_behind_adds_is_no_heads():
    pair = pair_of("gemma3_text")
    block = pair.model.hf.get_submodule("model.layers.1")
    before, norm = block.post_attention_layernorm, nn.LayerNorm(32)
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(0))
    z, out = Site("z", 1), Site("attn_out", 1)
    try:
        block.post_attention_layernorm = norm
        model = Model(pair.model.hf, pair.model.corpus, name="normed", family=pair.model.family)
        got = model.run(pair.clean, read=[z, out])
        rest = got[out] - HeadOutputs(model, 1)(got[z]).sum(0)
    finally:
        block.post_attention_layernorm = before
    torch.testing.assert_close(rest, norm.bias.expand_as(rest), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NORM_BEHIND)
def test_a_norm_that_is_none_is_refused(monkeypatch, name):
    monkeypatch.setattr("physalis.patching.head_outputs.Norm.of", lambda *_: None)
    with pytest.raises(BadInput, match="attention's output at layer 1 is no norm"):
        HeadOutputs(pair_of(name).model, 1)
