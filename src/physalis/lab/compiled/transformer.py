"""transformer: known_transformer, two blocks of attention and ReLU whose weights were set by hand, and what they do.

The stream keeps each thing that is known at a coordinate of its own; nothing is normalised.

1. The embedding says of which of a few classes a token is, and by a random direction which token it is. Positions say p
   and p^2: a query (p - n, 1) and a key (2p, -p^2) meet highest n tokens back, where (j - (i - n))^2 is least.
2. Block 0: two heads carry the token one and two places back. Its MLP makes conjunctions: a name and a dot before it,
   digits and none, the first of a line.
3. Block 1: a head looks at the first of the line, one at all tokens at once (brackets opened less those closed), one at
   the same token (where it stood before), one at what followed the same token before: induction, by a head of block 0
   composed with one of block 1 (Elhage et al. 2021, Olsson et al. 2022).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from physalis.lab.compiled.words import END
from physalis.models.families import TINY
from physalis.models.model import Model
from physalis.models.text.corpus import Text
from physalis.models.text.tokens import Tokenizer
from physalis.models.tiny import Tiny, TinyConfig

CONTEXT, HEADS, D_HEAD, MANY = 128, 4, 64, 48
"""Positions; heads of a block; their width; coordinates that tell tokens apart."""
SHARP = 200.0
"""How much higher the place that a head looks for stands than any other, in logits: no other is seen."""


def _is(*words: str) -> Callable[[str], bool]:
    return lambda piece: piece.strip(" ").lower() in words


CLASSES: dict[str, Callable[[str], bool]] = {
    "def": _is("def"), "self": _is("self"), "import": _is("import", "from"), "return": _is("return"), "dot": _is("."),
    "open": _is("(", "[", "{"), "close": _is(")", "]", "}"), "comma": _is(","),
    "newline": lambda piece: piece == "\n", "spaces": lambda piece: not piece.strip(" "),
    "digits": lambda piece: piece.strip().isdigit(),
    "letters": lambda piece: piece.isalpha() and not piece[0].isupper(),
    "some": lambda piece: bool(piece.strip()) and piece != END,
}  # fmt: skip
"""What the embedding knows of a token."""


class Known(NamedTuple):
    """A feature that was put in."""

    name: str
    rule: str | None
    """What it is, in the rule language; None where it is not a function of the text around that this can say."""


KNOWN: tuple[Known, ...] = (
    Known("self", 'lexeme "self" = 1'),
    Known("digits not after a dot", 'kind "digits" and not "." before = 1'),
    Known("after def", 'lexeme "def" before = 1'),
    Known("two after import", 'lexeme "import" 2 before = 1 or lexeme "from" 2 before = 1'),
    Known("name after a dot", 'lexeme "." before and kind "lower case letters" = 1'),
    Known("in a line of return", 'line starts "return" = 1'),
    Known("in a line of import", 'line starts "import" = 1 or line starts "from" = 1'),
    Known("more brackets opened than closed", None),
    Known("stood before in the context", None),
    Known("a bracket followed it before", None),
)  # fmt: skip
"""Feature i is coordinate i of ``L1.resid_post``: 1 where it is there and 0 elsewhere."""

_NAMES = list(CLASSES)
_OWN, _PREVIOUS, _BEFORE, _LINE = 16, 32, 48, 64
"""Where the classes of a token begin, of the one before it, of the one before that, and of its line's first."""
_P, _P2, _ONE, _FIRST, _MARK, _BRACKETS, _MEAN, _FOLLOWED, _OPENS = range(80, 89)
_TOKEN, _TOKEN_BEFORE, _FOLLOWS = 96, 144, 192


def _own(name: str) -> int:
    return _OWN + _NAMES.index(name)


def _previous(name: str) -> int:
    return _PREVIOUS + _NAMES.index(name)


def _before(name: str) -> int:
    return _BEFORE + _NAMES.index(name)


def known_transformer(tokenizer: Tokenizer) -> Model:
    """The transformer for a vocabulary: the ``KNOWN`` features stand in ``L1.resid_post``, in their order."""
    corpus = Text(tokenizer)
    pieces = [str(piece) for piece in corpus.pieces(range(max(corpus.ids) + 1))]
    config = TinyConfig(
        n_layers=2, d_model=HEADS * D_HEAD, n_heads=HEADS, d_mlp=128, vocab_size=len(pieces), context=CONTEXT
    )
    module = Tiny(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        _embed(module, pieces)
        blocks: list[Any] = list(module.blocks)
        for block in blocks:
            block.attn_norm, block.mlp_norm, block.mlp[1] = nn.Identity(), nn.Identity(), nn.ReLU()
        first, second = (_Writer(block) for block in blocks)
        _look_back(first)
        _join(first)
        _look_around(second)
        _tell(second)
    return Model(module, corpus, name="known transformer", family=TINY)


def _embed(module: Tiny, pieces: list[str]) -> None:
    weights, places = module.embed.weight, module.positions.weight
    for i, piece in enumerate(pieces):
        for name, holds in CLASSES.items():
            weights[i, _own(name)] = float(holds(piece))
    which = torch.randn(len(pieces), MANY, generator=torch.Generator().manual_seed(0))
    weights[:, _TOKEN : _TOKEN + MANY] = nn.functional.normalize(which, dim=1)
    p = torch.arange(CONTEXT) / CONTEXT
    places[:, _P], places[:, _P2], places[:, _ONE], places[0, _FIRST] = p, p.square(), 1.0, 1.0
    # Where a head has nothing so far back to look at it looks at the first token: that is taken out again, and a
    # context begins as a line does.
    for start, rows in ((_PREVIOUS, slice(0, 1)), (_BEFORE, slice(0, 2))):
        places[rows, start : start + len(_NAMES)] = -1.0
    places[0, _previous("newline")] = places[1, _before("newline")] = 1.0


class _Writer:
    """Sets the weights of a block, one head or neuron after another."""

    def __init__(self, block: Any) -> None:
        self.attn, self.mlp = block.attn, block.mlp
        self._heads = self._neurons = 0

    def head(self, query: list[dict[int, float]], key: list[dict[int, float]], moves: list[tuple[int, int]]) -> None:
        """Scores are ``sum of (query . x_i) (key . x_j)`` over the lists; coordinates are moved from there to here."""
        width, at = HEADS * D_HEAD, self._heads * D_HEAD
        for part, rows in enumerate((query, key)):
            for d, row in enumerate(rows):
                for coordinate, weight in row.items():
                    # both are multiplied by a root of what the score is divided by
                    self.attn.qkv.weight[part * width + at + d, coordinate] = weight * D_HEAD**0.25
        for d, (source, target) in enumerate(moves):
            self.attn.qkv.weight[2 * width + at + d, source] = 1.0
            self.attn.out.weight[target, at + d] = 1.0
        self._heads += 1

    def step(self, target: int, reads: dict[int, float], less: float = 0.0) -> None:
        """Adds ``sum of reads - less``, as far as it lies between 0 and 1: a conjunction, where reads are 0 or 1."""
        for sign in (1.0, -1.0):
            for coordinate, weight in reads.items():
                self.mlp[0].weight[self._neurons, coordinate] = weight
            self.mlp[0].bias[self._neurons] = -less - (sign < 0)
            self.mlp[2].weight[target, self._neurons] = sign
            self._neurons += 1

    def copy(self, target: int, source: int, *, unless: int) -> None:
        """Adds what lies between -1 and 1, but 0 where ``unless`` is 1."""
        for sign in (1.0, -1.0):
            self.mlp[0].weight[self._neurons, source] = sign
            self.mlp[0].weight[self._neurons, unless] = -1.0
            self.mlp[2].weight[target, self._neurons] = sign
            self._neurons += 1


def _moved(source: int, target: int, n: int) -> list[tuple[int, int]]:
    return [(source + i, target + i) for i in range(n)]


def _look_back(block: _Writer) -> None:
    classes = len(_NAMES)
    for n, target in ((1, _PREVIOUS), (2, _BEFORE)):
        sharp = SHARP * CONTEXT  # of two neighbours one is off by a step more, squared, and the scale is 1 / CONTEXT^2
        back = {_P: 2.0, _ONE: -2.0 * n / CONTEXT}
        query = [{k: v * sharp for k, v in back.items()}, {_ONE: -sharp}]
        key = [{_P: float(CONTEXT)}, {_P2: float(CONTEXT)}]
        moves = _moved(_OWN, target, classes) + (_moved(_TOKEN, _TOKEN_BEFORE, MANY) if n == 1 else [])
        block.head(query, key, moves)


def _join(block: _Writer) -> None:
    block.step(0, {_own("self"): 1})
    block.step(1, {_own("digits"): 1, _previous("dot"): -1, _FIRST: -1})
    block.step(2, {_previous("def"): 1})
    block.step(3, {_before("import"): 1})
    block.step(4, {_own("letters"): 1, _previous("dot"): 1}, less=1)
    block.step(_MARK, {_previous("newline"): 1, _own("some"): 3}, less=3)
    block.step(_MARK, {_previous("spaces"): 1, _before("newline"): 1, _own("some"): 1}, less=2)
    block.step(_MARK, {_own("newline"): 1})
    block.step(_OPENS, {_own("open"): 1, _FIRST: -1})
    for i in range(MANY):  # the token before, where there is one
        block.copy(_FOLLOWS + i, _TOKEN_BEFORE + i, unless=_FIRST)


def _look_around(block: _Writer) -> None:
    last = [{_ONE: SHARP}], [{_MARK: 2.0 * CONTEXT, _P: float(CONTEXT)}]
    block.head(*last, _moved(_OWN, _LINE, len(_NAMES)))
    block.head([], [], [(_own("open"), _BRACKETS)])
    block.attn.qkv.weight[2 * HEADS * D_HEAD + D_HEAD, _own("close")] = -1.0
    each = range(MANY)
    same = [{_TOKEN + i: 4 * SHARP} for i in each]  # tokens may be as alike as .9
    block.head(same, [{_TOKEN + i: 1.0} for i in each], [(_P, _MEAN)])
    # Where no token before was the same it looks at the first place, of which it takes nothing.
    follows = [{_FOLLOWS + i: 1.0} for i in each]
    block.head([*same, {_ONE: 4 * SHARP}], [*follows, {_FIRST: 0.95}], [(_OPENS, _FOLLOWED)])


def _tell(block: _Writer) -> None:
    block.step(5, {_LINE + _NAMES.index("return"): 1})
    block.step(6, {_LINE + _NAMES.index("import"): 1})
    block.step(7, {_BRACKETS: CONTEXT})
    block.step(8, {_P: 2.0 * CONTEXT, _MEAN: -2.0 * CONTEXT})
    block.step(9, {_FOLLOWED: CONTEXT})
