"""memory: what reading a text takes beside the model itself, and how long a text may so be.

An estimate from above, by what grows with a text: the keys and values that are kept of every layer, the tensors of one
block, and where an architecture's attention is computed whole (``eager``), a score for each head and pair of positions.
Logits are not counted: they are computed where they are looked at, at one position of a text that is gone on with.
"""

from bisect import bisect_right
from typing import Any

from physalis.models.model import Model

MOST_BYTES = 4 << 30
"""What one request to a server may take beside the model."""
MOST_TOKENS = 8_192
"""And how long its text may be, also where a model reads more: a minute of a laptop."""
AS_WIDE, AS_DEEP = 8, 4
"""Tensors of a block that are there at once, as wide as the stream and as the middle of its MLP."""
SCORES = 3
"""Times that whole scores are there: as they are, with their mask, and as shares."""


def reading_bytes(model: Model, tokens: int, contexts: int = 1) -> int:
    """Bytes, at most, of reading ``contexts`` texts of ``tokens`` tokens at once and keeping what going on needs."""
    config = _config(model)
    size = max(model.dtype.itemsize, 4)  # norms and rotations are computed in float32 whatever the model is in
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None) or 1
    shared = (getattr(config, "num_key_value_heads", None) or heads) / heads
    middle = getattr(config, "intermediate_size", None) or 4 * model.d_model
    kept = 2 * model.n_layers * model.d_model * shared * model.dtype.itemsize
    block = (AS_WIDE * model.d_model + AS_DEEP * middle) * size
    whole = getattr(config, "_attn_implementation", None) == "eager"
    scores = SCORES * heads * tokens * 4 if whole else 0
    return int(contexts * tokens * (kept + block + scores))


def most_tokens(model: Model, contexts: int = 1) -> int:
    """How long each of ``contexts`` texts may be that a server reads at once for anybody: within ``MOST_BYTES``,
    ``MOST_TOKENS`` and the model's positions."""
    longest = min(MOST_TOKENS, model.longest or MOST_TOKENS)
    fits = bisect_right(range(longest + 1), MOST_BYTES, key=lambda n: reading_bytes(model, n, contexts))
    return max(1, fits - 1)


def _config(model: Model) -> Any:
    config: Any = model.hf.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
