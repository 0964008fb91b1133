"""Places inside attention, MLP and norms, of every family: what is read is what transformers computes; what is written
decides what follows; and nothing stays behind."""

from collections.abc import Iterable, Iterator

import pytest
import torch
import transformers
from architectures import Ids, build
from test_families import CASES, LAYERS, Subject, noise, opened, same
from torch import Tensor, nn
from transformers import DynamicCache

from physalis.errors import BadInput
from physalis.models import Model, tiny_model
from physalis.models.sites.norms import Norm
from physalis.models.sites.verification import open_model
from physalis.site import INNER, Site

LOGITS = Site("logits")
SCALES = [name for name in INNER if name.endswith("scale")]
GATED = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma2", "gemma3_text", "gemma3")
BEHIND = ("gemma2", "gemma3_text", "gemma3")
"""Families with norms behind attention and MLP."""


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    return opened(request.param)


def inner(model: Model) -> list[Site]:
    return [each.site for each in model.sites() if each.site.name in (*INNER, "final_norm_scale")]


def hf_config(subject: Subject) -> transformers.PreTrainedConfig:
    return subject.model.hf.config.get_text_config()


@pytest.fixture
def eager(subject: Subject) -> Iterator[None]:
    if subject.case.name == "physalis_tiny":
        pytest.skip("is none of transformers' models")
    config = hf_config(subject)
    old = config._attn_implementation
    config._attn_implementation = "eager"
    yield
    config._attn_implementation = old


def test_each_family_has_the_places_that_its_blocks_have(subject: Subject) -> None:
    name = subject.case.name
    lacks = set() if name in GATED else {"mlp_gate"}
    lacks |= set() if name in BEHIND else {"attn_post_norm_scale", "mlp_post_norm_scale"}
    lacks |= {"mlp_norm_scale"} if name == "phi" else set()  # one norm for both
    has = inner(subject.model)
    assert set(has) == {Site(n, i) for n in INNER if n not in lacks for i in range(LAYERS)} | {Site("final_norm_scale")}
    got = subject.model.run(subject.tokens, read=has)
    for site, x in got.items():
        if site.name == "attn_pattern":
            assert x.shape == (2, 4, 9, 9)
        else:
            assert x.shape == (2, 9, subject.model.width(site)), site


def test_reading_inside_changes_nothing_else(subject: Subject) -> None:
    got = subject.model.run(subject.tokens, read=[*inner(subject.model), *subject.sites()])
    assert all(torch.equal(got[site], x) for site, x in subject.all.items())


def test_patterns_are_what_transformers_reports(subject: Subject, eager: None) -> None:
    with torch.inference_mode():
        told = subject.model.hf(subject.tokens, output_attentions=True, use_cache=False).attentions
    read = subject.model.run(subject.tokens, read=[Site("attn_pattern", i) for i in range(LAYERS)])
    for layer, weights in enumerate(told):
        assert torch.equal(read[Site("attn_pattern", layer)], weights)


def test_patterns_beside_a_fast_kernel_are_those_of_the_slow_one(subject: Subject) -> None:
    sites = [Site("attn_pattern", i) for i in range(LAYERS)]
    read = subject.model.run(subject.tokens, read=sites)
    for site in sites:
        pattern = read[site]
        same(pattern.sum(-1), torch.ones(2, 4, 9))
        assert (pattern.triu(1) == 0).all()
        z = subject.all[Site("z", site.layer)].unflatten(-1, (4, -1))
        v = subject.model.run(subject.tokens, read=[Site("v", site.layer)])[Site("v", site.layer)]
        v = v.unflatten(-1, (-1, z.shape[-1]))
        same(torch.einsum("bhqk,bkhd->bqhd", pattern, v.repeat_interleave(4 // v.shape[2], dim=2)), z)


def test_keys_and_values_are_what_transformers_keeps(subject: Subject) -> None:
    if subject.case.name == "physalis_tiny":
        pytest.skip("keeps no cache")
    cache = DynamicCache()
    with torch.inference_mode():
        subject.model.hf(subject.tokens, use_cache=True, past_key_values=cache)
    sites = {name: [Site(name, i) for i in range(LAYERS)] for name in ("k", "v")}
    read = subject.model.run(subject.tokens, read=[*sites["k"], *sites["v"]])
    for layer, kept in enumerate(cache.layers):
        assert torch.equal(read[Site("k", layer)], kept.keys.transpose(1, 2).flatten(2))
        assert torch.equal(read[Site("v", layer)], kept.values.transpose(1, 2).flatten(2))


def test_queries_and_keys_make_the_pattern(subject: Subject) -> None:
    config = subject.model.hf.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for layer in range(LAYERS):
        q, k, pattern = (Site(name, layer) for name in ("q", "k", "attn_pattern"))
        got = subject.model.run(subject.tokens, read=[q, k, pattern])
        heads = got[q].unflatten(-1, (4, -1))
        keys = got[k].unflatten(-1, (-1, heads.shape[-1]))
        keys = keys.repeat_interleave(4 // keys.shape[2], dim=2)
        size = getattr(config, "query_pre_attn_scalar", None) or heads.shape[-1]
        scores = torch.einsum("bqhd,bkhd->bhqk", heads, keys) * size**-0.5
        cap = getattr(config, "attn_logit_softcapping", None)
        scores = cap * (scores / cap).tanh() if cap else scores
        same(scores.masked_fill(got[pattern] == 0, float("-inf")).softmax(-1), got[pattern])


def norm_of(block: nn.Module, name: str) -> nn.Module:
    """The norm by the names that its authors gave it."""
    behind = hasattr(block, "pre_feedforward_layernorm")
    names = {
        "attn_norm_scale": ("input_layernorm", "ln_1", "attn_norm"),
        "mlp_norm_scale": ("pre_feedforward_layernorm" if behind else "post_attention_layernorm", "ln_2", "mlp_norm"),
        "attn_post_norm_scale": ("post_attention_layernorm",),
        "mlp_post_norm_scale": ("post_feedforward_layernorm",),
    }
    return next(getattr(block, each) for each in names[name] if hasattr(block, each))


def test_scales_are_what_norms_divide_by(subject: Subject) -> None:
    for site in (site for site in inner(subject.model) if site.name in SCALES):
        norm = norm_of(subject.blocks[site.layer], site.name)
        given: list[Tensor] = []
        with norm.register_forward_hook(lambda _, args, out, given=given: given.append(args[0].clone())):
            read = subject.model.run(subject.tokens, read=[site, LOGITS])[site]
        x = given[0] - given[0].mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else given[0]
        named = (getattr(norm, name, None) for name in ("eps", "variance_epsilon"))
        eps = next((eps for eps in named if eps is not None), torch.finfo(torch.float32).eps)  # as torch has it
        torch.testing.assert_close(read, (x.pow(2).mean(-1, keepdim=True) + eps).sqrt(), rtol=1e-6, atol=1e-7)


# writing


def one_layer(sites: Iterable[Site]) -> list[Site]:
    return [site for site in sites if site.layer in (1, None)]


def put_in(model: Model) -> int:
    """How many things stand in a model that are not its own."""
    parts = list(model.hf.modules())
    kernels = [getattr(getattr(part, "config", None), "_attn_implementation", None) for part in parts]
    own = sum("attend" in vars(part) for part in parts) + sum(str(kernel).startswith("physalis") for kernel in kernels)
    interface = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS
    return own + len(interface._local_mapping) + sum(len(part._forward_hooks) for part in parts)


def test_writing_back_what_was_read_inside_changes_no_bit(subject: Subject) -> None:
    before = put_in(subject.model)
    for site in one_layer(inner(subject.model)):
        out = subject.model.run(subject.tokens, read=[LOGITS], write={site: lambda x: x.clone()})
        assert torch.equal(out[LOGITS], subject.all[LOGITS]), site
    assert put_in(subject.model) == before


def test_a_write_inside_is_read_back_and_reaches_only_what_follows(subject: Subject) -> None:
    sites = [each.site for each in subject.model.sites()]
    plain = subject.model.run(subject.tokens, read=sites)
    for site in one_layer(inner(subject.model)):
        value = noise(plain[site]).abs() + 0.5
        out = subject.model.run(subject.tokens, read=sites, write={site: lambda x, v=value: v})
        assert torch.equal(out[site], value), site
        assert not torch.allclose(out[LOGITS], plain[LOGITS], atol=1e-3), site
        for earlier in sites:
            if (earlier.layer is not None or earlier.name == "embed") and site.layer is None:
                assert torch.equal(out[earlier], plain[earlier]), (site, earlier)
            elif earlier.layer is not None and earlier.layer < (site.layer or 0) and earlier.name != "resid_post":
                assert torch.equal(out[earlier], plain[earlier]), (site, earlier)


def test_feeds_are_what_changes_first(subject: Subject) -> None:
    every = subject.model.sites()
    assert [each.order for each in every] == list(range(len(every)))
    for each in every:
        place = {other.site: other.order for other in every}
        assert all(place[site] > each.order for site in each.feeds), each
        assert each.feeds or each.site == LOGITS
    plain = subject.model.run(subject.tokens, read=[each.site for each in every])
    for each in (each for each in every[:-1] if each.site.layer in (1, None)):
        value = noise(plain[each.site]).abs() + 0.5
        held = {s: lambda x, s=s: plain[s] for s in each.feeds}
        out = subject.model.run(subject.tokens, read=[LOGITS], write={each.site: lambda x, v=value: v, **held})
        # What a site feeds is all the way there is from it.
        torch.testing.assert_close(out[LOGITS], plain[LOGITS], rtol=1e-3, atol=1e-4, msg=str(each.site))


def test_heads_that_look_everywhere_alike_mix_the_mean(subject: Subject) -> None:
    v, z, pattern = (Site(name, 1) for name in ("v", "z", "attn_pattern"))
    got = subject.model.run(subject.tokens, read=[v, z], write={pattern: lambda x: torch.full_like(x, 1 / 9)})
    heads = got[z].unflatten(-1, (4, -1))
    values = got[v].unflatten(-1, (-1, heads.shape[-1])).mean(1, keepdim=True)
    same(values.repeat_interleave(4 // values.shape[2], dim=2).expand_as(heads), heads)


def test_a_norm_divides_by_what_is_written(subject: Subject) -> None:
    site, end = Site("final_norm_scale"), Site("resid_post", LAYERS - 1)
    norm = subject.model.hf.get_submodule(subject.model.family.final_norm)
    made: list[Tensor] = []
    with norm.register_forward_hook(lambda _, args, out: made.append(out.clone())):
        once = subject.model.run(subject.tokens, read=[site, end, LOGITS])
    with subject.model.hf.get_output_embeddings().register_forward_pre_hook(lambda _, a: made.append(a[0].clone())):
        subject.model.run(subject.tokens, read=[LOGITS], write={site: lambda x: x * 2})
    bias = getattr(norm, "bias", None)
    bias = 0 if bias is None else bias
    same((made[1] - bias) * 2, made[0] - bias)
    assert once[site].dtype == torch.float32


def test_a_closed_gate_leaves_the_bias_alone(subject: Subject) -> None:
    site, out = Site("mlp_gate", 1), Site("mlp_out", 1)
    if subject.case.name not in GATED:
        with pytest.raises(BadInput, match="has no L1.mlp_gate: in this architecture no module"):
            subject.model.check(site)
        return
    got = subject.model.run(subject.tokens, read=[out], write={site: torch.zeros_like})
    assert (got[out] == 0).all()


# freezing


def everything(model: Model) -> list[Site]:
    """Where a model is not linear in its stream."""
    names = {each.site.name for each in model.sites()}
    held = "mlp_gate" if "mlp_gate" in names else "mlp_out"
    return [
        each.site for each in model.sites() if each.site.name in (held, "attn_pattern", "final_norm_scale", *SCALES)
    ]


def test_with_everything_frozen_the_rest_is_linear(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, start = subject.model, subject.tokens, Site("resid_post", 0)
    if subject.case.name == "gemma2":
        monkeypatch.setattr(model.hf.config, "final_logit_softcapping", None)  # bends the logits themselves
    frozen = model.freeze(tokens, [site for site in everything(model) if site.layer != 0])
    x = subject.all[start].clone().requires_grad_()
    step, ask = noise(x), torch.randn(258, generator=torch.Generator().manual_seed(3))

    def end(x: Tensor, **options: object) -> Tensor:
        return model.run_with_gradients(tokens, read=[LOGITS], write={start: lambda _: x}, **options)[LOGITS]

    at = end(x, freeze=frozen)
    assert torch.equal(at, end(x)) and torch.equal(at, model.run(tokens, read=[LOGITS])[LOGITS])
    (gradient,) = torch.autograd.grad((at @ ask).sum(), x)
    with torch.no_grad():
        moved = [end(x + size * step, freeze=frozen) - at for size in (1.0, 4.0)]
        bent = end(x + 4 * step) - at
    scale = float(moved[1].abs().max())
    torch.testing.assert_close(moved[1], 4 * moved[0], rtol=1e-4, atol=2e-5 * scale)
    assert not torch.allclose(bent, moved[1], rtol=0.05, atol=0.05 * scale)
    wanted = float((gradient * step).sum())
    assert float((moved[1] @ ask).sum()) / 4 == pytest.approx(wanted, rel=1e-3, abs=1e-4 * scale * 9)


def test_what_is_frozen_by_default() -> None:
    model = tiny_model()
    frozen = model.freeze(torch.arange(9)[None])
    names = ("attn_norm_scale", "attn_pattern", "mlp_norm_scale")
    assert set(frozen.values) == {Site(n, i) for n in names for i in range(3)} | {Site("final_norm_scale")}
    assert "L0.attn_pattern" in repr(frozen)


def test_what_is_frozen_holds_while_the_stream_changes() -> None:
    model, tokens = tiny_model(), torch.arange(18).view(2, 9)
    frozen = model.freeze(tokens, [Site("attn_pattern", 1), Site("mlp_out", 1)])
    change = {Site("resid_pre", 1): torch.zeros_like}
    got = model.run(tokens, read=frozen.values, write=change, freeze=frozen)
    assert all(torch.equal(got[site], x) for site, x in frozen.values.items())


def test_what_cannot_be_held_is_a_sentence() -> None:
    model, tokens = tiny_model(), torch.arange(18).view(2, 9)
    site = Site("attn_pattern", 1)
    frozen = model.freeze(tokens[:1], [site])
    assert model.run(tokens, read=[LOGITS], freeze=frozen)[LOGITS].shape == (2, 9, 258)  # one for all contexts
    with pytest.raises(BadInput, match=r"frozen with shape \(1, 4, 9, 9\) and is \(2, 4, 8, 8\)"):
        model.run(tokens[:, :8], read=[LOGITS], freeze=frozen)
    with pytest.raises(BadInput, match="L1.attn_pattern is frozen and written at once"):
        model.run(tokens, read=[LOGITS], write={site: lambda x: x}, freeze=frozen)


# what is refused, and what stays behind


def test_a_pattern_has_no_rows() -> None:
    with pytest.raises(BadInput, match="L1.attn_pattern has no width: it is a weight for each head.*L1.z"):
        tiny_model().width(Site("attn_pattern", 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("L1.somewhere", "tiny has no site named L1.somewhere. Choose one of L1.resid_pre"),
        ("somewhere", "tiny has no site named somewhere. Choose one of embed, final_norm_scale, logits"),
        ("L1.resid_psot", "Was resid_post meant"),
        ("resid_post", "needs a layer, as in L0.resid_post"),
        ("L1.logits", "has no layer: write just logits"),
        ("L7.anything", "tiny has 3 layers"),
    ],
)
def test_what_a_model_lacks_it_refuses(text: str, says: str) -> None:
    model = tiny_model()
    for ask in (model.check, model.width, lambda site: model.run(torch.arange(4)[None], read=[site])):
        with pytest.raises(BadInput, match=says):
            ask(Site.parse(text))


def test_a_pass_that_goes_on_has_no_keys_to_write() -> None:
    model = opened(CASES[0]).model
    for name in ("k", "v", "attn_pattern"):
        with pytest.raises(BadInput, match=f"L1.{name} is not read or written in a pass that goes on"):
            model.run(torch.arange(4)[None], read=[LOGITS, Site(name, 1)], past=DynamicCache())


def test_nothing_stays_behind_when_a_write_fails(subject: Subject) -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("mine")

    before = put_in(subject.model)
    for site in one_layer(inner(subject.model)):
        with pytest.raises(RuntimeError, match="mine"):
            subject.model.run(subject.tokens, write={site: broken})
        assert put_in(subject.model) == before


def test_a_pass_ends_after_the_last_place_inside(subject: Subject) -> None:
    ran: list[int] = []
    with subject.blocks[1].mlp.register_forward_hook(lambda *_: ran.append(1)):
        subject.model.run(subject.tokens, read=[Site("attn_pattern", 1), Site("q", 1)])
    assert not ran


def test_a_place_that_a_pass_does_not_reach_is_named() -> None:
    model = tiny_model()
    model.hf.blocks[1].attn.forward = lambda x: x
    with pytest.raises(BadInput, match="forward pass of tiny never reached L1.q"):
        model.run(torch.arange(4)[None], read=[Site("q", 1)])


def test_a_module_that_is_no_norm_has_no_scale() -> None:
    assert Norm.of(nn.Linear(8, 8), 8, torch.device("cpu")) is None
    assert Norm.of(nn.Linear(8, 4), 8, torch.device("cpu")) is None
    assert Norm.of(nn.LayerNorm(8), 8, torch.device("cpu")) is not None


@pytest.mark.parametrize("model_type", ["olmo", "glm4", "gpt_oss", "qwen3_next", "deepseek_v3"])
def test_places_inside_are_found_without_a_row(model_type: str) -> None:
    model = open_model(build(model_type), Ids(), name=model_type)
    names = {each.site.name for each in model.sites()}
    assert {"q", "k", "v", "attn_pattern", "final_norm_scale"} <= names
    assert ("attn_post_norm_scale" in names) == (model_type == "glm4")
