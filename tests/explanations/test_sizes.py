"""draw_sizes(): how many leaves rules have, a row a layer."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from physalis.atlas.records import Estimate
from physalis.errors import BadInput
from physalis.explanations import Explanations, draw_sizes


class Rules(Explanations):
    """Explanations of one site, as far as the picture asks."""

    mean = None  # pyright: ignore

    def __init__(self, site, sizes, f1=0.5, low: float | None = 0.4, high: float | None = 0.6):
        self.sizes = sizes
        self.manifest = SimpleNamespace(config={"site": site})  # pyright: ignore
        self.mean = SimpleNamespace(f1=Estimate(value=f1, low=low, high=high), size=3.0)

    def __iter__(self):
        return iter([SimpleNamespace(size=size) for size in self.sizes])


def test_each_row_says_its_shares():
    drawn = draw_sizes([Rules("L9.resid_post", [0, 1, 2, 40]), Rules("L2.mlp_in", [3, 4, 8, 16], low=None, high=None)])
    ElementTree.fromstring(drawn)
    said = re.findall(r"<title>(L[^<]*)</title>", drawn)
    shares = {tuple(each.rsplit(": ", 1)[0].split(": ")) + (each.split(": ")[1],) for each in said}
    assert len(said) == 16 and len(shares) == 16
    assert "L2.mlp_in: 50% of the rules, 3-4" in said and "L2.mlp_in: 25% of the rules, 9-16" in said
    for name in ("no rule", "1", "2", "33 or more"):
        assert f"L9.resid_post: 25% of the rules, {name}" in said
    assert said[0].startswith("L2") and said[-1].startswith("L9"), "by layer"
    assert "0.50 [0.40, 0.60]" in drawn and drawn.count("[") == 1


def test_names_are_escaped_and_cut():
    drawn = draw_sizes([Rules(["L1.resid_post", "L2.resid_post"], [1])], title="<a & b>")
    ElementTree.fromstring(drawn)
    assert "L1.resid_post,…" in drawn and "&lt;a &amp; b&gt;" in drawn


def test_none_is_a_sentence():
    with pytest.raises(BadInput, match="received none"):
        draw_sizes([])


def test_of_real_rules(tiny, tiny_dictionary, tiny_activations, tmp_path):
    from physalis.explanations import explain

    rules = explain(tiny_dictionary, tiny_activations, tiny, tmp_path / "rules", features=range(6))
    assert f"{rules.manifest.config['site']}: " in draw_sizes([rules])
