"""identity: by what two loaded models are the same: their architecture and their weights."""

import hashlib
import json
from typing import Any

import torch

COMPUTES = (
    "model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "hidden_activation",
    "activation_function", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layer_types", "sliding_window",
    "rope_parameters", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
    "use_parallel_residual", "partial_rotary_factor", "rotary_pct",
)  # fmt: skip
"""The config's fields that decide what is computed beyond the parameters. Not all fields: those change from one
release of transformers to the next, and an upgrade must not turn a model into another one."""

COMPUTES_IN_SOME = (
    "alibi", "attention_multiplier", "attention_types", "embedding_multiplier", "full_attention_interval",
    "layers_block_type", "logit_scale", "logits_scaling", "new_decoder_architecture", "norm_topk_prob",
    "num_experts_per_tok", "parallel_attn", "residual_multiplier", "rotary_dim", "routed_scaling_factor",
    "scale_depth", "scale_emb", "top_k",
)  # fmt: skip
"""Likewise, of architectures that have them."""


def fingerprint(hf: Any) -> str:
    """sha256 of the architecture and of every parameter's name, shape and a sample of its values."""
    h = hashlib.sha256()
    config = hf.config.to_dict()
    decides = {k: config.get(k) for k in COMPUTES} | {k: config[k] for k in COMPUTES_IN_SOME if k in config}
    h.update(json.dumps(decides, sort_keys=True, default=str).encode())
    for name, p in hf.named_parameters():
        flat = p.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].to("cpu", torch.bfloat16).view(torch.int16)
        h.update(f"{name} {tuple(p.shape)}".encode() + sample.numpy().tobytes())
    return h.hexdigest()
