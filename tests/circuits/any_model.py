"""any_model: a small model of every family, and sets of transcoders that know nothing of it."""

import torch
import transformers

from physalis.circuits import TranscoderSet
from physalis.dictionaries import TopK, TopKConfig
from physalis.models import family_of
from physalis.models.model import Model
from physalis.models.tiny import ByteTokenizer, tiny_model

SIZES = dict(
    vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    bos_token_id=256, eos_token_id=257, pad_token_id=None,
)  # fmt: skip
GROUPED = SIZES | dict(num_key_value_heads=2, head_dim=12)
SLIDING = dict(sliding_window=4, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, num_key_value_heads=2),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=4),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED),
    "phi3": lambda: transformers.Phi3Config(**SIZES, num_key_value_heads=2),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, **SLIDING, query_pre_attn_scalar=12),
    "gemma3_text": lambda: transformers.Gemma3TextConfig(**GROUPED, **SLIDING),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=258, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=256, eos_token_id=257
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SIZES, max_position_embeddings=64),
    "gpt_neox sequential": lambda: transformers.GPTNeoXConfig(
        **SIZES, use_parallel_residual=False, max_position_embeddings=64
    ),
    "phi": lambda: transformers.PhiConfig(**SIZES),
}
FAMILIES = [*CONFIGS, "tiny"]
PROMPT = list(b"in the beginning")


def any_model(name: str) -> Model:
    """A randomly initialised model of a family, float32."""
    if name == "tiny":
        return tiny_model()
    torch.manual_seed(0)
    config = CONFIGS[name]()
    hf = transformers.AutoModelForCausalLM.from_config(config)
    for each in hf.parameters():  # so large that each block matters, and norms and biases are not what they began as
        each.data += 0.05 * torch.randn(each.shape)
    family = family_of(config.model_type)
    assert family is not None
    return Model(hf, ByteTokenizer(), name=name, family=family)


def random_set(model: Model, out, *, n: int = 40, k: int = 6, skip: bool = False) -> TranscoderSet:
    """Transcoders that know nothing: what they leave is error, and graphs must add up all the same."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for layer in range(model.n_layers):
        config = TopKConfig(d_in=model.d_model, d_out=model.d_model, n_features=n, k=k, skip=skip)
        made[layer] = TopK(config)
        for name, value in made[layer].named_parameters():
            value.data = torch.randn(value.shape, generator=generator) * (0.02 if name == "skip" else 0.3)
        made[layer].enc.refresh()
        made[layer].dec.refresh()
    return TranscoderSet.write(out, model, made)
