"""Settings of a dictionary: of the type that each is declared as, or a sentence."""

import pytest

from physalis import dictionaries
from physalis.errors import BadInput


@pytest.mark.parametrize("wrong", [dict(k=4.5), dict(k="4"), dict(k=True), dict(skip=1), dict(aux_weight="much")])
def test_settings_of_another_type_are_a_sentence(wrong):
    config = object.__new__(dictionaries.TopKConfig)  # the tests' own type checks would come before ours
    vars(config).update({"d_in": 4, "d_out": 4, "n_features": 16, "k": 4} | wrong)
    with pytest.raises(BadInput, match=f"{next(iter(wrong))} must be .*; received"):
        config.__post_init__()


def test_a_config_that_is_not_listed_is_a_sentence():
    with pytest.raises(BadInput, match="Unlisted is the config of no architecture"):
        dictionaries.architecture_of(type("Unlisted", (dictionaries.Shape,), {})(d_in=4, d_out=4, n_features=16, k=4))
