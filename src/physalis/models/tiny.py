"""tiny: a whole small transformer in one file, with a byte tokenizer: to test with, to read, and to train in the lab.

It is a decoder as GPT-2 is one: learned positions, RMS norm before attention and before a GELU MLP, untied unembedding.
``Tiny`` is a plain module that can be trained; ``tiny_model`` wraps one as a Model, through the same families table as
every other model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from physalis.models.families import TINY
from physalis.models.model import Model


class ByteTokenizer:
    """Text as its UTF-8 bytes: ids 0 to 255, then a BOS token and a token that ends a document."""

    bos_token_id = 256
    eos_token_id = 257

    def __call__(self, text: Sequence[str], *, add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        start = [self.bos_token_id] if add_special_tokens else []
        return {"input_ids": [[*start, *t.encode()] for t in text]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [_piece(i) for i in ids]

    def get_vocab(self) -> dict[str, int]:
        return {_piece(i): i for i in range(258)}


def _piece(i: int) -> str:
    return {256: "<bos>", 257: "<|endoftext|>"}.get(i) or (chr(i) if i < 128 else f"\\x{i:02x}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyConfig:
    """Sizes of a Tiny."""

    n_layers: int = 3
    d_model: int = 32
    n_heads: int = 4
    d_mlp: int = 64
    vocab_size: int = 258
    context: int = 256
    """Longest input, in tokens."""
    model_type: str = "physalis_tiny"
    """The row of ``families`` that describes it."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Attention(nn.Module):
    """Causal self-attention. ``out`` reads the heads' outputs side by side."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Float[Tensor, "contexts context d_model"]) -> Float[Tensor, "contexts context d_model"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The values mixed, of queries, keys and values "contexts heads context d_head"."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def weights(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """By which weights they are mixed, "contexts heads query key"."""
        hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
        return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(hidden, float("-inf")).softmax(-1)


class Block(nn.Module):
    """Attention and MLP, each reading a normalised residual stream and adding to it."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(config.d_model)
        self.attn = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.d_model)
        self.mlp = nn.Sequential(
            nn.Linear(config.d_model, config.d_mlp), nn.GELU(), nn.Linear(config.d_mlp, config.d_model)
        )

    def forward(self, x: Float[Tensor, "contexts context d_model"]) -> Float[Tensor, "contexts context d_model"]:
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Output(NamedTuple):
    """What a forward pass returns, named as in Hugging Face models."""

    logits: Float[Tensor, "contexts context vocab"]


class Tiny(nn.Module):
    """The transformer. Call it on token ids; ``.logits`` of what it returns predicts the next token."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model)
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def get_output_embeddings(self) -> nn.Linear:
        """The unembedding, under the name that Hugging Face models give it."""
        return self.unembed

    def forward(self, tokens: Int[Tensor, "contexts context"], *, use_cache: bool = False) -> Output:
        assert not use_cache, "Tiny keeps no cache"
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return Output(self.unembed(self.norm(x)))


def untrained(config: TinyConfig = TinyConfig(), *, seed: int = 0) -> Tiny:
    """One whose weights are drawn as torch draws them after ``manual_seed(seed)``, from a generator of its own: what
    other threads draw meanwhile changes nothing."""
    random = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        module = Tiny(config)
    for part in module.to_empty(device="cpu").modules():
        match part:
            case nn.Embedding():
                nn.init.normal_(part.weight, generator=random)
            case nn.Linear():
                bound = part.in_features**-0.5
                for parameter in part.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=random)
            case nn.RMSNorm():
                nn.init.ones_(part.weight)
    return module


def tiny_model(*, seed: int = 0, config: TinyConfig = TinyConfig()) -> Model:
    """An untrained Tiny on the CPU in float32, as a Model. The same seed gives the same weights."""
    return Model(untrained(config, seed=seed), ByteTokenizer(), name="tiny", family=TINY)
