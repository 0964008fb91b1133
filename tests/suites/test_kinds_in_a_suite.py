"""Every kind of dictionary is measured, or it is said what cannot be."""

import pytest

from physalis import dictionaries
from physalis.activations import Pairs
from physalis.recording import record
from physalis.site import Site
from physalis.suites import evaluate_suite
from physalis.training.training import train

SMALL = {"rounds": 3, "texts": 20, "splice_tokens": 64, "features": 4, "world_samples": 0}
SITES = [Site("mlp_in", 0), Site("mlp_out", 0), Site("mlp_in", 1), Site("mlp_out", 1)]


@pytest.fixture(scope="module")
def recordings(tiny, tiny_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    outs = [folder / str(site) for site in SITES]
    record(tiny, str(tiny_text), SITES, outs, tokens=5_000, context=32, held_out=0.3)
    return outs


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [("topk", [0], [1]), ("crosscoder", [0, 2], []), ("crosslayer", [0, 2], [1, 3])],
    ids=["transcoder", "crosscoder", "cross-layer transcoder"],
)
def test_of_every_kind(name, reads, writes, recordings, tiny, wheel, tmp_path):
    reads, writes = ([recordings[i] for i in some] for some in (reads, writes))
    source = Pairs.open(reads, writes or None)
    widths = ([len(part.mean) for part in side] for side in source.parts)
    shape = dictionaries.across(name, *widths) | {"n_features": 40, "k": 4}
    train(source, [dictionaries.make(name, shape).config], [tmp_path / "sae"], batch_size=512, epochs=1)
    found = evaluate_suite(
        tmp_path / "sae", reads, tiny, tmp_path / "suite", writes=writes or None, probes=wheel,
        tasks=["1_has_digits"], **SMALL,
    )  # fmt: skip
    measured = {each.metric for each in found.measured if each.subject == name}
    assert {"fvu", "kl", "probe_1", "effect_over_random"} <= measured
    assert all(each.value is None or each.value == each.value for each in found.measured)
    assert ("worlds: crosscoder" in found.unmeasured) == (name == "crosscoder")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["batchtopk", "matryoshka", "jumprelu", "l1", "l1resampled", "gated", "listamatryoshka", "matchingpursuit"],
)
def test_of_every_architecture(name, tiny, tiny_activations, wheel, tmp_path):
    """Also in a world, and beside diagnostics that are made of it."""
    config = dictionaries.make(
        name, dictionaries.across(name, [tiny_activations.d]) | {"n_features": 64, "k": 4}
    ).config
    train(tiny_activations, [config], [tmp_path / "sae"], batch_size=512, epochs=1)
    found = evaluate_suite(
        tmp_path / "sae", tiny_activations, tiny, tmp_path / "suite", probes=wheel, tasks=["1_has_digits"],
        **SMALL | {"world_samples": 4096},
    )  # fmt: skip
    measured = {each.metric for each in found.measured if each.subject == name}
    assert {"fvu", "kl", "probe_1", "effect_over_random", "world_f1"} <= measured
    assert list(found.unmeasured) == [f"consistency of {name}"]
