"""Inputs of several lengths go through a model as each does alone, and what is held is held."""

import numpy as np
import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.decompiling.passes import Passes
from physalis.lab.rasp import histogram
from physalis.site import Site

TASK = histogram(n_letters=3, longest=5)
COMPILED = TASK.compiled()
INPUTS = [COMPILED.encode([each])[0].tolist() for each in TASK.inputs(12)]
SITES = [Site("z", 0), Site("attn_pattern", 0), Site("logits")]


def test_each_is_read_as_it_is_alone():
    passes = Passes(COMPILED.model, INPUTS, slice(1, None))
    assert passes.start == 1 and not passes.asked[:, 0].any()
    found = passes.read(SITES, {})
    for i, each in enumerate(INPUTS):
        alone = COMPILED.model.run(torch.tensor([each]), read=SITES)
        n = len(each)
        assert torch.allclose(found[SITES[0]][i, :n], alone[SITES[0]][0], atol=1e-5)
        assert torch.allclose(found[SITES[1]][i, :, :n, :n], alone[SITES[1]][0], atol=1e-5)
        assert not found[SITES[0]][i, n:].any()


def test_answers_are_the_models():
    passes = Passes(COMPILED.model, INPUTS, slice(1, None))
    words = COMPILED.model.tokenizer.words
    said = [tuple(words[i] for i in row[row >= 0]) for row in passes.answers({})]
    assert said == [tuple(map(str, TASK.answer([words[i] for i in each[1:]]))) for each in INPUTS]
    some = np.arange(len(INPUTS)) < 3
    assert (passes.answers({}, of=some)[3:] == -1).all() and (passes.answers({}, of=some)[:3] >= 0).any(1).all()


def test_what_is_held_stands_there():
    passes = Passes(COMPILED.model, INPUTS, slice(-1, None))
    z = passes.read([SITES[0]], {})[SITES[0]]
    other = z[torch.randperm(len(INPUTS), generator=torch.Generator().manual_seed(1))]
    assert torch.equal(passes.read([SITES[0]], {SITES[0]: z})[SITES[0]], z)
    held = passes.read([SITES[0]], {SITES[0]: other})[SITES[0]]
    assert torch.equal(held[torch.from_numpy(passes.exists)], other[torch.from_numpy(passes.exists)])
    assert (passes.answers({SITES[0]: z}) == passes.answers({})).all()
    assert (passes.answers({SITES[0]: torch.zeros_like(z)}) != passes.answers({})).any()


def test_bad_input_is_told():
    with pytest.raises(BadInput, match="no input"):
        Passes(COMPILED.model, [], slice(None))
    with pytest.raises(BadInput, match="one is empty"):
        Passes(COMPILED.model, [[], [1]], slice(None))
    with pytest.raises(BadInput, match="nothing is asked"):
        Passes(COMPILED.model, [INPUTS[0][:2], INPUTS[0]], slice(3, None))
