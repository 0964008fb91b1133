"""Model folders that are broken, or that want their own code run: a sentence each, and nothing of them runs."""

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
import transformers
from test_models import save_llama

from physalis.errors import BadInput
from physalis.models import load_model, load_tokenizer

CODE = """
open({mark!r}, "w").write("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "of-its-own"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llama(tmp_path)
    return tmp_path


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr(sys.stdin, "readline", lambda *_: "y\n", raising=False)


@pytest.mark.usefixtures("yes")
def test_code_that_comes_with_a_model_is_never_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mark = folder / "ran"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]})
    capfd.readouterr()
    assert load_model(str(folder), device="cpu").n_layers == 2  # transformers' own classes suffice for this one
    load_tokenizer(str(folder))
    edit(
        folder / "config.json",
        model_type="of-its-own",
        auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    )
    with pytest.raises(BadInput, match="physalis runs no code that comes with a model"):
        load_model(str(folder))
    assert not mark.exists()
    assert capfd.readouterr().out == ""  # where --json promises the record alone


def test_kernels_that_a_folder_asks_for_are_not_fetched(folder: Path) -> None:
    edit(folder / "config.json", attn_implementation="stranger/kernels", experts_implementation="stranger/kernels")
    model = load_model(str(folder), device="cpu")
    assert model.hf.config._attn_implementation == "sdpa"


def test_a_pickle_with_a_payload_is_refused(folder: Path) -> None:
    mark = folder / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Payload(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="Cannot load a model from"):
        load_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(BadInput, match="Cannot load a model from"):
        load_model(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    "fields",
    [{"num_hidden_layers": -1}, {"num_hidden_layers": 0}, {"num_attention_heads": "many"}, {"hidden_size": None}],
    ids=str,
)
def test_a_config_of_no_model_is_refused(folder: Path, fields: dict) -> None:
    edit(folder / "config.json", **fields)
    with pytest.raises(BadInput):
        load_model(str(folder))


@pytest.mark.parametrize("text", [b"[]", b"null", b"\xff\xfe", b"{", b'"llama"'], ids=repr)
def test_a_config_that_is_no_config_is_refused(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    with pytest.raises(BadInput, match="Cannot load a model from"):
        load_model(str(folder))


def test_weights_that_are_missing_are_named(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(BadInput, match=r"9 of its weights are missing: model.layers.2"):
        load_model(str(folder))


def test_a_model_that_reads_with_an_encoder_is_refused(folder: Path) -> None:
    config = transformers.BartConfig(vocab_size=300, d_model=32, encoder_layers=1, decoder_layers=1)
    config.save_pretrained(folder)
    with pytest.raises(BadInput, match="'bart' is an encoder and a decoder.*physalis reads models that predict"):
        load_model(str(folder))


def test_a_model_that_predicts_no_text_is_refused(folder: Path) -> None:
    transformers.ViTConfig().save_pretrained(folder)
    with pytest.raises(BadInput, match="'vit'.*predict the next token"):
        load_model(str(folder))
