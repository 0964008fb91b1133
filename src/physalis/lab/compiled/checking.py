"""checking: rules learned of features that are known, beside what these are: does ``explain`` find the truth?

``of_programs`` plants a program of each shape that the rule language has in a text (``PLANTED``), ``of_transformer``
runs the transformer whose weights were set by hand. Both record, read with a dictionary of the known directions, and
explain, as one would any model.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from physalis.activations import Activations
from physalis.corpora.characters import Piece
from physalis.errors import BadInput
from physalis.explanations import Economy, Explanation, Fields, Rule, explain
from physalis.explanations.similarity.grouping import group
from physalis.lab.compiled.known import known_dictionary
from physalis.lab.compiled.programs import program_model
from physalis.lab.compiled.transformer import KNOWN, known_transformer
from physalis.lab.compiled.words import Words
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.recording import record
from physalis.site import Site

PLANTED: tuple[tuple[str, str], ...] = (
    ("a token", '" self" = 3'),
    ("a lexeme", 'lexeme "return" = 2'),
    ("a lexeme in one casing", 'lexeme "error" and kind "Capitalised letters" = 2'),
    ("a kind of token", 'kind "Capitalised word" = 1.5'),
    ("an ending", 'ending "ing" = 2'),
    ("a token after a token", '"self" and "(" before = 4'),
    ("anything after a token", 'lexeme "def" before = 2'),
    ("three tokens after", '"import" 3 before = 2'),
    ("a kind after a kind", 'kind "digits" and kind "punctuation" before = 2'),
    ("in brackets", 'inside "(" = 1'),
    ("a token in brackets", '"," and inside "[" = 3'),
    ("letters in a quotation", 'inside "\'" and kind "lower case letters" = 2'),
    ("in a line", 'line starts "return" = 1.5'),
    ("a token in a line", '"," and line starts "from" = 3'),
    ("two clauses", '" self" = 4 or "(" and lexeme "def" 2 before = 1.5'),
    ("three words", '" if" = 8 or " return" = 4 or " raise" = 2'),
    ("and not", '" the" and not line starts "#" = 2'),
    ("not after a token", '"name" and not "." before = 2'),
    ("an exception", '"." and "self" before = 0 or "." = 2'),
    ("a word of several tokens", 'word "exception" = 3'),
    ("within a word", 'word "print" = 2'),
    ("after a word", 'previous word "the" = 2'),
    ("eight words", " or ".join(f'" {word}" = 2' for word in "if for while with else elif is or".split())),
    ("a place", 'place "3-4" = 2'),
    ("a kind at a place", 'place "9-16" and kind "lower case word" = 1'),
    ("levels", '"(" and lexeme "def" 2 before = 6 or ")" = 1'),
    ("a level of some of a token", '"(" and lexeme "def" 2 before = 6 or "(" = 1'),
)  # fmt: skip
"""Programs of every shape, that text of programs has; beside them stand groups of words, which are the text's own."""
GRAINS = ("very like", "like", "loosely like")
FEWEST = 4
"""Tokens of a group that is planted."""


class Found(NamedTuple):
    """What was learned of one feature."""

    name: str
    truth: str | None
    """The rule that it is; None where it is none."""
    learned: Explanation


def of_programs(
    source: str, out: Path | str, *, tokens: int = 200_000, vocabulary: int = 4096, economy: Economy = Economy(),  # noqa: B008 (frozen)
) -> list[Found]:  # fmt: skip
    """Plant ``PLANTED`` and a group of words of each grain in a text, and learn what fires. Folders that are finished
    are used again. Raises BadInput as ``record`` and ``explain`` do."""
    out = Path(out)
    tokenizer = words_of(source, size=vocabulary)
    planted = list(PLANTED)
    model = program_model([Rule.parse(rule) for _, rule in planted], tokenizer)
    alone_ = _recorded(model, source, out / "alone", tokens, Site("resid_post", 0))
    pieces = model.corpus.pieces(range(max(model.corpus.ids) + 1))
    fields = group(alone_.tokens[alone_.train.contexts], pieces)
    used = np.bincount(alone_.tokens.ravel(), minlength=len(pieces))
    for grain in GRAINS:
        head = _group(fields, grain, used, pieces)
        planted.append((f"a group, {grain}", f"{grain} {head} = 2"))
    planted.append(
        ("one of a group, not after a token", f'{planted[-2][1].removesuffix(" = 2")} and not "." before = 2')
    )
    model = program_model([Rule.parse(rule) for _, rule in planted], tokenizer, fields=fields)
    stored = _recorded(model, source, out / "activations", tokens, Site("resid_post", 0))
    dictionary = known_dictionary(stored, range(len(planted)), out / "dictionary")
    found = explain(dictionary, stored, model, out / "rules", economy=economy)
    return [Found(name, rule, each) for (name, rule), each in zip(planted, found, strict=True)]


def of_transformer(
    source: str, out: Path | str, *, tokens: int = 200_000, vocabulary: int = 4096, economy: Economy = Economy(),  # noqa: B008 (frozen)
) -> list[Found]:  # fmt: skip
    """Have the known transformer read a text, and learn what its features fire on. Likewise."""
    out = Path(out)
    model = known_transformer(words_of(source, size=vocabulary))
    stored = _recorded(model, source, out / "activations", tokens, Site("resid_post", 1))
    dictionary = known_dictionary(stored, range(len(KNOWN)), out / "dictionary", threshold=0.5)
    found = explain(dictionary, stored, model, out / "rules", economy=economy)
    return [Found(known.name, known.rule, each) for known, each in zip(KNOWN, found, strict=True)]


def words_of(source: str, *, size: int = 4096, documents: int = 200) -> Words:
    """The vocabulary of a text's first documents. Raises BadInput for a source that holds none."""
    texts = list(islice(Text(Words([])).documents(source), documents))
    if not texts:
        raise BadInput(f"There is no text in {source}.")
    return Words.of(texts, size=size)


def _recorded(model: Model, source: str, out: Path, tokens: int, site: Site) -> Activations:
    return record(model, source, [site], [out], tokens=tokens, context=128, held_out=0.2)[0]


def _group(fields: Fields, grain: str, used: Int[np.ndarray, " vocabulary"], pieces: Sequence[Piece]) -> str:
    """A group of one grain as a rule names it: the median by use of those that hold some words."""
    groups, names = fields.numbers(grain, pieces)  # pyright: ignore[reportArgumentType]
    inside = groups >= 0
    size = np.bincount(groups[inside], used[inside] > 0, minlength=len(names))
    count = np.bincount(groups[inside], used[inside], minlength=len(names))
    able = [i for i in np.argsort(-count, kind="stable") if size[i] >= FEWEST and names[i].strip().isalpha()]
    return json.dumps(names[able[len(able) // 4]], ensure_ascii=False)
