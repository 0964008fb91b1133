"""A dictionary of known directions gives the codes that stand there, and is a folder like any."""

import numpy as np
import pytest
import torch

from physalis import dictionaries
from physalis.codes import encode
from physalis.errors import BadInput
from physalis.lab.compiled import known_dictionary
from physalis.verifying import verify


def test_codes_are_what_stands_along_the_directions(tiny_activations, tmp_path):
    out = known_dictionary(tiny_activations, [3, 7, 8], tmp_path / "dictionary", threshold=0.2)
    assert verify(out).right
    codes = encode(out, tiny_activations, out=tmp_path / "codes")
    whole = tiny_activations.numpy()
    x = np.array(whole if isinstance(whole, np.ndarray) else whole[0], np.float32)
    for feature, coordinate in enumerate((3, 7, 8)):
        assert codes.n_fired[feature] == (x[:, coordinate] > 0.2).sum()
        assert codes.firings(feature).values.min() > 0.2
    assert known_dictionary(tiny_activations, [3, 7, 8], tmp_path / "dictionary", threshold=0.2) == out
    with pytest.raises(BadInput):
        known_dictionary(tiny_activations, [3, 7, 9], tmp_path / "dictionary", threshold=0.2)


def test_directions_need_not_be_coordinates(tiny_activations, tmp_path):
    along = torch.nn.functional.normalize(torch.randn(4, tiny_activations.d), dim=1)
    out = known_dictionary(tiny_activations.folder, along, tmp_path / "dictionary")
    assert torch.equal(dictionaries.load(out).W_dec, along)
    with pytest.raises(BadInput, match="received directions of shape"):
        known_dictionary(tiny_activations, torch.ones(2, 3), tmp_path / "wrong")
