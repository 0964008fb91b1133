"""The transformer whose weights were set by hand does what is said of it, on every token."""

import numpy as np
import pytest
import torch
from sections import write_sections

from physalis.explanations import Rule, Surroundings
from physalis.lab.compiled import KNOWN, known_transformer
from physalis.lab.compiled.checking import words_of
from physalis.lab.compiled.transformer import CLASSES, CONTEXT
from physalis.site import Site

SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """(tokens as text [contexts, CONTEXT], features [contexts, CONTEXT, known], the whole as rules read it)"""
    source = write_sections(tmp_path_factory.mktemp("text") / "sections")
    words = words_of(source)
    model = known_transformer(words)
    ids = [i for text in list(model.corpus.documents(source))[:60] for i in model.encode([text])[0]]
    tokens = torch.tensor(ids)[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    x = model.run(tokens, read=[SITE])[SITE][..., : len(KNOWN)].numpy()
    pieces = model.corpus.pieces(range(max(model.corpus.ids) + 1))
    return np.array(pieces, object)[tokens.numpy()], x, Surroundings(tokens.numpy(), pieces)


def test_features_are_there_or_not(read):
    _, x, _ = read
    assert ((abs(x) < 1e-3) | (abs(x - 1) < 1e-3)).all()
    assert ((x > 0.5).mean((0, 1)) > 1e-3).all()


@pytest.mark.parametrize("feature", [i for i, known in enumerate(KNOWN) if known.rule])
def test_a_feature_is_the_rule_that_is_said(read, feature):
    """But for words of several tokens at the beginning of a line, of which the class is that of the first."""
    _, x, text = read
    said, fires = Rule.parse(str(KNOWN[feature].rule)).predict(text) > 0, x[..., feature].ravel() > 0.5
    assert 2 * (said & fires).sum() / (said.sum() + fires.sum()) > 0.95


def test_features_that_no_rule_says_are_what_their_names_say(read):
    tokens, x, _ = read
    at = {known.name: i for i, known in enumerate(KNOWN)}
    opens, closes = CLASSES["open"], CLASSES["close"]
    for row, codes in zip(tokens[:40], x[:40] > 0.5, strict=True):
        depth = np.cumsum([opens(t) - closes(t) for t in row])
        assert (codes[:, at["more brackets opened than closed"]] == (depth > 0)).all()
        seen = [t in row[:i] for i, t in enumerate(row)]
        assert (codes[:, at["stood before in the context"]] == seen).all()
        followed = [any(row[j - 1] == t and opens(row[j]) for j in range(1, i + 1)) for i, t in enumerate(row)]
        assert (codes[:, at["a bracket followed it before"]] == followed).all()
