"""head_weights and block_maps: circuits say what heads write and where they look, in every family, by their weights."""

import pytest
import torch
from any_model import FAMILIES, PROMPT, any_model

from physalis.circuits import Head, ov_circuits, qk_circuits
from physalis.circuits.attention.block_maps import block_maps
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.patching.head_outputs import HeadOutputs
from physalis.site import Site

pytestmark = pytest.mark.usefixtures("one_thread")
NORMALISED = ("qwen3", "gemma3_text")
BIASED = ("gpt2", "gpt_neox", "gpt_neox sequential", "phi", "tiny")
LAYER = 2


def stream(model, tokens):
    """What the heads of the layer read, without gain: the stream over the norm's scale."""
    names = ("resid_pre", "attn_norm_scale", "attn_pattern", "z", "attn_post_norm_scale")
    sites = [Site(name, LAYER) for name in names if Site(name, LAYER) in {each.site for each in model.sites()}]
    got = model.run(tokens, read=sites)
    return got[sites[0]][0] / got[sites[1]][0], {site.name: x[0] for site, x in got.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_heads_write(name):
    """The difference of what a head writes at two positions, in which biases fall out, is what its circuit makes of
    where it looks."""
    model, tokens = any_model(name), torch.tensor([PROMPT])
    x, got = stream(model, tokens)
    shares = HeadOutputs(model, LAYER)(got["z"][None])[:, 0]
    if "attn_post_norm_scale" in got:
        shares = shares * got["attn_post_norm_scale"]
    circuits = ov_circuits(model, [0, LAYER])
    assert len(circuits) == 8
    for head in range(4):
        circuit = circuits[Head(LAYER, head)]
        wrote = got["attn_pattern"][head] @ x @ circuit.matrix()
        wanted = shares[head] - shares[head][4]
        assert torch.allclose(wrote - wrote[4], wanted, atol=1e-4 * float(wanted.abs().max()) + 1e-6)
        assert circuit.norm() == pytest.approx(float(circuit.matrix().norm()), rel=1e-4)


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in (*NORMALISED, *BIASED, "gemma2")])
def test_where_heads_look(name, offset):
    """Without biases and caps, log weights are scores up to a constant: the circuits of two offsets say by how much."""
    model, tokens = any_model(name), torch.tensor([PROMPT])
    x, got = stream(model, tokens)
    here, there = (qk_circuits(model, [LAYER], offset=each) for each in (offset, 2))
    for head in range(4):
        score, other = (x[9] @ c[Head(LAYER, head)].matrix() @ x[9 - at] for c, at in ((here, offset), (there, 2)))
        log = got["attn_pattern"][head, 9].log()
        assert float(score - other) == pytest.approx(float(log[9 - offset] - log[7]), abs=2e-4)


def test_the_weights_are_the_modules(tiny):
    """Of a family whose modules are known here."""
    module = tiny.hf.blocks[1].attn
    q, k, v = module.qkv.weight.unflatten(0, (3, 4, 8))
    ov, qk = ov_circuits(tiny, [1])[Head(1, 2)], qk_circuits(tiny, [1], offset=3)[Head(1, 2)]
    assert torch.allclose(ov.matrix(), v[2].T @ module.out.weight[:, 16:24].T, atol=1e-6)
    assert torch.allclose(qk.matrix(), q[2].T @ k[2] * 8**-0.5, atol=1e-6)
    wanted = torch.linalg.eigvals(ov.matrix()).abs().sort(descending=True).values[:8]
    assert torch.allclose(ov.eigenvalues().abs().sort(descending=True).values, wanted, atol=1e-5)
    through = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    trace = float((ov.matrix() @ through).trace())
    assert float(ov.eigenvalues(through).sum().real) == pytest.approx(trace, rel=1e-3)


@pytest.mark.parametrize("name", NORMALISED)
def test_normalised_queries_are_refused_and_values_are_not(name):
    model = any_model(name)
    assert ov_circuits(model, [1])
    with pytest.raises(BadInput, match="queries and keys are normalised"):
        qk_circuits(model, [1])


def test_refused():
    model = tiny_model()
    with pytest.raises(BadInput, match="received -1"):
        qk_circuits(model, [0], offset=-1)
    with pytest.raises(BadInput, match="reads at most 256"):
        qk_circuits(model, [0], offset=256)
    with pytest.raises(BadInput, match="L9"):
        ov_circuits(model, [9])
    with pytest.raises(BadInput, match="at least 1 token"):
        block_maps(model, "resid_pre", ["v"], [0], context=0)
    with pytest.raises(BadInput, match="not linear"):
        block_maps(model, "resid_mid", ["mlp_out"], [0])
