"""convert: into a folder of ours with its verdict, and out of it into other tools' files that say the same."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from test_exchange import agree, dense, random

from physalis import artifact, dictionaries
from physalis.artifact import Manifest, files
from physalis.cli import app
from physalis.errors import BadInput
from physalis.exchange import convert, converting, read, write
from physalis.recording import record
from physalis.site import Site
from physalis.types import Batch

D, F, K, N = 12, 40, 4, 64


def stored(folder, kind, *, d_out=D, site="L3.resid_post", writes=None, **more):
    """A dictionary of ours with weights as after training: a centre, biases, thresholds, directions of length 1."""
    d = dictionaries.make(kind, {"d_in": D, "d_out": d_out, "n_features": F, "k": K, **more})
    x = random(200, D, seed=1)
    d.start(Batch(x, x if d_out == D else random(200, d_out, seed=2)), seed=0)
    for i, (name, value) in enumerate(d.state_dict().items()):
        if name in ("b_dec", "b_mag") or (name in ("b_enc", "centre") and kind != "MatchingPursuit"):
            value.add_(random(*value.shape, seed=i, size=0.3))
        if name in ("threshold", "first_threshold"):
            value.copy_(0.2 + random(*value.shape, seed=i, size=0.1).abs())
        if name == "r_mag":
            value.copy_(random(*value.shape, seed=i, size=0.3))
        if name == "skip":
            value.copy_(random(*value.shape, seed=i))
    config = {"architecture": kind, "dictionary": {**dictionaries_config(d)}, "site": site, "model": "gpt2",
              "hygiene": {"skip_first": True, "max_norm": 10.0}}  # fmt: skip
    if writes:
        config["writes"] = writes
    with artifact.claim(folder, "dictionary", {}):
        name = dictionaries.save(d, folder)
        artifact.finish(folder, Manifest(kind="dictionary", config=config), [name])
    return folder


def dictionaries_config(d):
    from dataclasses import asdict

    return asdict(d.config)


def ours(folder, x):
    """The dictionary's codes, dense, and reconstructions."""
    d = dictionaries.load(folder, dtype=torch.float32)
    codes = d.encode(x)
    return dense(codes, d.config.n_features), d.rebuild(x, codes)


@pytest.fixture
def x():
    return random(N, D, seed=99)


SAELENS = {"TopK": "topk", "BatchTopK": "jumprelu", "JumpReLU": "jumprelu", "Matryoshka": "jumprelu", "L1": "standard",
           "L1Resampled": "standard", "Gated": "gated", "MatchingPursuit": "matching_pursuit"}  # fmt: skip


@pytest.mark.parametrize("kind, word", SAELENS.items())
def test_to_saelens_and_back(tmp_path, x, kind, word):
    folder = stored(tmp_path / "a", kind)
    convert(folder, tmp_path / "b", to="saelens")
    cfg = json.loads((tmp_path / "b" / "cfg.json").read_text())
    assert cfg["architecture"] == word and cfg["metadata"]["hook_name"] == "blocks.3.hook_resid_post"
    assert cfg["metadata"]["prepend_bos"] is True and cfg["d_sae"] == F
    back = read(tmp_path / "b")
    agree(back, x, *ours(folder, x))
    assert type(back.dictionary).__name__ == {"L1Resampled": "L1"}.get(kind, kind)


@pytest.mark.parametrize("kind", ["JumpReLU", "L1"])
@pytest.mark.parametrize("d_out, skip", [(7, False), (7, True), (D, True)])
def test_transcoders_to_saelens_and_back(tmp_path, x, kind, d_out, skip):
    folder = stored(tmp_path / "a", kind, d_out=d_out, skip=skip, site="L3.mlp_in", writes="L3.mlp_out")
    write([folder], tmp_path / "b", to="saelens")
    cfg = json.loads((tmp_path / "b" / "cfg.json").read_text())
    assert cfg["apply_b_dec_to_input"] is False and cfg["metadata"]["hook_name_out"] == "blocks.3.hook_mlp_out"
    agree(read(tmp_path / "b"), x, *ours(folder, x))


@pytest.mark.parametrize("writes, skip", [(None, False), (None, True), ("L3.mlp_out", False), ("L3.mlp_out", True)])
def test_to_sparsify_and_back(tmp_path, x, writes, skip):
    site = "L3.mlp_in" if writes else "L3.resid_post"
    folder = stored(tmp_path / "a", "TopK", site=site, writes=writes, skip=skip)
    write([folder], tmp_path / "run" / "layers.3", to="sparsify")
    cfg = json.loads((tmp_path / "run" / "layers.3" / "cfg.json").read_text())
    assert cfg["transcode"] == bool(writes) and load_file(tmp_path / "run" / "layers.3" / "sae.safetensors")[
        "W_dec"
    ].shape == (F, D)
    agree(read(tmp_path / "run" / "layers.3"), x, *ours(folder, x))


@pytest.mark.parametrize("kind", ["JumpReLU", "BatchTopK", "L1"])
def test_a_set_to_circuit_tracer_and_back(tmp_path, x, kind):
    folders = [
        stored(tmp_path / f"{i}", kind, site=f"L{i}.mlp_in", writes=f"L{i}.mlp_out", skip=True) for i in range(2)
    ]
    convert(folders, tmp_path / "b", to="circuit-tracer")
    config = json.loads((tmp_path / "b" / "config.yaml").read_text())
    assert config["feature_input_hook"] == "mlp.hook_in" and config["feature_output_hook"] == "hook_mlp_out"
    back = convert(tmp_path / "b", tmp_path / "c")
    for i, each in enumerate(back):
        codes, y = ours(folders[i], x)
        found, guess = ours(each.folder, x)
        assert (found - codes).abs().max() < 1e-4 and (guess - y).abs().max() < 1e-4
        assert each.manifest.config["site"] == f"L{i}.mlp_in" and each.manifest.config["writes"] == f"L{i}.mlp_out"


def test_a_cross_layer_transcoder_to_circuit_tracer_and_back(tmp_path, x):
    sites = [[f"L{i}.{name}" for i in range(2)] for name in ("mlp_in", "mlp_out")]
    folder = stored(tmp_path / "a", "CrossLayer", layers=2, site=sites[0], writes=sites[1])
    write([folder], tmp_path / "b", to="circuit-tracer")
    back = read(tmp_path / "b")
    agree(back, x, *ours(folder, x))
    assert back.claims.sites == tuple(sites[0])


def test_whether_joined_sites_had_a_bos_token_is_kept(tmp_path):
    folder = stored(tmp_path / "a", "L1", site="L3.mlp_in", writes="L3.mlp_out")
    manifest = json.loads((folder / "manifest.json").read_text())
    rule = manifest["config"]["hygiene"]
    manifest["config"]["hygiene"] = {"L3.mlp_in": rule, "L3.mlp_out": rule}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write([folder], tmp_path / "b", to="saelens")
    assert read(tmp_path / "b").claims.bos is True


@pytest.mark.parametrize("kind, to, said", [
    ("ListaMatryoshka", "saelens", "no such architecture"),
    ("ListaMatryoshka", "circuit-tracer", "above 0 or above a threshold"),
    ("Gated", "circuit-tracer", "above 0 or above a threshold"),
    ("TopK", "circuit-tracer", "above 0 or above a threshold"),
    ("JumpReLU", "sparsify", "only choice of features is TopK"),
    ("CrossLayer", "saelens", "no cross-layer transcoder"),
])  # fmt: skip
def test_what_a_format_cannot_say_is_refused(tmp_path, kind, to, said):
    folder = stored(tmp_path / "a", kind)
    with pytest.raises(BadInput, match=said):
        write([folder], tmp_path / "b", to=to)
    assert not (tmp_path / "b").exists()


def test_other_refusals(tmp_path):
    wide = stored(tmp_path / "wide", "TopK", d_out=7)
    with pytest.raises(BadInput, match="writes as wide as it reads, not 12 to 7"):
        write([wide], tmp_path / "b", to="sparsify")
    with pytest.raises(BadInput, match="its transcoders are ReLU or JumpReLU"):
        write([wide], tmp_path / "b", to="saelens")
    folders = [stored(tmp_path / f"{i}", "L1", site=f"L{i}.mlp_in", writes=f"L{i}.mlp_out") for i in (0, 2)]
    with pytest.raises(BadInput, match="for every layer from 0 on"):
        write(folders, tmp_path / "b", to="circuit-tracer")
    with pytest.raises(BadInput, match="holds one dictionary; received 2"):
        write(folders, tmp_path / "b", to="saelens")
    write([folders[0]], tmp_path / "b", to="saelens")
    with pytest.raises(BadInput, match="already holds another job"):
        write([folders[1]], tmp_path / "b", to="saelens")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds something else"):
        write([folders[0]], tmp_path / "full", to="saelens")
    assert [each.name for each in (tmp_path / "full").iterdir() if each.name != ".lock"] == ["mine.txt"]
    with pytest.raises(BadInput, match="is a dictionary of ours already"):
        convert(folders[0], tmp_path / "c")
    several = stored(tmp_path / "cross", "Crosscoder", sites=[6, 6])
    with pytest.raises(BadInput, match="several sites"):
        write([several], tmp_path / "d", to="saelens")


def test_convert_writes_a_dictionary_that_keeps_where_it_came_from(tmp_path, x):
    write([stored(tmp_path / "a", "BatchTopK")], tmp_path / "b", to="saelens")
    (made,) = convert(tmp_path / "b", tmp_path / "c")
    manifest = artifact.read(tmp_path / "c", "dictionary")
    assert manifest == made.manifest and manifest.config["architecture"] == "BatchTopK"
    assert manifest.config["site"] == "L3.resid_post" and manifest.config["model"] == "gpt2" and manifest.inputs == {}
    came = manifest.config["converted_from"]
    assert came["format"] == "saelens" and set(came["files"]) == {"cfg.json", "sae_weights.safetensors"}
    assert came["claims"]["l0"] == K and [check["name"] for check in manifest.facts["verdict"]][0] == "finite"
    assert (ours(tmp_path / "c", x)[0] - ours(tmp_path / "a", x)[0]).abs().max() < 1e-5
    assert convert(tmp_path / "b", tmp_path / "c")[0].manifest == manifest  # again: only read
    with pytest.raises(BadInput, match="another job"):
        convert(stored(tmp_path / "d", "L1") and _other(tmp_path), tmp_path / "c")


def _other(tmp_path):
    write([tmp_path / "d"], tmp_path / "e", to="saelens")
    return tmp_path / "e"


FORMATS = {"saelens": ["sae_weights.safetensors", "cfg.json"], "sparsify": ["sae.safetensors", "cfg.json"],
           "circuit-tracer": ["layer_0.safetensors", "config.yaml"]}  # fmt: skip


@pytest.mark.parametrize("to", FORMATS)
def test_writing_can_be_killed_and_run_again(tmp_path, monkeypatch, to):
    kind = "L1" if to == "circuit-tracer" else "TopK"
    folder = stored(tmp_path / "a", kind, site="L0.mlp_in", writes="L0.mlp_out" if to != "saelens" else None)
    whole = write([folder], tmp_path / "whole", to=to)
    real = artifact.write_atomic

    def killed(at):
        def once(path, put):
            real(path, put)
            if path.name == at:
                raise KeyboardInterrupt

        return once

    for i, at in enumerate([artifact.JOB, *FORMATS[to]]):
        out = tmp_path / f"{i}" / "whole"
        for module in (artifact, files):
            monkeypatch.setattr(module, "write_atomic", killed(at))
        with pytest.raises(KeyboardInterrupt):
            write([folder], out, to=to)
        for module in (artifact, files):
            monkeypatch.setattr(module, "write_atomic", real)
        assert write([folder], out, to=to).files == whole.files
    assert set(whole.files) == set(FORMATS[to]) and whole.inputs == {
        "dictionary": artifact.read(folder, "dictionary").hash
    }

    def never(path, put):
        raise AssertionError(path)

    for module in (artifact, files):
        monkeypatch.setattr(module, "write_atomic", never)
    assert write([folder], out, to=to) == whole  # finished: only opened


@pytest.mark.parametrize("to", FORMATS)
def test_the_model_is_named_as_other_tools_know_it(tmp_path, to):
    kind = "L1" if to == "circuit-tracer" else "TopK"
    folder = stored(tmp_path / "a", kind, site="L0.mlp_in", writes="L0.mlp_out" if to != "saelens" else None)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["model"] = "smollm2"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write([folder], tmp_path / "b", to=to)
    said = json.loads((tmp_path / "b" / FORMATS[to][1]).read_text())
    named = {"saelens": lambda: said["metadata"]["model_name"], "sparsify": lambda: said["model"],
             "circuit-tracer": lambda: said["model_name"]}[to]()  # fmt: skip
    assert named == "HuggingFaceTB/SmolLM2-135M-Instruct"
    source = tmp_path / "b" / "layer_0.safetensors" if to == "circuit-tracer" else tmp_path / "b"
    (back,) = convert(source, tmp_path / "c")
    assert (
        back.manifest.config["model"] == "smollm2"
        and back.manifest.config["converted_from"]["claims"]["model"] == named
    )


def test_converting_again_on_other_activations_is_another_job(
    tmp_path, tiny, tiny_text, tiny_activations, tiny_dictionary
):
    write([tiny_dictionary], tmp_path / "a", to="saelens")
    (first,) = convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations)
    site = Site("resid_post", 1)
    (other,) = record(tiny, str(tiny_text), [site], [tmp_path / "acts"], tokens=2_000, context=32, seed=3)
    for more in ({"activations": other}, {}, {"model": tiny}):
        with pytest.raises(BadInput, match="another job"):
            convert(tmp_path / "a", tmp_path / "b", **more)
    assert convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations)[0] == first


def test_a_finished_conversion_is_only_opened(tmp_path, monkeypatch, tiny_activations, tiny_dictionary):
    write([tiny_dictionary], tmp_path / "a", to="saelens")
    (first,) = convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations)

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(converting, "verdict", never)
    (again,) = convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations)
    assert again == first and again.verdict["L0"].numbers == first.verdict["L0"].numbers


def test_activations_tie_a_dictionary_to_their_model(tmp_path, tiny, tiny_activations, tiny_dictionary):
    write([tiny_dictionary], tmp_path / "a", to="saelens")
    (made,) = convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations)
    assert made.manifest.inputs == {"model": tiny.fingerprint, "tokenizer": tiny.tokenizer_fingerprint}
    assert (
        made.manifest.config["model"] == "tiny"
        and made.manifest.config["hygiene"] == tiny_activations.hygiene.to_dict()
    )


def nameless(tiny_dictionary, folder):
    """A dictionary in files that name neither a model nor a site."""
    write([tiny_dictionary], folder, to="saelens")
    said = json.loads((folder / "cfg.json").read_text())
    for name in ("model_name", "hook_name"):
        del said["metadata"][name]
    (folder / "cfg.json").write_text(json.dumps(said))
    return folder


def test_a_model_alone_says_which_site_a_dictionary_fits(tmp_path, tiny, tiny_dictionary):
    files = nameless(tiny_dictionary, tmp_path / "a")
    (made,) = convert(files, tmp_path / "b", model=tiny)
    check = made.verdict["site"]
    assert check.outcome == "unverifiable" and re.search(r"it fits L\d\.\w+ best", check.sentence)
    assert ("give --site" in check.sentence) == (check.numbers["fvu"] < 0.5)
    assert "site" not in made.manifest.config and made.verdict["L0"].outcome == "unverifiable"
    (told,) = convert(files, tmp_path / "c", model=tiny, sites=["L1.resid_post"])
    assert told.manifest.config["site"] == "L1.resid_post" and not told.verdict.wrong
    assert told.verdict["L0"].outcome == "ok" and "none fits clearly better" in told.verdict["site"].sentence
    (alone,) = convert(files, tmp_path / "d", sites=["L1.resid_post"])
    assert alone.manifest.config["site"] == "L1.resid_post"


def test_sites_that_contradict_are_refused(tmp_path, tiny_activations, tiny_dictionary):
    files = nameless(tiny_dictionary, tmp_path / "a")
    with pytest.raises(BadInput, match="These activations are of L1.resid_post; received --site L2.mlp_out"):
        convert(files, tmp_path / "b", activations=tiny_activations, sites=["L2.mlp_out"])
    write([tiny_dictionary], tmp_path / "named", to="saelens")
    with pytest.raises(BadInput, match="The files say L1.resid_post; received --site L2.mlp_out"):
        convert(tmp_path / "named", tmp_path / "b", sites=["L2.mlp_out"])
    (made,) = convert(tmp_path / "named", tmp_path / "b", sites=["L2.resid_pre"])  # the same tensor
    assert made.manifest.config["site"] == "L1.resid_post"
    write([stored(tmp_path / "wide", "L1", d_out=7)], tmp_path / "transcoder", to="saelens")
    cfg = json.loads((tmp_path / "transcoder" / "cfg.json").read_text())
    cfg["metadata"] = {"sae_lens_version": "6.0.0"}
    (tmp_path / "transcoder" / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(BadInput, match="too, with --site-out"):
        convert(tmp_path / "transcoder", tmp_path / "c", sites=["L3.mlp_in"])
    (made,) = convert(tmp_path / "transcoder", tmp_path / "c", sites=["L3.mlp_in"], sites_out=["L3.mlp_out"])
    assert made.manifest.config["site"] == "L3.mlp_in" and made.manifest.config["writes"] == "L3.mlp_out"


def test_the_same_tensor_by_another_name(tmp_path, tiny, tiny_activations, tiny_dictionary):
    write([tiny_dictionary], tmp_path / "a", to="saelens")
    cfg = tmp_path / "a" / "cfg.json"
    cfg.write_text(cfg.read_text().replace("blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"))
    for i, more in enumerate(({"activations": tiny_activations}, {"activations": tiny_activations, "model": tiny},
                              {"model": tiny})):  # fmt: skip
        (made,) = convert(tmp_path / "a", tmp_path / f"{i}", **more)
        assert made.verdict["site"].outcome == "ok" and not made.verdict.wrong
    cfg.write_text(cfg.read_text().replace("blocks.2.hook_resid_pre", "blocks.1.hook_resid_pre"))
    (made,) = convert(tmp_path / "a", tmp_path / "before", activations=tiny_activations)
    assert made.verdict["site"].outcome == "wrong"


def test_what_cannot_be_converted_is_said(tmp_path, tiny_activations):
    with pytest.raises(BadInput, match="Name a SOURCE"):
        convert([], tmp_path / "o")
    with pytest.raises(BadInput, match="'dictionary_learning' is read here, and not written. Choose one of: saelens"):
        convert(stored(tmp_path / "a", "L1"), tmp_path / "o", to="dictionary_learning")
    with pytest.raises(BadInput, match="'keras' is not a format"):
        convert(tmp_path / "a", tmp_path / "o", to="keras")
    with pytest.raises(BadInput, match="holds a recording of ours, and no dictionary"):
        convert(tiny_activations.folder, tmp_path / "o")
    with pytest.raises(BadInput, match="hf download OWNER/NAME --local-dir"):
        convert("user/repo", tmp_path / "o")
    write([stored(tmp_path / "b", "L1", site="L0.mlp_in", writes="L0.mlp_out")], tmp_path / "set", to="circuit-tracer")
    with pytest.raises(BadInput, match="activations are of one"):
        convert(tmp_path / "set", tmp_path / "o", activations=tiny_activations)
    assert not (tmp_path / "o").exists()


def test_on_activations_the_l0_that_no_file_states_is_measured(tmp_path, tiny, tiny_activations, tiny_dictionary):
    write([tiny_dictionary], tmp_path / "a", to="saelens")
    cfg = json.loads((tmp_path / "a" / "cfg.json").read_text())
    weights = load_file(tmp_path / "a" / "sae_weights.safetensors")
    cfg |= {"architecture": "standard", "metadata": {"sae_lens_version": "6.0.0"}}
    (tmp_path / "a" / "cfg.json").write_text(json.dumps(cfg))
    (made,) = convert(tmp_path / "a", tmp_path / "b", activations=tiny_activations, model=tiny)
    assert made.manifest.inputs == {"model": tiny.fingerprint, "tokenizer": tiny.tokenizer_fingerprint}
    assert made.manifest.config["site"] == "L1.resid_post" and any("was measured here" in n for n in made.assumptions)
    assert made.manifest.config["dictionary"]["k"] == round(made.verdict["L0"].numbers["l0"])
    assert weights["W_enc"].shape == (tiny_activations.d, 4 * tiny_activations.d)


def test_the_command_line(tmp_path, capsys):
    folder = stored(tmp_path / "a", "TopK")
    app(["convert", str(folder), "--out", str(tmp_path / "b"), "--to", "saelens"], result_action="return_value")
    assert "Written as saelens" in capsys.readouterr().out
    app(["convert", str(tmp_path / "b"), "--out", str(tmp_path / "c"), "--json"], result_action="return_value")
    record = json.loads(capsys.readouterr().out)
    assert record[0]["wrong"] == [] and record[0]["format"] == "saelens"
    weights = load_file(tmp_path / "b" / "sae_weights.safetensors")
    from safetensors.torch import save_file

    save_file(weights | {"W_enc": 50 * weights["W_enc"]}, tmp_path / "b" / "sae_weights.safetensors")
    with pytest.raises(SystemExit) as ended:
        app(["convert", str(tmp_path / "b"), "--out", str(tmp_path / "d"), "--from", "saelens"])
    said = capsys.readouterr().out
    assert ended.value.code == 1 and "WRONG" in said and "not verified" in said and "tied to no model" in said
