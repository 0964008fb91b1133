"""Site: one spelling everywhere, and a sentence for any other."""

import pytest

from physalis.errors import BadInput
from physalis.site import GLOBAL, INNER, LAYERED, Site, slip


@pytest.mark.parametrize("site", [*(Site(name, 9) for name in LAYERED + INNER), *(Site(name) for name in GLOBAL)])
def test_it_prints_and_parses(site):
    assert Site.parse(str(site)) == site
    assert hash(Site.parse(str(site))) == hash(site)


def test_the_spelling():
    assert str(Site("resid_post", 9)) == "L9.resid_post" and str(Site("logits")) == "logits"


@pytest.mark.parametrize("text", ["L3.anything_2", "L0.conv1.out", "pool", "layer3.2.relu"])
def test_a_name_of_some_model_is_a_site(text):
    assert str(Site.parse(text)) == text and slip(Site.parse(text)) is None


@pytest.mark.parametrize(
    "text",
    ["9.resid_post", "l9.resid_post", "l9", "L9", "L9.", "L9.Resid", "a..b", "a.", "../up", "x" * 101, "", "a b"],
)
def test_anything_else_is_a_sentence(text):
    with pytest.raises(BadInput, match="Cannot read .* as a site. Write a layer"):
        Site.parse(text)
    with pytest.raises(BadInput, match="cannot be the name of a site"):
        Site(text, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("L9.residpost", "no site named 'residpost'; received L9.residpost. Was resid_post meant"),
        ("L9.mlp_put", "Was mlp_out meant"),
        ("L1.embed", "has no layer: write just embed"),
        ("resid_post", "needs a layer, as in L0.resid_post"),
        ("logit", "Was logits meant"),
    ],
)
def test_a_slip_of_the_pen_is_told(text, says):
    said = slip(Site.parse(text))
    assert said is not None and says in said


def test_layers_count_from_0():
    with pytest.raises(BadInput, match="received layer -1"):
        Site("resid_post", -1)
