"""Every family, tensor by tensor at every site, on a tiny randomly initialised Hugging Face model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
import transformers
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models import FAMILIES, Family, Model, Tiny, TinyConfig, family_of, tiny_model
from physalis.models.sites.verification import open_model
from physalis.models.tiny import ByteTokenizer
from physalis.site import LAYERED, Site

LAYERS, D = 3, 32
SIZES = dict(
    vocab_size=258, hidden_size=D, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
    bos_token_id=256, eos_token_id=257, pad_token_id=None,
)  # fmt: skip
GROUPED = SIZES | dict(num_key_value_heads=2, head_dim=12)  # heads that do not span the width: 4 x 12 = 48
SLIDING = dict(sliding_window=4, layer_types=["sliding_attention", "full_attention", "sliding_attention"])


@dataclass(frozen=True)
class Case:
    """An architecture, and how its block puts its own modules together."""

    name: str
    config: Callable[[], transformers.PreTrainedConfig]
    project: Callable[[nn.Module, Tensor], Tensor]
    """From z to attn_out."""
    before_mlp: Callable[[nn.Module, Tensor, Tensor], Tensor]
    """From resid_pre and resid_mid to mlp_in."""
    mlp: Callable[[nn.Module, Tensor], Tensor]
    """From mlp_in to mlp_out."""
    parallel: bool = False
    width_of_z: int = D


def llama(name: str, config: Callable[[], transformers.PreTrainedConfig], width_of_z: int = D) -> Case:
    return Case(
        name,
        config,
        project=lambda b, z: b.self_attn.o_proj(z),
        before_mlp=lambda b, pre, mid: b.post_attention_layernorm(mid),
        mlp=lambda b, x: b.mlp(x),
        width_of_z=width_of_z,
    )


def gemma(name: str, config: Callable[[], transformers.PreTrainedConfig]) -> Case:
    return Case(
        name,
        config,
        project=lambda b, z: b.post_attention_layernorm(b.self_attn.o_proj(z)),
        before_mlp=lambda b, pre, mid: b.pre_feedforward_layernorm(mid),
        mlp=lambda b, x: b.post_feedforward_layernorm(b.mlp(x)),
        width_of_z=48,
    )


def neox(name: str, *, parallel: bool) -> Case:
    return Case(
        name,
        lambda: transformers.GPTNeoXConfig(**SIZES, use_parallel_residual=parallel, max_position_embeddings=64),
        project=lambda b, z: b.attention.dense(z),
        before_mlp=lambda b, pre, mid: b.post_attention_layernorm(pre if parallel else mid),
        mlp=lambda b, x: b.mlp(x),
        parallel=parallel,
    )


def gemma3_with_vision() -> transformers.PreTrainedConfig:
    vision = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = transformers.Gemma3TextConfig(**GROUPED, **SLIDING)
    return transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4,
        boi_token_index=250, eoi_token_index=251, image_token_index=252,
    )  # fmt: skip


CASES = (
    llama("llama", lambda: transformers.LlamaConfig(**SIZES, num_key_value_heads=2)),
    llama("mistral", lambda: transformers.MistralConfig(**GROUPED, sliding_window=4), 48),
    llama("qwen2", lambda: transformers.Qwen2Config(**SIZES, num_key_value_heads=2)),
    llama("qwen3", lambda: transformers.Qwen3Config(**GROUPED), 48),
    llama("smollm3", lambda: transformers.SmolLM3Config(**SIZES, num_key_value_heads=2)),
    llama("phi3", lambda: transformers.Phi3Config(**SIZES, num_key_value_heads=2)),
    gemma("gemma2", lambda: transformers.Gemma2Config(**GROUPED, **SLIDING, query_pre_attn_scalar=12)),
    gemma("gemma3_text", lambda: transformers.Gemma3TextConfig(**GROUPED, **SLIDING)),
    gemma("gemma3", gemma3_with_vision),
    Case(
        "gpt2",
        lambda: transformers.GPT2Config(
            vocab_size=258, n_embd=D, n_layer=LAYERS, n_head=4, n_positions=64, bos_token_id=256, eos_token_id=257
        ),
        project=lambda b, z: b.attn.c_proj(z),
        before_mlp=lambda b, pre, mid: b.ln_2(mid),
        mlp=lambda b, x: b.mlp(x),
    ),
    neox("gpt_neox", parallel=True),
    neox("gpt_neox_sequential", parallel=False),
    Case(
        "phi",
        lambda: transformers.PhiConfig(**SIZES),
        project=lambda b, z: b.self_attn.dense(z),
        before_mlp=lambda b, pre, mid: b.input_layernorm(pre),
        mlp=lambda b, x: b.mlp(x),
        parallel=True,
    ),
    Case(
        "physalis_tiny",
        lambda: None,
        project=lambda b, z: b.attn.out(z),
        before_mlp=lambda b, pre, mid: b.mlp_norm(mid),
        mlp=lambda b, x: b.mlp(x),
    ),
)


@dataclass(frozen=True)
class Subject:
    case: Case
    model: Model
    tokens: Tensor
    blocks: list[nn.Module]
    all: dict[Site, Tensor]
    """Every site, read in one pass."""

    def sites(self) -> Iterator[Site]:
        yield Site("embed")
        for layer in range(LAYERS):
            for name in LAYERED:
                if not (self.case.parallel and name == "resid_mid"):
                    yield Site(name, layer)
        yield Site("logits")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    return opened(request.param)


def opened(case: Case) -> Subject:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if case.name == "physalis_tiny":
        hf = Tiny(TinyConfig(n_layers=LAYERS, d_model=D))
    else:
        eager = {"attn_implementation": "eager"} if case.name == "gemma2" else {}  # as load_model does: its soft cap
        hf = transformers.AutoModelForCausalLM.from_config(case.config(), **eager)
    with torch.no_grad():
        for p in hf.parameters():  # biases start at 0 and gains at 1, which would hide a norm that was left out
            p.add_(torch.randn_like(p) * 0.1)
    hf = hf.eval()
    model = open_model(hf, ByteTokenizer(), name=case.name, family=family_of(hf.config.model_type))
    tokens = torch.randint(0, 256, (2, 9))
    blocks = list(hf.get_submodule(model.family.blocks))
    made = Subject(case, model, tokens, blocks, {})
    made.all.update(model.run(tokens, read=list(made.sites())))
    return made


def noise(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_reads_every_site(subject: Subject) -> None:
    assert set(subject.all) == set(subject.sites())
    for site, x in subject.all.items():
        assert x.shape == (2, 9, subject.model.width(site)), site
    assert subject.model.n_layers == LAYERS and subject.model.d_model == D and subject.model.vocab_size == 258


def test_residual_stream_is_what_transformers_reports(subject: Subject) -> None:
    if subject.case.name == "physalis_tiny":
        pytest.skip("reports no hidden states")
    with torch.inference_mode():
        out = subject.model.hf(subject.tokens, output_hidden_states=True, use_cache=False)
    for layer in range(LAYERS):
        assert torch.equal(subject.all[Site("resid_pre", layer)], out.hidden_states[layer])
        if layer:
            assert torch.equal(subject.all[Site("resid_post", layer - 1)], out.hidden_states[layer])
    final = subject.model.hf.get_submodule(subject.model.family.final_norm)
    same(final(subject.all[Site("resid_post", LAYERS - 1)]), out.hidden_states[LAYERS])
    assert torch.equal(subject.all[Site("embed")], out.hidden_states[0])
    assert torch.equal(subject.all[Site("logits")], out.logits)


def test_reads_agree_with_the_block_arithmetic(subject: Subject) -> None:
    for layer, block in enumerate(subject.blocks):
        at = {name: subject.all.get(Site(name, layer)) for name in LAYERED}
        pre, post, attn, mlp = (at[n] for n in ("resid_pre", "resid_post", "attn_out", "mlp_out"))
        assert pre is not None and attn is not None and at["z"] is not None and at["mlp_in"] is not None
        assert at["z"].shape[-1] == subject.case.width_of_z
        with torch.no_grad():
            same(subject.case.project(block, at["z"]), attn)
            same(subject.case.before_mlp(block, pre, at["resid_mid"]), at["mlp_in"])
            same(subject.case.mlp(block, at["mlp_in"]), mlp)
        same(pre + attn + mlp, post)
        if not subject.case.parallel:
            same(pre + attn, at["resid_mid"])


def test_z_is_attention_times_values(subject: Subject) -> None:
    if subject.case.name in ("physalis_tiny", "phi3"):
        pytest.skip("has no separate value projection to compare with")
    config = subject.model.hf.config.get_text_config()
    old = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        with torch.inference_mode():
            weights = subject.model.hf(subject.tokens, output_attentions=True, use_cache=False).attentions
    finally:
        config._attn_implementation = old
    for layer, block in enumerate(subject.blocks):
        pre = subject.all[Site("resid_pre", layer)]
        with torch.no_grad():
            if hasattr(block, "attn"):
                v = block.attn.c_attn(block.ln_1(pre)).split(D, -1)[2].unflatten(-1, (4, -1))
            elif hasattr(block, "attention"):
                v = block.attention.query_key_value(block.input_layernorm(pre)).unflatten(-1, (4, 3, -1))[..., 2, :]
            else:
                v = block.self_attn.v_proj(block.input_layernorm(pre))
                v = v.unflatten(-1, (-1, subject.case.width_of_z // 4))
                v = v.repeat_interleave(4 // v.shape[2], dim=2)
        z = torch.einsum("bhqk,bkhd->bqhd", weights[layer], v).flatten(2)
        same(z, subject.all[Site("z", layer)])


def test_writing_back_what_was_read_changes_nothing(subject: Subject) -> None:
    logits = Site("logits")
    for site in subject.sites():
        out = subject.model.run(subject.tokens, read=[logits], write={site: lambda x: x.clone()})
        assert torch.equal(out[logits], subject.all[logits]), site


def test_a_write_is_read_back_and_reaches_only_what_follows(subject: Subject) -> None:
    sites = list(subject.sites())
    for site in sites:
        value = noise(subject.all[site])
        out = subject.model.run(subject.tokens, read=sites, write={site: lambda x, v=value: v})
        assert torch.equal(out[site], value), site
        if site.name != "logits":
            assert not torch.allclose(out[Site("logits")], subject.all[Site("logits")], atol=1e-3), site
        for earlier in sites:
            before = (earlier.layer or 0) < (site.layer or 0) or earlier == Site("embed") and site != Site("embed")
            if before and earlier.name != "logits" and not _one_place(earlier, site):
                assert torch.equal(out[earlier], subject.all[earlier]), (site, earlier)


def _one_place(a: Site, b: Site) -> bool:
    # What leaves a block enters the next, and what is embedded enters the first.
    stream = {"embed": 0, "resid_pre": 0, "resid_post": 1}
    return a.name in stream and b.name in stream and (a.layer or 0) + stream[a.name] == (b.layer or 0) + stream[b.name]


def test_writes_follow_the_block_arithmetic(subject: Subject) -> None:
    block, layer = subject.blocks[1], 1
    at = {name: Site(name, layer) for name in LAYERED}
    sites = [s for s in subject.sites() if s.layer == layer] + [Site("resid_pre", 2)]

    def written(name: str) -> dict[Site, Tensor]:
        return subject.model.run(subject.tokens, read=sites, write={at[name]: noise})

    with torch.no_grad():
        out = written("z")
        same(out[at["attn_out"]], subject.case.project(block, out[at["z"]]))
        out = written("mlp_in")
        same(out[at["mlp_out"]], subject.case.mlp(block, out[at["mlp_in"]]))
        for name in ("attn_out", "mlp_out", "z", "mlp_in", "resid_pre"):
            out = written(name)
            same(out[at["resid_post"]], out[at["resid_pre"]] + out[at["attn_out"]] + out[at["mlp_out"]])
            same(out[Site("resid_pre", 2)], out[at["resid_post"]])
        out = written("resid_post")
        assert torch.equal(out[Site("resid_pre", 2)], out[at["resid_post"]])
        if not subject.case.parallel:
            out = written("resid_mid")
            same(out[at["mlp_in"]], subject.case.before_mlp(block, out[at["resid_pre"]], out[at["resid_mid"]]))
            same(out[at["resid_post"]], out[at["resid_mid"]] + out[at["mlp_out"]])
            out = subject.model.run(subject.tokens, read=sites, write={at["attn_out"]: torch.zeros_like})
            assert torch.equal(out[at["resid_mid"]], out[at["resid_pre"]])
            out = subject.model.run(subject.tokens, read=sites, write={at["mlp_out"]: torch.zeros_like})
            assert torch.equal(out[at["resid_post"]], out[at["resid_mid"]])


def test_unembedding_is_the_direct_path(subject: Subject) -> None:
    # For a stream with unit scale, logits = unembedding @ stream + what the norm's and the head's biases add.
    model = subject.model
    norm = model.hf.get_submodule(model.family.final_norm)
    head = model.hf.get_output_embeddings()
    x = torch.randn(1, 5, D)
    scaled = x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    scaled = scaled / scaled.pow(2).mean(-1, keepdim=True).sqrt()
    with torch.no_grad():
        bias = head(getattr(norm, "bias", None) if getattr(norm, "bias", None) is not None else torch.zeros(D))
        torch.testing.assert_close(head(norm(x)), scaled @ model.unembedding().T + bias, rtol=1e-3, atol=1e-3)


def test_parallel_blocks_have_no_resid_mid(subject: Subject) -> None:
    if not subject.case.parallel:
        subject.model.check(Site("resid_mid", 0))
        return
    with pytest.raises(BadInput, match="no resid_mid.*side by side.*L0.resid_mid"):
        subject.model.run(subject.tokens, read=[Site("resid_mid", 0)])


def test_every_model_type_of_the_table_is_tested() -> None:
    tested = {case.name for case in CASES}
    assert {t for family in FAMILIES for t in family.model_types} <= tested


def test_a_family_of_ones_own_reads_an_unknown_architecture() -> None:
    hf = transformers.AutoModelForCausalLM.from_config(transformers.StableLmConfig(**SIZES, num_key_value_heads=2))
    family = Family(
        model_types=("stablelm",), blocks="model.layers", final_norm="model.norm", attn_out="self_attn",
        z="self_attn.o_proj", mlp_in="mlp", mlp_out="mlp", resid_mid="post_attention_layernorm",
    )  # fmt: skip
    model = Model(hf, ByteTokenizer(), name="mine", family=family)
    sites = [Site(n, 1) for n in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")]
    got = model.run(torch.randint(0, 256, (1, 6)), read=sites)
    pre, attn, mid, mlp, post = (got[s] for s in sites)
    same(pre + attn, mid)
    same(mid + mlp, post)


def test_a_family_with_a_wrong_module_is_refused() -> None:
    tiny = tiny_model()
    with pytest.raises(BadInput, match="'attn.oops' that Block does not have"):
        Model(tiny.hf, tiny.tokenizer, name="x", family=replace(tiny.family, z="attn.oops"))


def test_logits_at_some_positions_are_those_of_all(subject: Subject) -> None:
    logits = Site("logits")
    for at in (slice(-1, None), slice(2, 5)):
        same(subject.model.run(subject.tokens, read=[logits], logits_at=at)[logits], subject.all[logits][:, at])
