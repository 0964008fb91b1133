"""The verdict passes what is right and names what is wrong, one corruption at a time.

The world is exact: 24 orthogonal directions, each token the sum of some of them and a mean. A dictionary that holds the
directions explains it whole; every corruption of its files is one that has reached users of some tool.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from physalis.exchange import read, verdict, write
from physalis.recording import record
from physalis.site import Site
from physalis.types import Batch, Frame

D, K = 24, 4


class Rows:
    """A Source of fixed rows."""

    def __init__(self, x, y=None, site="L3.resid_post", skip_first=True):
        self.x, self.y = x, x if y is None else y
        self.n_tokens, self.d_in, self.d_out = len(x), x.shape[1], self.y.shape[1]
        self.origin = {"site": site, "model": "gpt2", "hygiene": {"skip_first": skip_first, "max_norm": 1e9}}
        self.inputs = {}
        self.train = self
        one = torch.ones(1)
        self.frame = Frame(self.x.mean(0), one.expand(self.d_in), self.y.mean(0), one.expand(self.d_out))

    def n_batches(self, size, *, epochs=1):
        return self.n_tokens // size * epochs

    def batches(self, size, *, seed, epochs=1, start=0):
        x = self.x[:size]
        yield Batch(x, x if self.y is self.x else self.y[:size])


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


DIRECTIONS = torch.linalg.qr(random(D, D, seed=1)).Q
MEAN = 3 * random(D, seed=2)


def tokens(n=512, size=1.0):
    generator = torch.Generator().manual_seed(3)
    fires = torch.rand(n, D, generator=generator) < K / D
    return size * ((fires * (1 + torch.rand(n, D, generator=generator))) @ DIRECTIONS + MEAN)


@pytest.fixture
def rows():
    return Rows(tokens())


@pytest.fixture
def files(tmp_path):
    """A right one, in SAELens's format; call with changes to its settings and tensors."""

    def make(change=None, **cfg):
        tensors = {"W_enc": DIRECTIONS.T, "W_dec": DIRECTIONS, "b_enc": torch.zeros(D), "b_dec": MEAN,
                   "threshold": torch.full((D,), 0.5)}  # fmt: skip
        if change:
            tensors |= change(tensors)
        about = {"sae_lens_version": "6.0.0", "model_name": "gpt2-small", "prepend_bos": True,
                 "hook_name": "blocks.3.hook_resid_post",
                 "training_architecture": "batchtopk",
                 "training_architecture_details": {"k": K, "rescale_acts_by_decoder_norm": True}}  # fmt: skip
        said = {"architecture": "jumprelu", "d_in": D, "d_sae": D, "apply_b_dec_to_input": True,
                "normalize_activations": "none", "metadata": about | cfg.pop("metadata", {})} | cfg  # fmt: skip
        (tmp_path / "cfg.json").write_text(json.dumps(said))
        save_file({n: v.contiguous().clone() for n, v in tensors.items()}, tmp_path / "sae_weights.safetensors")
        return read(tmp_path)

    return make


def names(checks):
    return {check.name for check in checks}


def test_what_is_right_passes(files, rows):
    found = verdict(files(), rows)
    assert not found.wrong
    assert names(found.unverified) == {"FVU"}  # nothing claims one
    assert found["L0"].numbers["l0"] == pytest.approx(K, rel=0.1) and found["FVU"].numbers["fvu"] < 1e-6
    assert json.loads(json.dumps(found.to_dict()))[0]["name"] == "finite"


def test_without_activations_what_was_not_looked_at_is_said(files):
    found = verdict(files())
    assert not found.wrong
    assert {"scale", "centring", "L0", "FVU", "site", "BOS", "dead features"} <= names(found.unverified)
    assert "L3.resid_post" in found["L0"].sentence
    assert found["orientation"].outcome == found["decoder norms"].outcome == found["threshold"].outcome == "ok"


@pytest.mark.parametrize("name", ["W_dec", "W_enc"])
def test_a_transposed_square_is_named(files, rows, name):
    imported = files(lambda t: {name: t[name].T})
    part = "decoder" if name == "W_dec" else "encoder"
    assert f"the {part} is transposed" in verdict(imported)["orientation"].sentence  # or the other: weights cannot tell
    assert verdict(imported, rows)["layout"].outcome == "wrong"


def test_rows_in_another_order_are_named(files, rows):
    order = torch.randperm(D, generator=torch.Generator().manual_seed(0))
    found = verdict(files(lambda t: {"W_dec": t["W_dec"][order]}))
    assert found["orientation"].outcome == "wrong" and "in another order" in found["orientation"].sentence


def test_a_matrix_reshaped_where_it_should_have_been_transposed_is_named(tmp_path):
    d, features = 24, 96
    dec = torch.nn.functional.normalize(random(features, d, seed=1), dim=1)
    tensors = {"W_enc": dec.T.contiguous(), "b_enc": torch.zeros(features), "b_dec": torch.zeros(d),
               "W_dec": dec.T.contiguous().reshape(features, d)}  # fmt: skip
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "topk", "k": 4, "d_in": d, "metadata": {}}))
    assert "reshaped where it should have been transposed" in verdict(read(tmp_path))["orientation"].sentence


def test_an_unfolded_scale_is_named(files):
    """Trained on activations of mean norm sqrt(d), the scale never folded, and the file says there was none."""
    raw = tokens(size=40.0)
    scale = D**0.5 / float(raw.norm(dim=1).mean())
    found = verdict(
        files(lambda t: {"b_dec": t["b_dec"] * 40 * scale, "threshold": t["threshold"] * 40 * scale}), Rows(raw)
    )
    assert found["scale"].outcome == "wrong"
    assert "to be multiplied by the root of the width over their mean norm" in found["scale"].sentence
    assert found["scale"].numbers["fvu_other"] < 1e-3


def test_a_scale_folded_twice_is_named(files):
    raw = tokens(size=40.0)
    scale = D**0.5 / float(raw.norm(dim=1).mean())
    wrong = {"W_enc": DIRECTIONS.T * scale, "W_dec": DIRECTIONS / scale, "b_dec": MEAN * 40 / scale,
             "threshold": torch.full((D,), 20 * scale)}  # fmt: skip
    found = verdict(files(lambda t: wrong), Rows(raw))
    assert found["scale"].outcome == "wrong"


def test_an_encoder_ten_times_too_large_is_named(files, rows):
    imported = files(lambda t: {"W_enc": 10 * t["W_enc"]})
    assert "several times too large" in verdict(imported)["scale of the weights"].sentence
    found = verdict(imported, rows)["size of the output"]
    assert found.outcome == "wrong" and "times as large as it should be" in found.sentence


def test_lengths_moved_from_decoder_to_encoder_are_named(files, rows):
    """The function is the same; codes are not, and the file says that directions have length 1."""
    found = verdict(files(lambda t: {"W_enc": 10 * t["W_enc"], "W_dec": t["W_dec"] / 10}), rows)
    assert names(found.wrong) == {"decoder norms"} and "the files say 1" in found["decoder norms"].sentence


def test_the_centring_flag_is_checked(files, rows):
    found = verdict(files(apply_b_dec_to_input=False), rows)
    assert "if b_dec is subtracted from the input" in found["centring"].sentence
    shifted = files(lambda t: {"b_enc": -(MEAN @ DIRECTIONS.T)})
    assert "if nothing is subtracted from the input" in verdict(shifted, rows)["centring"].sentence


def test_wrong_thresholds_are_named(files, rows):
    found = verdict(files(lambda t: {"threshold": 3.4 * t["threshold"]}), rows)
    assert found["L0"].outcome == "wrong" and found["threshold"].outcome == "ok"
    many = verdict(files(lambda t: {"threshold": 10 * t["threshold"]}), rows)
    assert "thresholds are ten times smaller" in [c for c in many.checks if c.name == "threshold"][1].sentence
    unset = verdict(files(lambda t: {"threshold": torch.full((D,), -1.0)}))
    assert "No threshold was ever set" in unset["threshold"].sentence


def test_numbers_that_are_not_finite_end_it(files):
    found = verdict(files(lambda t: {"b_enc": torch.full((D,), torch.nan)}))
    assert names(found.wrong) == {"finite"} and len(found.checks) == 1


def test_bos_is_compared(files):
    assert verdict(files(), Rows(tokens(), skip_first=False))["BOS"].outcome == "wrong"
    unsaid = verdict(files(metadata={"prepend_bos": None}), Rows(tokens()))
    assert unsaid["BOS"].outcome == "unverifiable"


def test_another_site_is_named(files):
    found = verdict(files(), Rows(tokens(), site="L4.mlp_out"))
    assert (
        found["site"].outcome == "wrong"
        and "say L3.resid_post; these activations are of L4.mlp_out" in found["site"].sentence
    )
    elsewhere = verdict(files(), Rows(0.2 * random(400, D, seed=7)))
    assert elsewhere["FVU"].outcome == "wrong"
    assert verdict(files(), Rows(random(400, D + 1, seed=7)))["site"].outcome == "wrong"


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_the_other_way_round_is_named_where_codes_are_not_counted(tmp_path, flag):
    """An L1 dictionary has no L0 that contradicts, and rebuilds much of the input all the same."""
    generator = torch.Generator().manual_seed(3)
    fires = torch.rand(512, D, generator=generator) < K / D
    mean = (0.6 if flag else 0.4) * random(D, seed=2)
    x = (fires * (1 + torch.rand(512, D, generator=generator))) @ DIRECTIONS + mean
    tensors = {"W_enc": DIRECTIONS.T, "W_dec": DIRECTIONS, "b_dec": mean,
               "b_enc": -0.5 - (0 if flag else 1) * (DIRECTIONS @ mean)}  # fmt: skip
    save_file({n: v.contiguous().clone() for n, v in tensors.items()}, tmp_path / "sae_weights.safetensors")
    said = {"architecture": "standard", "d_in": D, "d_sae": D, "apply_b_dec_to_input": flag, "metadata": {}}
    (tmp_path / "cfg.json").write_text(json.dumps(said))
    right = verdict(read(tmp_path), Rows(x))
    assert right["centring"].outcome == "ok"
    (tmp_path / "cfg.json").write_text(json.dumps(said | {"apply_b_dec_to_input": not flag}))
    found = verdict(read(tmp_path), Rows(x))
    numbers = found["centring"].numbers
    assert numbers["fvu_other"] > 0.5 * numbers["fvu"]  # not by so much that anything would show it
    assert found["centring"].outcome == "wrong"


def test_a_skip_path_the_other_way_round_is_named(tmp_path):
    x = random(400, D, seed=1)
    skip = random(D, D, seed=2)
    tensors = {"W_enc": DIRECTIONS.T, "b_enc": torch.full((D,), -1.0), "W_dec": DIRECTIONS, "b_dec": torch.zeros(D),
               "W_skip": skip.T}  # fmt: skip
    save_file({n: v.contiguous().clone() for n, v in tensors.items()}, tmp_path / "sae_weights.safetensors")
    said = {"architecture": "skip_transcoder", "d_in": D, "d_out": D, "d_sae": D, "apply_b_dec_to_input": False}
    (tmp_path / "cfg.json").write_text(json.dumps(said | {"metadata": {}}))
    y = (x @ DIRECTIONS.T - 1).relu() @ DIRECTIONS + x @ skip.T
    found = verdict(read(tmp_path), Rows(x, y))
    assert "the skip path is transposed" in found["skip"].sentence
    assert verdict(read(tmp_path), Rows(x, y - x @ skip.T + x @ skip))["FVU"].numbers["fvu"] < 1e-6


def test_on_a_model_the_site_it_was_trained_on_is_found(tiny, tiny_text, tiny_activations, tiny_dictionary, tmp_path):
    write([tiny_dictionary], tmp_path / "out", to="saelens")
    found = verdict(read(tmp_path / "out"), tiny_activations, tiny)
    assert not found.wrong and "none fits clearly better than L1.resid_post" in found["site"].sentence
    assert found["BOS"].outcome == "ok" and "first position" in found["BOS"].sentence
    elsewhere = [Site("mlp_out", 2)]
    there = record(tiny, str(tiny_text), elsewhere, [tmp_path / "acts"], tokens=2_000, context=32)[0]
    lying = tmp_path / "out" / "cfg.json"
    lying.write_text(lying.read_text().replace("blocks.1.hook_resid_post", "blocks.2.hook_mlp_out"))
    found = verdict(read(tmp_path / "out"), there, tiny)
    assert "L2.mlp_out it leaves" in found["site"].sentence and "trained there" in found["site"].sentence
    assert "at L1.resid_p" in found["site"].sentence or "at L2.resid_p" in found["site"].sentence
