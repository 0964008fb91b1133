"""Crosscoders of dictionary_learning's forks give the codes and reconstructions of their own mathematics."""

import json

import pytest
import torch
from safetensors.torch import save_file
from test_exchange import D, F, N, agree, learned, random

from physalis.errors import BadInput
from physalis.exchange import read, recognise

LAYERS = 2


@pytest.fixture
def joined():
    """(tensors of a crosscoder as the forks of dictionary_learning store them, inputs)."""
    held = {"encoder.weight": random(LAYERS, D, F, seed=1, size=0.5), "encoder.bias": random(F, seed=2),
            "decoder.weight": random(LAYERS, F, D, seed=3), "decoder.bias": random(LAYERS, D, seed=4)}  # fmt: skip
    return held, 1 + 2 * random(N, LAYERS, D, seed=99)


def crosscoder(held, x, *, threshold=None, lengths=None):
    """Its own mathematics, where a layer is an axis: codes [N, F] and y [N, LAYERS, D]."""
    mean, scale = (
        held.get("activation_mean", torch.zeros(LAYERS, D)),
        held.get("activation_global_scale", torch.ones(2)),
    )
    inside = (x - mean) * scale[:, None]
    codes = (torch.einsum("bld,ldf->bf", inside, held["encoder.weight"]) + held["encoder.bias"]).relu()
    if threshold is not None:
        codes = codes * (codes * lengths > threshold)
    y = torch.einsum("bf,lfd->bld", codes, held["decoder.weight"]) + held["decoder.bias"]
    return codes, y / scale[:, None] + mean


@pytest.mark.parametrize("normalised", [True, False])
def test_crosscoders_of_dictionary_learnings_forks(tmp_path, joined, normalised):
    held, x = joined
    if normalised:
        held |= {"activation_mean": random(LAYERS, D, seed=5), "activation_std": torch.ones(LAYERS, D),
                 "activation_global_scale": torch.tensor([0.4, 0.8]), "target_rms": torch.tensor(1.0)}  # fmt: skip
    codes, y = crosscoder(held, x)
    for kind in ("CrossCoder", None):  # without its config a crosscoder is known by its shapes
        found = read(learned(tmp_path / str(kind), kind, held))
        agree(found, x.flatten(1), codes, y.flatten(1))
        assert type(found.dictionary).__name__ == "Crosscoder" and found.dictionary.config.sites == (D, D)


LENGTHS = {
    1: lambda dec: dec.norm(dim=2).sum(0), 2: lambda dec: dec.norm(dim=(0, 2)), 4: lambda dec: torch.ones(F),
    3: lambda dec: 0.3 * dec.norm(dim=(0, 2)) + 0.7 * dec.norm(dim=2).sum(0),
}  # fmt: skip
"""What each code_normalization_id compares codes by."""


@pytest.mark.parametrize("number", LENGTHS)
def test_crosscoders_chosen_by_rank_arrive_with_a_threshold(tmp_path, joined, number):
    held, x = joined
    lengths = LENGTHS[number](held["decoder.weight"])
    held["decoder.weight"][:, 0] = 0  # a feature that writes nothing never exceeds a threshold, unless nothing counts
    lengths = LENGTHS[number](held["decoder.weight"])
    threshold = float(4 * lengths.mean())
    codes, y = crosscoder(held, x, threshold=threshold, lengths=lengths)
    held |= {"k": torch.tensor(7), "threshold": torch.tensor(threshold), "code_normalization_id": torch.tensor(number)}
    alphas = {"code_normalization_alpha_sae": 0.3, "code_normalization_alpha_cc": 0.7}
    compiled = {f"_orig_mod.{name}": value for name, value in held.items()}
    for name, tensors in (("as it is", held), ("compiled", compiled)):
        found = read(learned(tmp_path / name, "BatchTopKCrossCoder", tensors, **alphas))
        agree(found, x.flatten(1), codes, y.flatten(1))
        assert found.claims.l0 == 7 and found.dictionary.config.k == 7


def test_a_crosscoder_as_the_hub_has_it(tmp_path, joined):
    held, x = joined
    (tmp_path / "a").mkdir()
    save_file(held, tmp_path / "a" / "model.safetensors")
    made_with = {"activation_dim": D, "dict_size": F, "num_layers": LAYERS}
    (tmp_path / "a" / "config.json").write_text(json.dumps(made_with))
    codes, y = crosscoder(held, x)
    assert recognise(tmp_path / "a") == "dictionary_learning"
    agree(read(tmp_path / "a"), x.flatten(1), codes, y.flatten(1))


def test_crosscoder_refusals_say_why(tmp_path, joined):
    held, _ = joined
    ranked = held | {
        "k": torch.tensor(7),
        "threshold": torch.tensor([1.0, 2.0]),
        "code_normalization_id": torch.tensor(5),
    }
    with pytest.raises(BadInput, match="DECOUPLED: a feature has a code for each layer"):
        read(learned(tmp_path / "a", "BatchTopKCrossCoder", ranked))
    with pytest.raises(BadInput, match="predicts others than it reads"):
        read(learned(tmp_path / "b", "CrossCoder", held | {"decoder.weight": random(3, F, D, seed=3)}))
