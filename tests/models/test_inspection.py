"""`physalis model`: what a model is made of, from its config alone, equal to what the loaded model says."""

import json
from pathlib import Path

import pytest
import transformers
from architectures import build
from test_models import save_gguf, save_llama

from physalis.cli import app
from physalis.errors import BadInput
from physalis.models import inspect_model, load_model
from physalis.site import Site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llama(tmp_path)
    return tmp_path


def test_what_a_config_says_is_what_the_model_says(folder: Path) -> None:
    model = load_model(str(folder), device="cpu")
    (folder / "model.safetensors").unlink()
    made = inspect_model(str(folder))
    assert (made.architecture, made.layers, made.width, made.found) == ("llama", 2, 32, "table")
    assert made.vocabulary == model.vocab_size
    assert made.parameters == sum(p.numel() for p in model.hf.parameters())
    assert {name: each.width for name, each in made.sites.items()} == {s.site.name: s.width for s in model.sites()}
    assert all(each.layers in (None, [0, 1]) for each in made.sites.values())
    assert made.sites["z"].module == "self_attn.o_proj"


def test_an_architecture_without_a_row_is_tried(folder: Path) -> None:
    build("cohere").save_pretrained(folder)
    made = inspect_model(str(folder))
    assert (made.found, made.parallel, made.multipliers) == ("numbers", True, {"logits": 0.0625})
    assert "resid_mid" not in made.sites


def test_a_gguf_file_is_told_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path / "cache"))
    save_gguf(tmp_path / "small.gguf")
    made = inspect_model(str(tmp_path / "small.gguf"))
    assert (made.architecture, made.layers, made.width) == ("llama", 1, 32)
    assert not (tmp_path / "cache").exists()


def test_the_command_prints_a_line_for_each_site(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["model", str(folder)], result_action="return_value")
    said = capsys.readouterr().out
    assert "llama" in said and "2 layers of width 32, 4 heads" in said
    assert "L0.z to L1.z" in said and "model.layers, self_attn.o_proj" in said
    app(["model", str(folder), "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out)["sites"]["resid_post"] == {
        "width": 32, "layers": [0, 1], "module": None, "feeds": ["the next resid_pre", "final_norm_scale", "logits"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["./nowhere", "missing.gguf"])
def test_no_model_is_a_sentence(name: str) -> None:
    with pytest.raises(BadInput, match="There is no model at"):
        inspect_model(name)


def test_a_model_that_does_not_predict_text_is_a_sentence(folder: Path) -> None:
    transformers.BartConfig().save_pretrained(folder)
    with pytest.raises(BadInput, match="'bart' is an encoder and a decoder"):
        inspect_model(str(folder))


def test_the_tiny_model_has_all_sites() -> None:
    assert set(inspect_model("tiny").sites) == {each.site.name for each in load_model("tiny", device="cpu").sites()}
    assert Site("z", 0) in {each.site for each in load_model("tiny", device="cpu").sites()}
