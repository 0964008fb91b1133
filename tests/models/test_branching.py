"""Passes that share their beginning give what whole passes give, on every kind of model, and leave no trace."""

import pytest
import torch
import transformers

from physalis.errors import BadInput
from physalis.models import ByteTokenizer, Model, family_of, tiny_model
from physalis.models.branching import Trunk
from physalis.site import Site

LOGITS = Site("logits")
SIZES = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "pad_token_id": None,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 12, "sliding_window": 4}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=3, n_head=4, n_positions=64),
    "neox": lambda: transformers.GPTNeoXConfig(**SIZES),
    "phi": lambda: transformers.PhiConfig(**SIZES),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, query_pre_attn_scalar=12, final_logit_softcapping=2.0),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GROUPED),
}


@pytest.fixture(scope="module", params=["tiny", *CONFIGS])
def model(request):
    if request.param == "tiny":
        return tiny_model()
    config = CONFIGS[request.param]()
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in hf.parameters():
            if p.ndim == 2:
                p.mul_(6)  # so that tokens and sites matter
    return Model(hf, ByteTokenizer(), name=request.param, family=family_of(hf.config.model_type))


@pytest.fixture
def tokens():
    return torch.randint(0, 250, (3, 16), generator=torch.Generator().manual_seed(0))


def through(trunk, states):
    return trunk.logits(states.flatten(0, 1)).unflatten(0, states.shape[:2])


def test_each_branch_goes_on_from_the_first_site_it_writes(model, tokens):
    """One trunk for sites of all depths: what a branch writes late it does not compute from the start, and one that
    writes early and late begins early."""
    sites = [Site("mlp_out", layer) for layer in range(3)]
    trunk = Trunk(model, tokens, changed=sites)
    assert sorted(trunk.before) == [1, 2]
    for some in (sites[:1], sites[1:2], sites[2:], sites[::2], sites):
        write = {site: lambda x: x * 0.5 for site in some}
        wanted = model.run(tokens, read=[LOGITS], write=write)[LOGITS]
        torch.testing.assert_close(through(trunk, trunk.branch(write)), wanted, rtol=1e-5, atol=1e-5)
    calls = []
    handle = model._placed.at(sites[1]).register_forward_pre_hook(lambda *_: calls.append(1))
    trunk.branch({sites[2]: lambda x: x * 0.5})
    assert not calls
    trunk.branch({sites[1]: lambda x: x * 0.5})
    handle.remove()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "name", ["embed", "L0.mlp_in", "L1.resid_pre", "L1.z", "L1.attn_out", "L1.mlp_out", "L2.resid_post"]
)
def test_a_branch_is_what_a_whole_pass_is(model, tokens, name):
    site = Site.parse(name)
    write = {site: lambda x: x * torch.linspace(0.5, 1.5, x.shape[-1])}
    trunk = Trunk(model, tokens, changed=[site], read=[site])
    whole = model.run(tokens, read=[LOGITS, site])
    assert max(trunk.before, default=0) == (site.layer or 0) + (site.name == "resid_post")
    torch.testing.assert_close(through(trunk, trunk.states), whole[LOGITS], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trunk.got[site], whole[site])
    wanted = model.run(tokens, read=[LOGITS], write=write)[LOGITS]
    for _ in range(2):  # the first leaves nothing behind for the second
        torch.testing.assert_close(through(trunk, trunk.branch(write)), wanted, rtol=1e-5, atol=1e-5)
    one = through(trunk, trunk.branch(write, contexts=1))
    torch.testing.assert_close(one, wanted[:1], rtol=1e-5, atol=1e-5)
    assert (wanted - whole[LOGITS]).abs().max() > 1e-3, "the write changes nothing here, so nothing was tested"
    torch.testing.assert_close(model.run(tokens, read=[LOGITS])[LOGITS], whole[LOGITS], rtol=0, atol=0)


def test_what_is_shared_is_computed_once(tokens):
    model, ran = tiny_model(), []
    for i, block in enumerate(model.hf.get_submodule("blocks")):
        block.attn.register_forward_hook(lambda *_, i=i: ran.append(i))
    trunk = Trunk(model, tokens, changed=[Site("mlp_out", 2)])
    for factor in (0, 1, 2):
        trunk.branch({Site("mlp_out", 2): lambda x, factor=factor: factor * x})
    trunk.logits(trunk.states[0])
    assert ran == [0, 1, 2, 2, 2, 2]


def test_a_site_that_is_not_there_is_refused(tokens):
    with pytest.raises(BadInput, match="3 layers"):
        Trunk(tiny_model(), tokens, read=[Site("resid_post", 7)])
