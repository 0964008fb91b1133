"""Models whose effects are known, two runs of one, and the induction circuit that was set by hand."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from test_families import CASES, opened
from torch import Tensor, nn

from physalis.lab.compiled import KNOWN, Words, known_transformer
from physalis.models import ByteTokenizer, Model, TinyConfig, family_of
from physalis.models.tiny import Tiny, untrained
from physalis.patching import Along, LogitDifference
from physalis.site import Site

NORM_BEHIND = ("gemma2", "gemma3_text", "gemma3")
METRIC = LogitDifference(3, 7)


@dataclass(frozen=True)
class Pair:
    name: str
    model: Model
    clean: Tensor
    corrupted: Tensor

    @property
    def last(self) -> Site:
        return Site("resid_post", self.model.n_layers - 1)


CASE = {case.name: case for case in CASES}


@cache
def pair_of(name: str) -> Pair:
    """A small model of a family, and two runs that have nothing in common."""
    clean, corrupted = torch.randint(0, 256, (2, 2, 6), generator=torch.Generator().manual_seed(3))
    return Pair(name, opened(CASE[name]).model, clean, corrupted)


def wrapped(module: Tiny) -> Model:
    return Model(module, ByteTokenizer(), name="made", family=family_of("physalis_tiny"))


def linear_pair() -> Pair:
    """Nothing is normalised, heads look at all tokens alike, MLPs have no nonlinearity."""
    module = untrained(TinyConfig(n_layers=2, d_model=12, n_heads=2, d_mlp=8), seed=1)
    blocks: list[Any] = list(module.blocks)
    with torch.no_grad():
        for block in blocks:
            block.attn_norm, block.mlp_norm, block.mlp[1] = nn.Identity(), nn.Identity(), nn.Identity()
            block.attn.qkv.weight[:24] = 0.0
            block.attn.qkv.bias[:24] = 0.0
    module.norm = nn.Identity()
    clean, corrupted = torch.randint(0, 256, (2, 2, 5), generator=torch.Generator().manual_seed(0))
    return Pair("linear", wrapped(module), clean, corrupted)


def saturating_pair() -> tuple[Pair, Along]:
    """y = 1 - ReLU(1 - x) of one number x, which is 2 where the token is 1 and 0 where it is 0 (CX-12 in the lab)."""
    module = untrained(TinyConfig(n_layers=1, d_model=4, n_heads=1, d_mlp=1))
    block: Any = module.blocks[0]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        block.attn_norm, block.mlp_norm, block.mlp[1] = nn.Identity(), nn.Identity(), nn.ReLU()
        module.embed.weight[1, 0] = 2.0
        block.mlp[0].weight[0, 0], block.mlp[0].bias[0] = -1.0, 1.0
        block.mlp[2].weight[1, 0], block.mlp[2].bias[1] = -1.0, 1.0
    y = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return Pair("saturating", wrapped(module), torch.tensor([[1]]), torch.tensor([[0]])), Along(
        Site("resid_post", 0), y
    )


def induction_pair() -> tuple[Pair, Along]:
    """The transformer set by hand, where a bracket followed the last token before, and where another token stood in
    front of that bracket. Two heads do it: L0's first tells the bracket what stood before it, L1's last looks there.
    Words that are not in the vocabulary are their letters, so a letter is a token."""
    words = Words(["a", "b", "c", "d", "(", ")"])
    model = known_transformer(words)
    clean, corrupted = ["cda(bdca", "bb(cadab", "d(abcabd"], ["cdb(bdca", "bc(cadab", "c(abcabd"]
    runs = (torch.tensor([words([text])["input_ids"][0] for text in each]) for each in (clean, corrupted))
    direction = torch.zeros(model.d_model)
    direction[[known.name for known in KNOWN].index("a bracket followed it before")] = 1.0
    return Pair("induction", model, *runs), Along(Site("resid_post", 1), direction)
