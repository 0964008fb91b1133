"""programs: program_model, a model that computes rules and nothing else: what its features do is written down.

It is a model like any other to every verb: it is recorded, read by a dictionary, explained, scored, and run again on
texts that were written for a feature. Its stream holds the code of each rule, and a constant that makes all rows alike
in length, as those of real models are (a row that is all 0 would be left out as an attention sink's opposite).
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from physalis.corpora.characters import Piece
from physalis.errors import BadInput
from physalis.explanations import Fields, Rule, Surroundings
from physalis.models.families import Family
from physalis.models.model import Model
from physalis.models.text.corpus import Text
from physalis.models.text.tokens import Tokenizer

GROUND = 64.0
"""The constant: many times a code."""

FAMILY = Family(
    model_types=("physalis_programs",), blocks="blocks", final_norm=None, attn_out=None, z=None, mlp_in=None,
    mlp_out=None, resid_mid=None,
)  # fmt: skip


class _Config(NamedTuple):
    model_type: str = FAMILY.model_types[0]

    def to_dict(self) -> dict[str, Any]:
        return self._asdict()


class _Output(NamedTuple):
    logits: Float[Tensor, "contexts context vocab"]


class Programs(nn.Module):
    """``stream[..., i]`` is what rule i predicts; the last coordinate is ``GROUND``. It predicts no token."""

    def __init__(self, rules: Sequence[Rule], pieces: Sequence[Piece], fields: Fields | None) -> None:
        super().__init__()
        self.config = _Config()
        self.rules, self.pieces, self.fields = tuple(rules), pieces, fields
        self.blocks = nn.ModuleList([nn.Identity()])
        self.unembed = nn.Linear(len(rules) + 1, len(pieces), bias=False)
        nn.init.zeros_(self.unembed.weight)
        said = hashlib.sha256("\n".join(map(str, rules)).encode())
        if fields is not None:
            said.update(np.ascontiguousarray(fields.groups).tobytes())
        self.said = nn.Parameter(torch.tensor(list(said.digest()), dtype=torch.float32))  # a model is what it computes

    def get_output_embeddings(self) -> nn.Linear:
        """As Hugging Face models name it."""
        return self.unembed

    def forward(self, tokens: Int[Tensor, "contexts context"], *, use_cache: bool = False) -> _Output:
        text = Surroundings(tokens.cpu().numpy(), self.pieces, self.fields)
        codes = [rule.predict(text).reshape(tokens.shape) for rule in self.rules]
        codes.append(np.full(tokens.shape, GROUND, np.float32))
        x = torch.from_numpy(np.stack(codes, -1)).to(self.unembed.weight)
        for block in self.blocks:
            x = block(x)
        return _Output(self.unembed(x))


def program_model(rules: Sequence[Rule], tokenizer: Tokenizer, *, fields: Fields | None = None) -> Model:
    """A model of as many features as there are rules: feature i is coordinate i of ``L0.resid_post``. ``fields`` say
    what "like" means in them. Raises BadInput for no rules, and for one that never fires."""
    if not rules or any(not rule.clauses for rule in rules):
        raise BadInput(f"A model of programs takes rules that fire; received {[str(rule) for rule in rules]}.")
    corpus = Text(tokenizer)
    pieces = corpus.pieces(range(max(corpus.ids) + 1))
    return Model(Programs(rules, pieces, fields), corpus, name="programs", family=FAMILY)
