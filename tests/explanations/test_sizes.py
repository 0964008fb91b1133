"""draw_sizes(): how many leaves rules have, a row a layer."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from physalis.artifact import Manifest
from physalis.atlas.records import Estimate
from physalis.errors import BadInput
from physalis.explanations import KIND, Detection, Explanation, Explanations, draw_sizes
from physalis.explanations.records import Mean


def rules(site, sizes, f1=0.5, low: float | None = 0.4, high: float | None = 0.6):
    """Explanations of one site, whose rules are so long."""
    found = Estimate(value=f1, low=low, high=high)
    detection = Detection(f1=found, precision=None, recall=None, balanced_accuracy=None)
    every = [
        Explanation(
            feature=i, rule="never", size=size, otherwise=0, n_fired=1, n_held_out=1, detection=detection,
            strong=detection, correlation=None, token=detection, tokens=detection,
        )
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    mean = Mean(f1=found, f1_strong=found, f1_token=found, at_least_80=0, size=3, features=len(sizes))
    facts = {"mean": mean.model_dump(), "n_features": len(sizes)}
    return Explanations(Path(), Manifest(kind=KIND, config={"site": site}, inputs={}, facts=facts), every)


def test_each_row_says_its_shares():
    drawn = draw_sizes([rules("L9.resid_post", [0, 1, 2, 40]), rules("L2.mlp_in", [3, 4, 8, 16], low=None, high=None)])
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
    drawn = draw_sizes([rules(["L1.resid_post", "L2.resid_post"], [1])], title="<a & b>")
    ElementTree.fromstring(drawn)
    assert "L1.resid_post,…" in drawn and "&lt;a &amp; b&gt;" in drawn


def test_none_is_a_sentence():
    with pytest.raises(BadInput, match="received none"):
        draw_sizes([])


def test_of_real_rules(tiny, tiny_dictionary, tiny_activations, tmp_path):
    from physalis.explanations import explain

    found = explain(tiny_dictionary, tiny_activations, tiny, tmp_path / "rules", features=range(6))
    assert f"{found.manifest.config['site']}: " in draw_sizes([found])
