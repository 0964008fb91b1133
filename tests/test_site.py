"""Site: one spelling everywhere, and a sentence for any other."""

import pytest

from physalis.errors import BadInput
from physalis.site import GLOBAL, LAYERED, Site


@pytest.mark.parametrize("site", [*(Site(name, 9) for name in LAYERED), *(Site(name) for name in GLOBAL)])
def test_it_prints_and_parses(site):
    assert Site.parse(str(site)) == site
    assert hash(Site.parse(str(site))) == hash(site)


def test_the_spelling():
    assert str(Site("resid_post", 9)) == "L9.resid_post" and str(Site("logits")) == "logits"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9.resid_post", "Cannot read '9.resid_post'"),
        ("L9.residpost", "no site named 'residpost'"),
        ("L1.embed", "has no layer"),
    ],
)
def test_anything_else_is_a_sentence(text, says):
    with pytest.raises(BadInput, match=says):
        Site.parse(text)


def test_layers_count_from_0():
    with pytest.raises(BadInput, match="received layer -1"):
        Site("resid_post", -1)
    with pytest.raises(BadInput, match="needs a layer"):
        Site("resid_post")
