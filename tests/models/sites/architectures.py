"""Every causal language model of the installed transformers, as small as its config allows, with random weights.

``config_of("olmo2")`` shrinks the config class's defaults by the names of its fields; what some architectures need
beyond that is in ``OWN``. ``UNBUILT`` says why the rest are left out.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from physalis.errors import BadInput
from physalis.models import ByteTokenizer, Model
from physalis.models.hooks import ORDER
from physalis.models.sites.verification import open_model
from physalis.site import LAYERED, Site

D, VOCAB = 32, 160
ALL = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

_WIDTHS = (
    "hidden_size n_embd d_model n_embed dim dim_model emb_dim word_embed_proj_dim embedding_size lru_width "
    "attention_hidden_size mlp_hidden_size"
)
_INNER = (
    "intermediate_size ffn_dim n_inner d_ff d_inner decoder_ffn_dim encoder_ffn_dim ffn_hidden_size dff dim_ff "
    "intermediate_size_mlp dense_intermediate_size block_ff_dim shared_intermediate_size"
)
_EXPERT = (
    "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size moe_shared_expert_intermediate_size"
)
_LAYERS = "num_hidden_layers n_layer n_layers num_layers decoder_layers num_decoder_layers"
_HEADS = "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"
_EXPERTS = "num_experts n_routed_experts num_local_experts moe_num_experts"
_TOP = "num_experts_per_tok num_experts_per_token moe_topk moe_k moe_top_k"
_POSITIONS = "max_position_embeddings n_positions n_ctx max_seq_len max_seq_length"
SMALL: dict[str, Any] = {
    **dict.fromkeys(_WIDTHS.split(), D),
    **dict.fromkeys(_INNER.split(), 48),
    **dict.fromkeys(_EXPERT.split(), 24),
    **dict.fromkeys(_LAYERS.split(), 3),
    **dict.fromkeys(_HEADS.split(), 4),
    **dict.fromkeys(_EXPERTS.split(), 4),
    **dict.fromkeys(_TOP.split(), 2),
    **dict.fromkeys(_POSITIONS.split(), 64),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "linear_key_head_dim"), 8),
    **dict.fromkeys(("linear_value_head_dim", "state_size", "mamba_d_state", "chunk_size", "mamba_chunk_size"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_d_head", "mamba_num_heads", "mamba_head_dim", "qk_head_dim"), 8),
    **dict.fromkeys(("n_group", "topk_group", "n_groups", "mamba_n_groups", "first_k_dense_replace"), 1),
    **dict.fromkeys(("num_dense_layers", "n_shared_experts", "num_shared_experts"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "sliding_window"), 16),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB),
    **dict.fromkeys(("linear_num_value_heads", "time_step_rank", "mamba_dt_rank", "conv_kernel", "rotary_dim"), 4),
    "encoder_layers": 1, "hidden_size_per_layer_input": 8, "conv_L_cache": 3, "is_decoder": True,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "attention_dropout": 0.0,
}  # fmt: skip

_MLA = {"num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite"), _MLA),
    **dict.fromkeys(("glm_moe_dsa", "minicpm3", "youtu"), _MLA),
    "longcat_flash": {"num_key_value_heads": 4, "qk_head_dim": 16},
    "gpt_neo": {"num_layers": 4, "attention_types": [[["global", "local"], 2]]},
    "granite": {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    **dict.fromkeys(("dots3_note", "dots3_note_text"), _MLA),
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "mamba2": {"num_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 8)},
    "roc_bert": {"shape_vocab_size": 64, "pronunciation_vocab_size": 64},
    "minimax": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    **dict.fromkeys(
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "olmo_hybrid", "jamba"), {"num_hidden_layers": 4}
    ),
}
"""What single architectures need beyond ``SMALL``."""

_DRAFTS = "drafts for a larger model, whose states it reads"
_PATTERN = "its config does not allow few layers"
UNBUILT: dict[str, str] = {
    "blt": "parts of a fixed size make 96 million parameters",
    "cohere_compass_text": "transformers does not build it from its config class's defaults",
    "dbrx": "transformers does not build it from its config class's defaults",
    "dots3_note": "parts of a fixed size make 38 million parameters",
    "dots3_note_text": "parts of a fixed size make 38 million parameters",
    "gemma3n": "needs PIL and timm",
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
    "musicgen": "predicts codes of audio, and transformers does not build it from its config class's defaults",
    "musicgen_melody": "predicts codes of audio, and transformers does not build it from its config class's defaults",
    "zamba": _PATTERN,
    "zamba2": _PATTERN,
}
"""Why some are not built."""


def config_of(model_type: str) -> transformers.PreTrainedConfig:
    """A small config."""
    return _small(transformers.CONFIG_MAPPING[model_type], OWN.get(model_type, {}))


def _small(kind: type[transformers.PreTrainedConfig], own: dict[str, Any]) -> transformers.PreTrainedConfig:
    base = kind()
    names = {*base.__dict__, *inspect.signature(kind.__init__).parameters}
    options = {name: value for name, value in SMALL.items() if name in names}
    for name, value in base.__dict__.items():
        if isinstance(value, transformers.PreTrainedConfig):
            known = {*value.__dict__}
            options[name] = {k: v for k, v in SMALL.items() if k in known}
    return kind(**{**options, **own})


def build(model_type: str) -> transformers.PreTrainedModel:
    """A small model with weights drawn at random, frozen."""
    torch.manual_seed(0)
    config = config_of(model_type)
    with torch.device("meta"):
        size = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())
    assert size < 12e6, f"{model_type} has {size:,} parameters"
    hf = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in hf.parameters():  # biases start at 0 and gains at 1, which would hide what is left out
            p.add_(torch.randn_like(p) * 0.1)
    return hf.eval().requires_grad_(False)


# what is right is judged here by other means than the ones that found it


class Ids(ByteTokenizer):
    """A tokenizer that has a token for most ids of a small model."""

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(10, VOCAB)}


@dataclass(frozen=True)
class Judged:
    """What became of an architecture."""

    model_type: str
    opens: str
    """``all`` (every site of a transformer, but ``resid_mid`` where attention and MLP run side by side), ``some``,
    ``stream`` (only the residual stream and the logits), ``refused`` or ``unbuilt``."""
    said: str
    """The names of its sites, or why it does not open."""


def judge(model_type: str) -> Judged:
    """Open a small model and compare what its sites hold with what transformers says; AssertionError if they differ."""
    try:
        hf = build(model_type)
        hf(torch.arange(3, 15)[None], use_cache=False)
    except Exception:
        if model_type not in UNBUILT:
            raise
        return Judged(model_type, "unbuilt", UNBUILT[model_type])
    try:
        model = open_model(hf, Ids(), name=model_type)
    except BadInput as error:
        return Judged(model_type, "refused", str(error).split(": ", 1)[-1].split(". Name its")[0])
    check(model)
    names = {each.site.name for each in model.sites()} & set(LAYERED)  # those inside are where modules show them
    whole = {"attn_out", "z", "mlp_in", "mlp_out"} <= names and ("resid_mid" in names or model.family.resid_mid is None)
    opens = "all" if whole else "some" if names - {"resid_pre", "resid_post"} else "stream"
    return Judged(model_type, opens, ", ".join(name for name in ORDER if name in names))


def same(a: Tensor, b: Tensor, what: object) -> None:
    assert a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()) + 1e-6), what


@torch.no_grad()
def check(model: Model) -> None:
    """Every site against transformers' own hidden states and against the modules called by hand."""
    draw = torch.Generator().manual_seed(7)
    tokens = torch.randint(10, VOCAB, (2, 17), generator=draw)
    sites = [each.site for each in model.sites()]
    got = model.run(tokens, read=sites)
    for each in model.sites():
        if each.width is not None:
            assert got[each.site].shape == (*tokens.shape, each.width), each.site
    out = model.hf(tokens, output_hidden_states=True, use_cache=False)
    same(got[Site("logits")], out.logits, "logits")
    states = list(out.hidden_states or ())
    if len(states) < model.n_layers:
        states = by_hand(model, tokens)
    elif model.n_layers > 1 and torch.equal(states[0], got[Site("resid_post", 0)]):
        states = [got[Site("embed")], *states]  # some report what leaves each block, and not what enters the first
    for layer in range(model.n_layers):
        at = {site.name: x for site, x in got.items() if site.layer == layer}
        same(at["resid_pre"], states[layer], f"L{layer}.resid_pre is what transformers reports")
        if layer + 1 < model.n_layers:
            same(at["resid_post"], states[layer + 1], f"L{layer}.resid_post is what transformers reports")
        if {"attn_out", "mlp_out"} <= at.keys():
            same(at["resid_pre"] + at["attn_out"] + at["mlp_out"], at["resid_post"], f"L{layer}: what is added")
        block = model.hf.get_submodule(model.family.blocks)[layer]
        if {"z", "attn_out"} <= at.keys():
            projected = by_path(block, model.family.paths("z"))(at["z"])
            ways = [projected * model.family.attn_scale, by_path(block, model.family.paths("attn_out"))]
            if callable(ways[1]) and not torch.allclose(ways[0], at["attn_out"], rtol=1e-3, atol=1e-4):
                same(ways[1](projected) * model.family.attn_scale, at["attn_out"], f"L{layer}: z projects to attn_out")
        entry, leaves = (by_path(block, model.family.paths(name)) for name in ("mlp_in", "mlp_out"))
        if entry is leaves and "mlp_in" in at and "mlp_out" in at:
            made = entry(at["mlp_in"])
            made = made[0] if isinstance(made, tuple) else made
            same(
                made.reshape(at["mlp_out"].shape) * model.family.mlp_scale,
                at["mlp_out"],
                f"L{layer}: the MLP makes mlp_out of mlp_in",
            )
    for site in sites:
        again = model.run(tokens, read=[Site("logits")], write={site: lambda x: x.clone()})
        assert torch.equal(again[Site("logits")], out.logits), f"{site} written back changes the logits"
    direct_path(model)


def by_path(block: nn.Module, paths: Sequence[str]) -> Any:
    members = dict(block.named_modules())
    return next((members[path] for path in paths if path in members), None)


def by_hand(model: Model, tokens: Tensor) -> list[Tensor]:
    """What enters each block."""
    entered: list[Tensor] = []
    blocks = model.hf.get_submodule(model.family.blocks)
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: entered.append((args[0] if args else kwargs["hidden_states"]).clone()),
            with_kwargs=True,
        )
        for block in blocks
    ]
    model.hf(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return entered


CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap", "logit_softcapping")


def direct_path(model: Model) -> None:
    """A stream of unit scale times the unembedding is what it adds to the logits."""
    if model.family.final_norm is None:
        return
    x = torch.randn(1, 5, model.d_model, generator=torch.Generator().manual_seed(1))
    last, tokens = Site("resid_post", model.n_layers - 1), torch.full((1, 5), 20)
    plus, minus = (
        model.run(tokens, read=[Site("logits")], write={last: lambda _, s=s: s * x})[Site("logits")] for s in (1, -1)
    )
    config = model.hf.config.get_text_config()
    cap = next((getattr(config, name) for name in CAPS if getattr(config, name, None)), None)
    if cap is not None:
        plus, minus = (cap * (logits / cap).atanh() for logits in (plus, minus))
    norm = model.hf.get_submodule(model.family.final_norm)
    centred = norm(torch.ones(1, 1, model.d_model)) - norm(-torch.ones(1, 1, model.d_model))
    x = x - x.mean(-1, keepdim=True) if centred.abs().max() < 1e-4 else x
    same((plus - minus) / 2, x / x.pow(2).mean(-1, keepdim=True).sqrt() @ model.unembedding().T, "the direct path")


# the table in docs/models.md

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN = "<!-- architectures: written by tests/models/sites/architectures.py -->\n"
END = "<!-- end of architectures -->\n"
WORDS = {
    "all": "every site",
    "some": "some sites",
    "stream": "the stream and the logits",
    "refused": "refused",
    "unbuilt": "not tried",
}


def table(judged: Sequence[Judged]) -> str:
    """The counted list, in Markdown."""
    counts = {opens: [j for j in judged if j.opens == opens] for opens in WORDS}
    right = sum(len(counts[opens]) for opens in ("all", "some", "stream"))
    lines = [
        f"Of the {len(judged)} causal architectures of transformers {transformers.__version__}, {right} open: "
        f"{len(counts['all'])} with every site, {len(counts['some'])} with some, {len(counts['stream'])} with the "
        f"stream and the logits. {len(counts['refused'])} are refused, {len(counts['unbuilt'])} were not tried.\n",
        "| architectures | what is found |",
        "| --- | --- |",
    ]
    for opens, word in WORDS.items():
        saying: dict[str, list[str]] = {}
        for j in counts[opens]:
            saying.setdefault("" if opens in ("all", "stream") else f": {j.said}", []).append(f"`{j.model_type}`")
        lines += [f"| {', '.join(names)} | {word}{said} |" for said, names in saying.items()]
    return "\n".join(lines) + "\n"


def written(page: str, judged: Sequence[Judged]) -> str:
    """The page with its table written anew."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table(judged) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), [judge(model_type) for model_type in ALL]))
