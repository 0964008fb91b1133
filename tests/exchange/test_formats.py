"""Formats whose tools are not installed with the tests: Gemma Scope, Llama Scope, OpenAI, circuit-tracer, bare weights;
each against its own mathematics, stated here in plain torch."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_exchange import D, F, N, agree, jump, random, topk

from physalis.errors import BadInput
from physalis.exchange import convert, read, recognise

L = 3


@pytest.fixture
def x():
    return 3 + 2 * random(N, D, seed=99)


@pytest.fixture
def w():
    return {
        "W_enc": random(D, F, seed=1),
        "b_enc": random(F, seed=2),
        "W_dec": random(F, D, seed=3) * (0.5 + torch.rand(F, 1, generator=torch.Generator().manual_seed(4))),
        "b_dec": random(D, seed=5),
        "threshold": 1 + random(F, seed=6).abs(),
        "W_skip": random(D, D, seed=7, size=0.3),
    }


def save(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)


def test_gemma_scope_1(tmp_path, w, x):
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    path = tmp_path / "gemma-scope-2b-pt-res" / "layer_12" / "width_16k" / "average_l0_7"
    path.mkdir(parents=True)
    np.savez(path / "params.npz", **{name: w[name].numpy() for name in names})
    codes = jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    found = read(path)
    assert found.format == "gemma" and found.claims.l0 == 7 and found.claims.model == "google/gemma-2-2b"
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    assert found.claims.sites == ("L12.resid_post",) and found.dictionary.config.k == 7
    agree(read(path / "params.npz"), x, codes, codes @ w["W_dec"] + w["b_dec"])


def test_gemma_scope_on_embeddings_is_scaled_as_the_model_does(tmp_path, w, x):
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    path = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k" / "average_l0_6"
    path.mkdir(parents=True)
    np.savez(path / "params.npz", **{name: w[name].numpy() for name in names})
    root = D**0.5
    codes = jump(x / root @ w["W_enc"] + w["b_enc"], w["threshold"])
    agree(read(path), x, codes, root * (codes @ w["W_dec"] + w["b_dec"]))


def test_gemma_scope_2_applies_its_skip_as_stored(tmp_path, w, x):
    tensors = {"w_enc": w["W_enc"], "b_enc": w["b_enc"], "w_dec": w["W_dec"], "b_dec": w["b_dec"],
               "threshold": w["threshold"], "affine_skip_connection": w["W_skip"]}  # fmt: skip
    path = tmp_path / "layer_5_width_16k"
    save(path / "params.safetensors", tensors)
    said = {"architecture": "jump_relu", "hf_hook_point_in": "model.layers.5.pre_feedforward_layernorm.output",
            "hf_hook_point_out": "model.layers.5.post_feedforward_layernorm.output",
            "model_name": "gemma-3-270m"}  # fmt: skip
    (path / "config.json").write_text(json.dumps(said))
    codes = jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    found = read(path)
    agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"] + x @ w["W_skip"])
    assert found.claims.sites == ("L5.mlp_in",) and found.claims.sites_out == ("L5.mlp_out",)


def cross_layer(w):
    """x [N, L * D] to (codes [N, L * F], y [N, L * D]) by plain loops, from weights stacked over layers."""

    def run(x):
        parts = x.view(N, L, D)
        codes = torch.stack([jump(parts[:, i] @ w["enc"][i] + w["b_enc"][i], w["threshold"][i]) for i in range(L)], 1)
        y = w["b_dec"].expand(N, L, D).clone()
        for i in range(L):
            for to in range(i, L):
                y[:, to] += codes[:, i] @ w["dec"][i, to]
        return codes.reshape(N, -1), y.reshape(N, -1)

    return run


@pytest.fixture
def layered():
    return {"enc": random(L, D, F, seed=1), "b_enc": random(L, F, seed=2), "dec": random(L, L, F, D, seed=3),
            "b_dec": random(L, D, seed=4), "threshold": 1 + random(L, F, seed=5).abs()}  # fmt: skip


def test_gemma_scope_2_cross_layer(tmp_path, layered):
    x = 3 + 2 * random(N, L * D, seed=99)
    for i in range(L):
        save(tmp_path / f"params_layer_{i}.safetensors", {
            "w_enc": layered["enc"][i], "b_enc": layered["b_enc"][i], "threshold": layered["threshold"][i],
            "w_dec": layered["dec"][i].transpose(0, 1), "b_dec": layered["b_dec"][i],
        })  # fmt: skip
    agree(read(tmp_path), x, *cross_layer(layered)(x))
    (tmp_path / "params_layer_1.safetensors").unlink()
    with pytest.raises(BadInput, match="needs all of them from 0 on"):
        read(tmp_path)


def test_circuit_tracer_cross_layer(tmp_path, layered):
    x = 3 + 2 * random(N, L * D, seed=99)
    for i in range(L):
        save(tmp_path / f"W_enc_{i}.safetensors", {
            f"W_enc_{i}": layered["enc"][i].T, f"b_enc_{i}": layered["b_enc"][i], f"b_dec_{i}": layered["b_dec"][i],
            f"threshold_{i}": layered["threshold"][i],
        })  # fmt: skip
        save(tmp_path / f"W_dec_{i}.safetensors", {f"W_dec_{i}": layered["dec"][i, i:].transpose(0, 1)})
    (tmp_path / "config.yaml").write_text("model_name: gpt2\nfeature_input_hook: mlp.hook_in\n"
                                          "feature_output_hook: hook_mlp_out\n")  # fmt: skip
    found = read(tmp_path)
    agree(found, x, *cross_layer(layered)(x))
    assert found.claims.sites == ("L0.mlp_in", "L1.mlp_in", "L2.mlp_in") and found.claims.sites_out[2] == "L2.mlp_out"


@pytest.mark.parametrize("threshold", [True, False])
def test_circuit_tracer_layer_by_layer(tmp_path, w, x, threshold):
    tensors = {
        "W_enc": w["W_enc"].T,
        "b_enc": w["b_enc"],
        "W_dec": w["W_dec"],
        "b_dec": w["b_dec"],
        "W_skip": w["W_skip"],
    }
    if threshold:
        tensors["activation_function.threshold"] = w["threshold"]
    for i in range(2):
        save(tmp_path / "set" / f"layer_{i}.safetensors", tensors)
    pre = x @ w["W_enc"] + w["b_enc"]
    codes = jump(pre, w["threshold"]) if threshold else pre.relu()
    agree(read(tmp_path / "set" / "layer_1.safetensors"), x, codes, codes @ w["W_dec"] + w["b_dec"] + x @ w["W_skip"].T)
    assert recognise(tmp_path / "set") == "circuit-tracer"
    with pytest.raises(BadInput, match="holds 2 transcoders, one a layer"):
        read(tmp_path / "set")
    assert [c.folder.name for c in convert(tmp_path / "set", tmp_path / "out")] == ["layer_0", "layer_1"]


def llamascope(folder, w, *, norms=(3.0, 3.0), write="blocks.8.hook_resid_post", **cfg):
    cfg = {
        "d_model": D, "d_sae": F, "hook_point_in": "blocks.8.hook_resid_post", "hook_point_out": write,
        "norm_activation": "dataset-wise", "act_fn": "jumprelu", "jump_relu_threshold": 0.5, "top_k": 50,
        "dataset_average_activation_norm": {"in": norms[0], "out": norms[1]}, "sparsity_include_decoder_norm": True,
    } | cfg  # fmt: skip
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
               "decoder.bias": w["b_dec"]}  # fmt: skip
    save(folder / "checkpoints" / "final.safetensors", tensors)
    (folder / "hyperparams.json").write_text(json.dumps(cfg))
    return folder


@pytest.mark.parametrize("norms", [(9.0, 9.0), (9.0, 2.0)])
def test_llama_scope_folds_both_norms(tmp_path, w, x, norms):
    out = "blocks.8.hook_resid_post" if norms[0] == norms[1] else "blocks.8.hook_mlp_out"
    f_in, f_out = (D**0.5 / norm for norm in norms)
    pre, lengths = f_in * x @ w["W_enc"] + w["b_enc"], w["W_dec"].norm(dim=1)
    codes = pre * (pre * lengths > 0.5 * f_out)
    found = read(llamascope(tmp_path / "a", w, norms=norms, write=out))
    agree(found, x, codes, (codes @ w["W_dec"] + w["b_dec"]) / f_out)
    assert found.claims.l0 == 50 and found.claims.transcoder == (norms[0] != norms[1])


def llamascopium(folder, cfg, tensors):
    cfg = {"d_model": D, "expansion_factor": F / D, "norm_activation": "dataset-wise", "act_fn": "jumprelu"} | cfg
    save(folder / "sae_weights.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(cfg))
    return folder


@pytest.mark.parametrize("act", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("inference", [True, False])
def test_llamascopium(tmp_path, w, x, act, inference):
    a, b = "blocks.8.mlp.hook_in", "blocks.8.hook_mlp_out"
    tensors = {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"], "b_D": w["b_dec"],
               "activation_function.log_jumprelu_threshold": w["threshold"].log(),
               f"dataset_average_activation_norm.{a}": torch.tensor(9.0),
               f"dataset_average_activation_norm.{b}": torch.tensor(2.0)}  # fmt: skip
    cfg = {"sae_type": "sae", "hook_point_in": a, "hook_point_out": b, "act_fn": act, "top_k": 4}
    cfg |= {"norm_activation": "inference"} if inference else {}
    f_in, f_out = (1, 1) if inference else (D**0.5 / 9, D**0.5 / 2)
    lengths = w["W_dec"].norm(dim=1)
    scaled = (f_in * x @ w["W_enc"] + w["b_enc"]) * lengths
    codes = {"relu": scaled.relu(), "jumprelu": jump(scaled, w["threshold"]), "topk": topk(scaled, 4)}[act] / lengths
    found = read(llamascopium(tmp_path / "a", cfg, tensors))
    agree(found, x, codes * lengths if act == "topk" else codes, (codes @ w["W_dec"] + w["b_dec"]) / f_out)
    assert found.claims.sites == ("L8.mlp_in",) and any("times the length" in n for n in found.assumptions) == (
        act == "topk"
    )


def test_llamascopium_crosscoder(tmp_path):
    hooks, x = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"], 3 + 2 * random(N, 2 * D, seed=99)
    enc, b_enc = random(2, D, F, seed=1), random(2, F, seed=2)
    dec, b_dec, norms = random(2, F, D, seed=3), random(2, D, seed=4), (9.0, 2.0)
    tensors = {"W_E": enc, "b_E": b_enc, "W_D": dec, "b_D": b_dec} | {
        f"dataset_average_activation_norm.{hook}": torch.tensor(norm) for hook, norm in zip(hooks, norms, strict=True)
    }
    f = [D**0.5 / norm for norm in norms]
    parts = x.view(N, 2, D)
    codes = sum(f[h] * parts[:, h] @ enc[h] + b_enc[h] for h in range(2)).relu()
    y = torch.cat([(codes @ dec[h] + b_dec[h]) / f[h] for h in range(2)], dim=1)
    cfg = {"sae_type": "crosscoder", "hook_points": hooks, "act_fn": "relu"}
    found = read(llamascopium(tmp_path / "a", cfg, tensors))
    agree(found, x, codes, y)
    assert found.claims.sites == ("L0.resid_post", "L1.resid_post")
    with pytest.raises(BadInput, match="for each hook on its own"):
        read(llamascopium(tmp_path / "b", cfg | {"act_fn": "jumprelu"}, tensors))


def test_llamascopium_cross_layer(tmp_path, layered):
    x = 3 + 2 * random(N, L * D, seed=99)
    reads, writes = [[f"blocks.{i}.{hook}" for i in range(L)] for hook in ("hook_resid_mid", "hook_mlp_out")]
    tensors = {"W_E": layered["enc"], "b_E": layered["b_enc"],
               "activation_function.log_jumprelu_threshold": layered["threshold"].log()}  # fmt: skip
    for to in range(L):
        tensors |= {f"W_D.{to}": layered["dec"][: to + 1, to], f"b_D.{to}": layered["b_dec"][to]}
    f_in, f_out = [0.5, 1.0, 2.0], [3.0, 0.7, 1.5]
    for hook, f in zip(reads + writes, f_in + f_out, strict=True):
        tensors[f"dataset_average_activation_norm.{hook}"] = torch.tensor(D**0.5 / f)
    cfg = {"sae_type": "clt", "hook_points_in": reads, "hook_points_out": writes, "sparsity_include_decoder_norm": True}
    lengths = torch.stack([layered["dec"][i, i:].square().sum((0, 2)).sqrt() for i in range(L)])
    known = cross_layer(layered | {"threshold": layered["threshold"] / lengths})
    codes, y = known((x.view(N, L, D) * torch.tensor(f_in)[:, None]).reshape(N, -1))
    y = (y.view(N, L, D) / torch.tensor(f_out)[:, None]).reshape(N, -1)
    agree(read(llamascopium(tmp_path / "a", cfg, tensors)), x, codes, y)


@pytest.mark.parametrize("cfg, said", [
    ({"sae_type": "lorsa"}, "has no counterpart"),
    ({"sae_type": "molt"}, "has no counterpart"),
    ({"sae_type": "sae", "use_glu_encoder": True}, "gated by a second one"),
    ({"sae_type": "sae", "act_fn": "batchtopk"}, "stores no threshold"),
    ({"sae_type": "sae", "norm_activation": "token-wise"}, "not linear"),
    ({"sae_type": "sae"}, "does not state the mean norm"),
])  # fmt: skip
def test_llamascopium_refusals_say_why(tmp_path, w, cfg, said):
    cfg = {"hook_point_in": "blocks.0.hook_mlp_out", "hook_point_out": "blocks.0.hook_mlp_out"} | cfg
    with pytest.raises(BadInput, match=said):
        read(llamascopium(tmp_path / "a", cfg, {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"]}))


@pytest.mark.parametrize("tied", [True, False])
def test_openai_topk_normalises_tokens(tmp_path, w, x, tied):
    held = {"pre_bias": w["b_dec"], "latent_bias": w["b_enc"], "encoder.weight": w["W_enc"].T.contiguous(),
            "stats_last_nonzero": torch.zeros(F, dtype=torch.int64), "activation": "TopK",
            "activation_state_dict": {"k": 5, "postact_fn": "ReLU"}}  # fmt: skip
    if not tied:
        held["decoder.weight"] = w["W_dec"].T.contiguous()
    path = tmp_path / "gpt2-small" / "resid_post_mlp_v5_32k" / "autoencoders" / "6.pt"
    path.parent.mkdir(parents=True)
    torch.save(held, path)
    mu = x.mean(1, keepdim=True)
    std = (x - mu).std(1, keepdim=True)
    codes = topk(((x - mu) / (std + 1e-5) - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 5)
    found = read(path)
    dec = w["W_enc"].T if tied else w["W_dec"]
    agree(found, x, codes, (codes @ dec + w["b_dec"]) * std + mu, tolerance=2e-5)
    assert found.claims.sites == ("L6.resid_post",) and found.claims.model == "gpt2"


def test_openai_relu_does_not(tmp_path, w, x):
    held = {"pre_bias": w["b_dec"], "latent_bias": w["b_enc"], "encoder.weight": w["W_enc"].T.contiguous(),
            "decoder.weight": w["W_dec"].T.contiguous(), "activation": "ReLU", "activation_state_dict": {}}  # fmt: skip
    torch.save(held, tmp_path / "0.pt")
    codes = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    agree(read(tmp_path / "0.pt"), x, codes, codes @ w["W_dec"] + w["b_dec"])
    torch.save(held | {"activation": "Identity"}, tmp_path / "1.pt")
    with pytest.raises(BadInput, match="may be negative"):
        read(tmp_path / "1.pt")


def test_bare_weights(tmp_path, w, x):
    codes = (x @ w["W_enc"] + w["b_enc"]).relu()
    names = ("weight", "bias")
    for kind in ("encoder_linear", "encoder"):
        values = [w["W_enc"].T, w["b_enc"]], [w["W_dec"].T, w["b_dec"]]
        held = {
            f"{part}.{name}": value
            for part, pair in zip((kind, kind.replace("encoder", "decoder")), values, strict=True)
            for name, value in zip(names, pair, strict=True)
        }
        torch.save({name: value.contiguous() for name, value in held.items()}, tmp_path / f"{kind}.pt")
        found = read(tmp_path / f"{kind}.pt")
        agree(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
        assert found.format == "plain" and found.claims.to_dict() == {}
    path = tmp_path / "SAE-Res-Qwen3-W32K-L0_5" / "layer0.sae.pt"
    path.parent.mkdir()
    held = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    torch.save({name: value.contiguous() for name, value in held.items()}, path)
    codes = topk(x @ w["W_enc"] + w["b_enc"], 5)
    agree(read(path), x, codes, codes @ w["W_dec"] + w["b_dec"])


def test_what_is_no_format_is_said(tmp_path):
    with pytest.raises(BadInput, match="There is no"):
        read(tmp_path / "nowhere")
    (tmp_path / "run" / "layers.3").mkdir(parents=True)
    (tmp_path / "run" / "layers.3" / "cfg.json").write_text("{}")
    with pytest.raises(BadInput, match="dictionaries in layers.3"):
        read(tmp_path / "run")
    with pytest.raises(BadInput, match="'keras' is not a format"):
        read(tmp_path, format="keras")
