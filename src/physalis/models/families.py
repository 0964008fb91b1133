"""families: one table that says where, in each Hugging Face architecture, every site is.

Nothing else knows a module's name. A Family is a value: dotted module paths inside the model and inside one block.
To read an architecture that is not in the table, make a Family and pass it: ``load_model(name, family=Family(...))``.
"""

from dataclasses import dataclass, replace

Paths = str | tuple[str, ...] | None
"""A module's path within a block; of several, the first that a block has; None where no block has the place."""

PLACES = ("attn_out", "z", "mlp_in", "mlp_out", "resid_mid")
"""The sites that are at a module of a block."""

PARTS = ("attn_norm", "mlp_norm", "mlp_gate", "mlp_neurons")
"""Modules of a block that have places inside, where the block has them."""


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
    final_norm: str | None
    """The norm before the unembedding, from the root. None if the direct path to the logits is another."""
    attn_out: Paths
    """Its output, times ``attn_scale``, is what attention adds to the residual stream."""
    z: Paths
    """The attention's output projection: its input is the heads' outputs side by side."""
    mlp_in: Paths
    """The MLP: its input, after the norm, is what it reads."""
    mlp_out: Paths
    """Its output, times ``mlp_scale``, is what the MLP adds to the residual stream."""
    resid_mid: Paths
    """The norm before the MLP: its input is the stream between attention and MLP. None if they run side by side."""
    attn_norm: Paths = None
    """The norm before attention: it reads the stream as it enters the block, and attention reads what it makes."""
    mlp_norm: Paths = None
    """The norm before the MLP, where it is not the one before attention."""
    mlp_gate: Paths = None
    """The nonlinearity of a gated MLP: what it makes is multiplied, neuron by neuron, with another projection."""
    mlp_neurons: Paths = None
    """The MLP's last projection: its input are the neurons."""
    parallel_if: str | None = None
    """The config flag under which a model has no ``resid_mid`` although the row names one."""
    attn_scale: float = 1.0
    """What is multiplied into the output of ``attn_out`` before it is added (Granite's residual multiplier)."""
    mlp_scale: float = 1.0
    """Likewise for ``mlp_out``."""
    logit_scale: float = 1.0
    """What is multiplied into what the unembedding makes of the final norm (Cohere's logit scale)."""

    def paths(self, name: str) -> tuple[str, ...]:
        """The paths at which blocks may have the place ``name``, one of ``PLACES`` and ``PARTS``."""
        given: Paths = getattr(self, name)
        return () if given is None else (given,) if isinstance(given, str) else given


LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3", "smollm3"),
    blocks="model.layers",
    final_norm="model.norm",
    attn_out="self_attn",
    z="self_attn.o_proj",
    mlp_in="mlp",
    mlp_out="mlp",
    resid_mid="post_attention_layernorm",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    mlp_gate="mlp.act_fn",
    mlp_neurons="mlp.down_proj",
)

PHI3 = replace(LLAMA, model_types=("phi3",), mlp_gate="mlp.activation_fn")

GEMMA = Family(  # a second norm stands after attention and after the MLP, before each is added
    model_types=("gemma2", "gemma3_text"),
    blocks="model.layers",
    final_norm="model.norm",
    attn_out="post_attention_layernorm",
    z="self_attn.o_proj",
    mlp_in="mlp",
    mlp_out="post_feedforward_layernorm",
    resid_mid="pre_feedforward_layernorm",
    attn_norm="input_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_gate="mlp.act_fn",
    mlp_neurons="mlp.down_proj",
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
    attn_norm="ln_1",
    mlp_norm="ln_2",
    mlp_neurons="mlp.c_proj",
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
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    mlp_neurons="mlp.dense_4h_to_h",
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
    attn_norm="input_layernorm",
    mlp_neurons="mlp.fc2",
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
    attn_norm="attn_norm",
    mlp_norm="mlp_norm",
    mlp_neurons="mlp.2",
)

FAMILIES: tuple[Family, ...] = (LLAMA, PHI3, GEMMA, GEMMA3, GPT2, GPT_NEOX, PHI, TINY)


def family_of(model_type: str) -> Family | None:
    """The row for a ``config.model_type``, or None: then ``structure.find_family`` looks for the sites."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def how_to_name() -> str:
    """How a person tells physalis where the sites of an architecture are."""
    return (
        "Name its modules yourself: print(model) to see them, then load_model(name, family=Family(model_types=(...,), "
        "blocks='model.layers', final_norm='model.norm', attn_out='self_attn', z='self_attn.o_proj', mlp_in='mlp', "
        "mlp_out='mlp', resid_mid='post_attention_layernorm')), each a path as print(model) shows it; "
        "from physalis.models import Family."
    )
