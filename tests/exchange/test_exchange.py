"""Files of other tools, written here by hand, give the codes and reconstructions of the tools' own mathematics."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from physalis.errors import BadInput
from physalis.exchange import read, recognise

D, F, N = 12, 40, 64


def random(*shape, seed=0, size=1.0):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def x():
    return 3 + 2 * random(N, D, seed=99)


@pytest.fixture
def w():
    """Weights in the orientation of the formulas: nothing has length 1, nothing is 0."""
    return {
        "W_enc": random(D, F, seed=1),
        "b_enc": random(F, seed=2),
        "W_dec": random(F, D, seed=3) * (0.5 + torch.rand(F, 1, generator=torch.Generator().manual_seed(4))),
        "b_dec": random(D, seed=5),
        "threshold": 1 + random(F, seed=6).abs(),
        "W_skip": random(D, D, seed=7, size=0.3),
    }


def topk(pre, k):
    values, ids = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, ids, values.relu())


def jump(pre, threshold):
    return pre * (pre > threshold)


def dense(codes, n):
    return torch.zeros(len(codes.ids), n).scatter_add_(1, codes.ids.long(), codes.values)


def agree(imported, x, codes, y, tolerance=1e-5):
    d = imported.dictionary
    found = d.encode(x)
    scale = 1 + codes.abs().max()
    assert (dense(found, d.config.n_features) - codes).abs().max() < tolerance * scale
    assert (d.rebuild(x, found) - y).abs().max() < tolerance * (1 + y.abs().max())
    assert (codes > 0).any() and not (codes > 0).all()


def saelens(folder, cfg, tensors):
    folder.mkdir(parents=True)
    about = {"sae_lens_version": "6.54.0", "model_name": "gpt2", "hook_name": "blocks.3.hook_resid_post"}
    cfg = {"d_in": D, "d_sae": F, "dtype": "float32", "normalize_activations": "none", "metadata": about} | cfg
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae_weights.safetensors")
    return folder


def pick(w, *names):
    return {name: w[name] for name in names}


USUAL = ("W_enc", "b_enc", "W_dec", "b_dec")


@pytest.mark.parametrize("apply", [True, False])
def test_saelens_standard_subtracts_b_dec_as_its_flag_says(tmp_path, w, x, apply):
    path = saelens(tmp_path / "a", {"architecture": "standard", "apply_b_dec_to_input": apply}, pick(w, *USUAL))
    codes = ((x - w["b_dec"] * apply) @ w["W_enc"] + w["b_enc"]).relu()
    assert recognise(path) == "saelens"
    found = read(path)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert found.claims.sites == ("L3.resid_post",) and found.claims.model == "gpt2"


def test_saelens_before_6(tmp_path, w, x):
    cfg = {
        "hook_point": "blocks.3.hook_mlp_out", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5},
        "normalize_activations": False, "prepend_bos": True, "model_name": "gpt2",
    }  # fmt: skip
    path = saelens(tmp_path / "a", cfg, pick(w, *USUAL) | {"scaling_factor": torch.ones(F)})
    said = json.loads((path / "cfg.json").read_text())
    del said["metadata"]
    (path / "cfg.json").write_text(json.dumps(said))
    codes = topk((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 5)
    found = read(path)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert found.claims.sites == ("L3.mlp_out",) and found.claims.bos is True and found.claims.l0 == 5
    said |= {"finetuning_scaling_factor": True}
    (path / "cfg.json").write_text(json.dumps(said))
    factor = 1 + random(F, seed=20).abs()
    save_file(pick(w, *USUAL) | {"scaling_factor": factor}, path / "sae_weights.safetensors")
    agree(read(path), x, codes, (codes * factor) @ w["W_dec"] + w["b_dec"])


def test_saelens_topk_chosen_by_decoder_length(tmp_path, w, x):
    cfg = {"architecture": "topk", "k": 4, "apply_b_dec_to_input": True, "rescale_acts_by_decoder_norm": True}
    path = saelens(tmp_path / "a", cfg, pick(w, *USUAL))
    lengths = w["W_dec"].norm(dim=1)
    codes = topk(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * lengths, 4)
    agree(read(path), x, codes, (codes / lengths) @ w["W_dec"] + w["b_dec"])


def test_saelens_gated(tmp_path, w, x):
    more = {"b_gate": w["b_enc"], "b_mag": random(F, seed=8), "r_mag": random(F, seed=9, size=0.3)}
    path = saelens(tmp_path / "a", {"architecture": "gated", "apply_b_dec_to_input": True},
                   pick(w, "W_enc", "W_dec", "b_dec") | more)  # fmt: skip
    inside = x - w["b_dec"]
    gate = inside @ w["W_enc"] + more["b_gate"] > 0
    codes = gate * (inside @ (w["W_enc"] * more["r_mag"].exp()) + more["b_mag"]).relu()
    agree(read(path), x, codes, codes @ w["W_dec"] + w["b_dec"])


def test_saelens_jumprelu_and_its_old_checkpoints(tmp_path, w, x):
    w["threshold"][:3] = -1  # below 0 nothing negative may pass
    cfg = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    path = saelens(tmp_path / "a", cfg, pick(w, *USUAL, "threshold"))
    pre = x @ w["W_enc"] + w["b_enc"]
    codes = pre.relu() * (pre > w["threshold"])
    agree(read(path), x, codes, codes @ w["W_dec"] + w["b_dec"])
    path = saelens(tmp_path / "b", cfg, pick(w, *USUAL) | {"log_threshold": w["threshold"].abs().log()})
    codes = jump(pre, w["threshold"].abs())
    agree(read(path), x, codes, codes @ w["W_dec"] + w["b_dec"])


def test_saelens_layer_norm(tmp_path, w, x):
    path = saelens(tmp_path / "a", {"architecture": "standard", "normalize_activations": "layer_norm"}, pick(w, *USUAL))
    centred = x - x.mean(1, keepdim=True)
    std = centred.std(1, keepdim=True)
    codes = ((centred / (std + 1e-5) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    agree(read(path), x, codes, (codes @ w["W_dec"] + w["b_dec"]) * std + x.mean(1, keepdim=True), tolerance=2e-5)


@pytest.mark.parametrize("word", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"])
def test_saelens_transcoders(tmp_path, w, x, word):
    names = USUAL + (("threshold",) if "jumprelu" in word else ()) + (("W_skip",) if "skip" in word else ())
    out = {"W_dec": random(F, 7, seed=10), "b_dec": random(7, seed=11), "W_skip": random(7, D, seed=12)}
    w |= out
    cfg = {"architecture": word, "d_out": 7, "apply_b_dec_to_input": False}
    found = read(saelens(tmp_path / "a", cfg, pick(w, *names)))
    pre = x @ w["W_enc"] + w["b_enc"]
    codes = jump(pre, w["threshold"]) if "jumprelu" in word else pre.relu()
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if "skip" in word else 0))
    assert found.claims.transcoder


def test_saelens_batchtopk_arrives_with_a_threshold(tmp_path, w, x):
    about = {"training_architecture": "matryoshka_batchtopk",
             "training_architecture_details": {"k": 6, "matryoshka_widths": [10, F]}}  # fmt: skip
    tensors = pick(w, *USUAL) | {"threshold": torch.full((F,), 1.5)}
    path = saelens(
        tmp_path / "a", {"architecture": "jumprelu", "metadata": about, "apply_b_dec_to_input": True}, tensors
    )
    codes = jump((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 1.5)
    found = read(path)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert type(found.dictionary).__name__ == "Matryoshka" and found.dictionary.widths == (10, F)
    assert found.claims.l0 == 6
    lengths = w["W_dec"].norm(dim=1)
    cfg = {"architecture": "batchtopk", "k": 6.0, "rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": True}
    path = saelens(tmp_path / "b", cfg, pick(w, *USUAL) | {"topk_threshold": torch.tensor(1.5, dtype=torch.float64)})
    codes = jump(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * lengths, 1.5)
    agree(read(path), x, codes, (codes / lengths) @ w["W_dec"] + w["b_dec"])


def test_saelens_scaled_inputs_are_folded_or_asked_for(tmp_path, w, x):
    cfg = {
        "architecture": "standard",
        "normalize_activations": "expected_average_only_in",
        "apply_b_dec_to_input": True,
    }
    path = saelens(tmp_path / "a", cfg, pick(w, *USUAL))
    with pytest.raises(BadInput, match="Give --scale"):
        read(path)
    codes = ((0.4 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    y = (codes @ w["W_dec"] + w["b_dec"]) / 0.4
    agree(read(path, scale=0.4), x, codes, y)
    (path / "activation_scaler.json").write_text('{"scaling_factor": 0.4}')
    found = read(path)
    agree(found, x, codes, y)
    assert found.claims.input_scale == 0.4 and "folded" in found.claims.input_norm
    with pytest.raises(BadInput, match="says the inputs were multiplied by 0.4; --scale says 2"):
        read(path, scale=2.0)
    lengths = w["W_dec"].norm(dim=1)
    cfg |= {"architecture": "batchtopk", "k": 6, "rescale_acts_by_decoder_norm": True}
    path = saelens(tmp_path / "b", cfg, pick(w, *USUAL) | {"topk_threshold": torch.tensor(1.5)})
    codes = jump(((0.4 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * lengths, 1.5)
    y = ((codes / lengths) @ w["W_dec"] + w["b_dec"]) / 0.4
    agree(read(path, scale=0.4), x, codes / 0.4, y)  # SAELens's own fold counts along directions of length 1


@pytest.mark.parametrize("word", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("by_length", [True, False])
def test_saelens_thresholds_follow_a_scale_only_where_lengths_count(tmp_path, w, x, word, by_length):
    cfg = {"architecture": word, "k": 6, "rescale_acts_by_decoder_norm": by_length, "apply_b_dec_to_input": True,
           "normalize_activations": "expected_average_only_in"}  # fmt: skip
    tensors = pick(w, *USUAL) | {"topk_threshold": torch.tensor(1.5)}
    lengths = w["W_dec"].norm(dim=1) if by_length else torch.ones(F)
    codes = jump(((0.4 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * lengths, 1.5)
    y = ((codes / lengths) @ w["W_dec"] + w["b_dec"]) / 0.4
    agree(read(saelens(tmp_path / "a", cfg, tensors), scale=0.4), x, codes / (0.4 if by_length else 1), y)


def test_saelens_goes_by_the_k_of_its_own_settings(tmp_path, w, x):
    about = {"training_architecture": "topk", "training_architecture_details": {"k": 9}}
    cfg = {"architecture": "topk", "k": 4, "apply_b_dec_to_input": True, "metadata": about}
    found = read(saelens(tmp_path / "a", cfg, pick(w, *USUAL)))
    codes = topk((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 4)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert found.claims.l0 == 4


def test_saelens_matching_pursuit(tmp_path, w, x):
    w["W_dec"] = nn.functional.normalize(w["W_dec"], dim=1)
    cfg = {"architecture": "matching_pursuit", "residual_threshold": 0, "max_iterations": 3,
           "stop_on_duplicate_support": False}  # fmt: skip
    rest, codes = x - w["b_dec"], torch.zeros(N, F)
    for _ in range(3):
        best = (rest @ w["W_dec"].T).relu().argmax(1)
        value = (rest * w["W_dec"][best]).sum(1).relu()
        codes[torch.arange(N), best] += value
        rest = rest - value[:, None] * w["W_dec"][best]
    found = read(saelens(tmp_path / "a", cfg, pick(w, "W_dec", "b_dec")))
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    with pytest.raises(BadInput, match="ends early"):
        read(saelens(tmp_path / "b", {"architecture": "matching_pursuit"}, pick(w, "W_dec", "b_dec")))


@pytest.mark.parametrize("cfg, said", [
    ({"architecture": "temporal"}, "earlier tokens"),
    ({"architecture": "abstopk"}, "may be negative"),
    ({"architecture": "new_one"}, "does not know SAELens's architecture 'new_one'"),
    ({"architecture": "standard", "normalize_activations": "constant_norm_rescale"}, "its own norm"),
    ({"architecture": "transcoder", "normalize_activations": "layer_norm"}, "not what it writes"),
    ({"architecture": "jumprelu"}, "no tensor 'threshold'"),
])  # fmt: skip
def test_saelens_refusals_say_why(tmp_path, w, cfg, said):
    with pytest.raises(BadInput, match=said):
        read(saelens(tmp_path / "a", cfg, pick(w, *USUAL)))


def sparsify(folder, w, **cfg):
    folder.mkdir(parents=True)
    cfg = {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": F,
        "k": 4,
        "d_in": D,
    } | cfg
    (folder / "cfg.json").write_text(json.dumps(cfg))
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    if cfg.get("skip_connection"):
        tensors["W_skip"] = w["W_skip"]
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae.safetensors")
    return folder


@pytest.mark.parametrize("transcode", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_sparsify(tmp_path, w, x, transcode, skip):
    name = "layers.5.mlp" if transcode else "layers.10"
    path = sparsify(tmp_path / "run" / name, w, transcode=transcode, skip_connection=skip)
    codes = topk(((x if transcode else x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu(), 4)
    y = codes @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if skip else 0)
    found = read(path)
    assert found.format == "sparsify"
    agree(found, x, codes, y)
    assert found.claims.sites == (("L5.mlp_in",) if transcode else ("L10.resid_post",))
    assert found.claims.sites_out == (("L5.mlp_out",) if transcode else ("L10.resid_post",))


def test_sparsify_multi_topk_is_said(tmp_path, w, x):
    found = read(sparsify(tmp_path / "a", w, multi_topk=True))
    codes = topk(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu(), 4)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert any("rebuilds from 16 features" in note for note in found.assumptions)


def test_sparsify_refusals_say_why(tmp_path, w):
    with pytest.raises(BadInput, match="best feature of each of k groups"):
        read(sparsify(tmp_path / "a", w, activation="groupmax"))
    with pytest.raises(BadInput, match="signed"):
        read(sparsify(tmp_path / "b", w, signed=True))
    with pytest.raises(BadInput, match="not of one dictionary"):
        read(sparsify(tmp_path / "c", w, num_latents=0))
    w["W_dec"] = w["W_dec"].T
    with pytest.raises(BadInput, match="stored the other way round"):
        read(sparsify(tmp_path / "d", w))


def learned(folder, kind, tensors, **trainer):
    folder.mkdir(parents=True)
    torch.save({name: value.contiguous() for name, value in tensors.items()}, folder / "ae.pt")
    trainer = {"dict_class": kind, "lm_name": "pythia-70m", "submodule_name": "resid_post_layer_3"} | trainer
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out", "ctx_len": 128}}))
    return folder


def test_dictionary_learning(tmp_path, w, x):
    enc, dec = w["W_enc"].T, w["W_dec"].T
    usual = {"encoder.weight": enc, "encoder.bias": w["b_enc"], "decoder.weight": dec}
    centred = (x - w["b_dec"]) @ w["W_enc"]
    pre, tail = centred + w["b_enc"], w["b_dec"]

    def check(kind, tensors, codes, **trainer):
        found = read(learned(tmp_path / kind, kind, tensors, **trainer))
        agree(found, x, codes, codes @ w["W_dec"] + tail)
        return found

    lengths = w["W_dec"].norm(dim=1)  # its loader makes them 1
    found = read(learned(tmp_path / "AutoEncoder", "AutoEncoder", usual | {"bias": w["b_dec"]}))
    agree(found, x, pre.relu() * lengths, pre.relu() @ w["W_dec"] + tail)
    assert found.claims.sites == ("L3.resid_post",) and any("from_pretrained" in note for note in found.assumptions)
    assert (found.dictionary.W_dec.norm(dim=1) - 1).abs().max() < 1e-5
    check("AutoEncoderNew", usual | {"decoder.bias": w["b_dec"]}, (x @ w["W_enc"] + w["b_enc"]).relu())
    mag, r = random(F, seed=8), random(F, seed=9, size=0.3)
    gated = {"encoder.weight": enc, "decoder.weight": dec, "decoder_bias": w["b_dec"], "gate_bias": w["b_enc"],
             "mag_bias": mag, "r_mag": r}  # fmt: skip
    check("GatedAutoEncoder", gated, (pre > 0) * (r.exp() * centred + mag).relu())
    raw = x @ w["W_enc"] + w["b_enc"]
    check("JumpReluAutoEncoder", pick(w, *USUAL, "threshold"), (raw * (raw > w["threshold"])).relu())
    ranked = usual | {"b_dec": w["b_dec"], "k": torch.tensor(4), "threshold": torch.tensor(2.0)}
    check("AutoEncoderTopK", ranked, topk(pre.relu(), 4))
    assert check("BatchTopKSAE", ranked, jump(pre.relu(), 2.0)).claims.l0 == 4
    nested = pick(w, *USUAL) | {
        "k": torch.tensor(4),
        "threshold": torch.tensor(2.0),
        "group_sizes": torch.tensor([10, 30]),
    }
    assert check("MatryoshkaBatchTopKSAE", nested, jump(pre.relu(), 2.0)).dictionary.widths == (10, 40)


def test_dictionary_learning_left_by_an_interrupted_run(tmp_path, w, x):
    """Trained on x / 5; a finished run multiplies biases by 5 before saving, this file holds them as they were."""
    usual = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    held = {"step": 10, "ae": usual | {"b_dec": w["b_dec"], "k": torch.tensor(4), "threshold": torch.tensor(0.3)},
            "optimizer": {"state": {}}, "config": {"dict_class": "BatchTopKSAE"}, "norm_factor": 5.0}  # fmt: skip
    (tmp_path / "a").mkdir()
    torch.save(held, tmp_path / "a" / "ae.pt")
    codes = jump(((x / 5 - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu(), 0.3)
    found = read(tmp_path / "a")
    agree(found, x, 5 * codes, 5 * (codes @ w["W_dec"] + w["b_dec"]))
    assert any("norm_factor = 5" in note for note in found.assumptions)


def test_dictionary_learning_does_not_guess_between_topk_and_batchtopk(tmp_path, w):
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
               "b_dec": w["b_dec"], "k": torch.tensor(4), "threshold": torch.tensor(2.0)}  # fmt: skip
    path = learned(tmp_path / "a", "BatchTopKSAE", tensors)
    (path / "config.json").unlink()
    with pytest.raises(BadInput, match="may be an AutoEncoderTopK or a BatchTopKSAE"):
        read(path)
    with pytest.raises(BadInput, match="IdentityDict has no counterpart"):
        read(learned(tmp_path / "b", "IdentityDict", {}))
