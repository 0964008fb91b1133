"""A model of programs computes what they say, and another program is another model."""

import numpy as np
import pytest
import torch

from physalis.errors import BadInput
from physalis.explanations import Rule, Surroundings
from physalis.lab.compiled import Words, program_model
from physalis.lab.compiled.programs import GROUND
from physalis.site import Site

TEXT = 'def walk(self, maps):\n    return self.map("a", (1, 2))\n'
RULES = [Rule.parse(line) for line in ('"self" = 3', 'inside "(" and not "," = 1.5 or ":" = 2', 'place "3-4" = 1')]


def test_its_stream_is_the_codes():
    words = Words.of([TEXT])
    model = program_model(RULES, words)
    ids = model.encode([TEXT])
    tokens = torch.tensor(ids * 2)
    x = model.run(tokens, read=[Site("resid_post", 0)])[Site("resid_post", 0)]
    text = Surroundings(tokens.numpy(), model.corpus.pieces(range(max(model.corpus.ids) + 1)))
    for i, rule in enumerate(RULES):
        codes = rule.predict(text)
        assert codes.any() and np.array_equal(x[..., i].numpy().ravel(), codes)
    assert (x[..., -1] == GROUND).all() and x.shape == (2, len(ids[0]), 4) and model.d_model == 4


def test_a_model_is_what_it_computes():
    words = Words.of([TEXT])
    same, other = program_model(RULES, words), program_model([*RULES[:2], Rule.parse('place "5-8" = 1')], words)
    assert program_model(RULES, words).fingerprint == same.fingerprint != other.fingerprint
    with pytest.raises(BadInput, match="rules that fire"):
        program_model([*RULES, Rule()], words)
    with pytest.raises(BadInput, match="rules that fire"):
        program_model([], words)
