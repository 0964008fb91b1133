"""Rules of the tiny dictionary, made once for all tests of this room."""

import pytest

from physalis.codes import encode
from physalis.explanations import explain

FEATURES = list(range(0, 64, 2))


@pytest.fixture(scope="session")
def tiny_codes(tiny_dictionary, tiny_activations, tmp_path_factory):
    out = tmp_path_factory.mktemp("judging") / "codes"
    encode(tiny_dictionary, tiny_activations, out=out)
    return out


@pytest.fixture(scope="session")
def tiny_rules(tiny, tiny_dictionary, tiny_activations, tiny_codes, tmp_path_factory):
    """The folder."""
    out = tmp_path_factory.mktemp("judging") / "rules"
    explain(tiny_dictionary, tiny_activations, tiny, out, codes=tiny_codes, features=FEATURES)
    return out
