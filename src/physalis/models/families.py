"""families: one table that says where, in each Hugging Face architecture, every site is.

Nothing else knows a module's name. A Family is a value: dotted module paths inside the model and inside one block.
To read an architecture that is not in the table, make a Family and pass it: ``load_model(name, family=Family(...))``.
"""

from dataclasses import dataclass, replace

from physalis.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Where one architecture keeps its sites. Paths within a block are relative to the block.

    The residual stream needs no path: ``embed`` and ``L0.resid_pre`` enter the first block, ``resid_pre`` enters a
    block and ``resid_post`` leaves it. Nor does the unembedding: the model's ``get_output_embeddings()`` names it.
    """

    model_types: tuple[str, ...]
    """``config.model_type`` of the Hugging Face models that this row describes."""
    blocks: str
    """The list of blocks, in order, from the model's root: ``model.layers``."""
    final_norm: str
    """The norm before the unembedding, from the root."""
    attn_out: str
    """Its output is what attention adds to the residual stream."""
    z: str
    """The attention's output projection: its input is the heads' outputs side by side."""
    mlp_in: str
    """The MLP: its input, after the norm, is what it reads."""
    mlp_out: str
    """Its output is what the MLP adds to the residual stream."""
    resid_mid: str | None
    """The norm before the MLP: its input is the stream between attention and MLP. None if they run side by side."""
    parallel_if: str | None = None
    """The config flag under which a model has no ``resid_mid`` although the row names one."""
    gain_offset: float = 0.0
    """What the final norm adds to its weight before it multiplies (Gemma's norms multiply by 1 + weight)."""


LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3"),
    blocks="model.layers",
    final_norm="model.norm",
    attn_out="self_attn",
    z="self_attn.o_proj",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid="post_attention_layernorm",
)

GEMMA = Family(  # a second norm stands after attention and after the MLP, before each is added
    model_types=("gemma2", "gemma3_text"),
    blocks="model.layers",
    final_norm="model.norm",
    attn_out="post_attention_layernorm",
    z="self_attn.o_proj",
    mlp_in="mlp",
    mlp_out="post_feedforward_layernorm",
    resid_mid="pre_feedforward_layernorm",
    gain_offset=1.0,
)

GEMMA3 = replace(  # with its vision tower, as on the hub from 4B up: the text model is one level deeper
    GEMMA, model_types=("gemma3",), blocks="model.language_model.layers", final_norm="model.language_model.norm"
)

GPT2 = Family(
    model_types=("gpt2",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    attn_out="attn",
    z="attn.c_proj",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid="ln_2",
)

GPT_NEOX = Family(
    model_types=("gpt_neox",),
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    attn_out="attention",
    z="attention.dense",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid="post_attention_layernorm",
    parallel_if="use_parallel_residual",
)

PHI = Family(
    model_types=("phi",),
    blocks="model.layers",
    final_norm="model.final_layernorm",
    attn_out="self_attn",
    z="self_attn.dense",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid=None,
)

TINY = Family(
    model_types=("physalis_tiny",),
    blocks="blocks",
    final_norm="norm",
    attn_out="attn",
    z="attn.out",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid="mlp_norm",
)

FAMILIES: tuple[Family, ...] = (LLAMA, GEMMA, GEMMA3, GPT2, GPT_NEOX, PHI, TINY)


def family_of(model_type: str) -> Family:
    """The row for a ``config.model_type``. Raises BadInput, saying how to make one, if there is none."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = sorted(t for family in FAMILIES for t in family.model_types if family is not TINY)
    raise BadInput(
        f"The architecture {model_type!r} is not one that physalis knows ({', '.join(known)}). Name its modules "
        "yourself: print(model) to see them, then load_model(name, family=Family(model_types=(...,), "
        "blocks='model.layers', final_norm='model.norm', attn_out='self_attn', "
        "z='self_attn.o_proj', mlp_in='mlp', mlp_out='mlp', resid_mid='post_attention_layernorm')), "
        "each a path as print(model) shows it."
    )
