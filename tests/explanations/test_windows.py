"""reach(): where features fire when the network reads a part of the context, against the whole."""

import numpy as np
import pytest
import torch

from physalis import dictionaries
from physalis.errors import BadInput
from physalis.explanations import program_share, reach
from physalis.explanations.windows import Windowed

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_whole_context_agrees_with_itself(tiny, tiny_dictionary, tiny_activations):
    found = reach(tiny_dictionary, tiny_activations, tiny, windows=(1, 4, tiny_activations.context), tokens=200)
    assert [each.tokens for each in found.windows] == [1, 4, tiny_activations.context]
    one, four, whole = (each.f1.value for each in found.windows)
    assert whole == 1 and one < 1 and four < 1
    assert found.n_tokens == 200 and found.needed
    assert all(each.tokens in (1, 4, tiny_activations.context) and each.n_fired for each in found.needed)
    assert {each.tokens for each in found.needed} != {tiny_activations.context}


def test_a_window_is_what_the_network_reads(tiny, tiny_dictionary, tiny_activations):
    """The same codes, from windows written out by hand."""
    coder, stored = dictionaries.load(tiny_dictionary), tiny_activations
    windowed = Windowed(3, stored, coder, tiny)
    (site,) = (part.site for part in stored.parts[0])
    tokens = torch.from_numpy(np.asarray(stored.tokens, np.int64))
    width = tokens.shape[1]
    places = np.array([1, 2, 5, width - 1, width + 7])
    for place, codes in zip(places, windowed.dense(places), strict=True):
        row, column = divmod(int(place), width)
        start = 1 if tokens[row, 0] == tiny.bos_id else 0
        window = tokens[row, max(start, column - 2) : column + 1]
        if start:
            window = torch.cat([tokens[row, :1], window])
        x = tiny.run(window[None], read=[site])[site][0, -1:].float()
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(codes), coder.encode(x).dense()[0], atol=1e-4)


def test_it_stands_beside_the_share(tiny, tiny_dictionary, tiny_activations, tmp_path):
    from physalis.explanations import explain

    rules = explain(tiny_dictionary, tiny_activations, tiny, tmp_path / "rules", features=range(8))
    share = program_share(rules.folder, tiny_dictionary, tiny_activations, tiny, tokens=512, windows=(128,))
    losses = {each.name: each.loss.value for each in share.added}
    assert losses["codes of the last 128 tokens"] == pytest.approx(losses["true codes"], abs=0.02)


def test_refusals_are_sentences(tiny, tiny_dictionary, tiny_activations):
    with pytest.raises(BadInput, match="windows of 1 or more"):
        reach(tiny_dictionary, tiny_activations, tiny, windows=(0,))
    with pytest.raises(BadInput, match="tokens=0"):
        reach(tiny_dictionary, tiny_activations, tiny, tokens=0)
