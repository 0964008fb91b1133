"""Model folders that are broken, or that want their own code run: a sentence each, and nothing of them runs."""

import ast
import builtins
import json
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import transformers
from test_models import save_gguf, save_llama
from tree import ROOT

from physalis.errors import BadInput
from physalis.models import announced, load_model, load_tokenizer
from physalis.models.sources import loading
from physalis.recording.jobs import Given

CODE = """
__import__("pathlib").Path({mark!r}).write_text("ran")
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
    torch.save({"weight": Payload(mark), "more": torch.zeros(9999)}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="its pickled weights ask for more than numbers"):
        load_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps([Payload(mark), bytes(9999)]))
    with pytest.raises(BadInput, match="Cannot load a model from"):
        load_model(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 0},
        {"num_attention_heads": "many"},
        {"hidden_size": None},
        {"rope_parameters": {"rope_type": "nope"}},
        {"rope_parameters": [1]},
        {"quantization_config": [1]},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"quantization_config": {"quant_method": "gptq"}},
        {"dtype": "os.system"},
        {"pad_token_id": 10**9},
    ],
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


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 10**6}, {"num_hidden_layers": 10**30}, {"num_experts": 10**7},
        {"hidden_size": 10**6}, {"vocab_size": 10**6}, {"intermediate_size": 10**6}, {"head_dim": 10**5},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_that_claims_more_than_the_weights_hold_is_not_built(
    folder: Path, fields: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_weighted", lambda *_, **__: pytest.fail("it was built"))
    edit(folder / "config.json", **fields)
    with pytest.raises(BadInput, match=r"no model has more than 4,096|They are not of one model"):
        load_model(str(folder))


@pytest.mark.usefixtures("yes")
def test_code_beside_a_gguf_file_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.gguf"
    save_gguf(path)
    mark = path.parent / "ran"
    (path.parent / "own.py").write_text(CODE.format(mark=str(mark)))
    said = {"auto_map": {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}, "tokenizer_class": "Tokenizer"}
    (path.parent / "tokenizer_config.json").write_text(json.dumps(said))
    (path.parent / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Config"}}))
    capfd.readouterr()
    for cache in (True, False):
        with suppress(BadInput):
            load_model(str(path), device="cpu", cache=cache)
    assert not mark.exists() and capfd.readouterr().out == ""


def test_code_runs_for_whoever_trusts_it_and_workers_trust_it_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("it asked"))
    mark = folder / "ran"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    edit(
        folder / "config.json",
        model_type="of-its-own",
        auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    )
    model = load_model(str(folder), device="cpu", trust_code=True)
    assert mark.exists() and model.trusts_code and model.n_layers == 2
    again = pickle.loads(pickle.dumps(Given(model)))()  # as a worker gets it
    assert again.fingerprint == model.fingerprint
    with pytest.raises(BadInput, match="--trust-model-code"):
        load_model(str(folder))


def test_code_is_never_trusted_of_a_model_that_files_name(physalis, tiny_dictionary: Path) -> None:
    code, _, said = physalis("steer", tiny_dictionary, "x", "--edit", "add:1:2", "--trust-model-code")
    assert code == 2 and "--trust-model-code is for a model that you name yourself" in said


def test_a_model_that_files_name_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    assert announced("/home/ada/stranger", "The dictionary") == "/home/ada/stranger"
    assert capsys.readouterr().err == "The dictionary names the model '/home/ada/stranger': loading it.\n"
    announced("tiny", "The dictionary")
    assert capsys.readouterr().err == ""


def test_an_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/home/ada/private"}')
    with pytest.raises(BadInput, match="is an adapter .*Merge it into its base"):
        load_model(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match="is an adapter"):
        load_model(str(folder))


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a": "../other/model.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": 3}}, {"weight_map": [1]}, [], {},
    ],
    ids=str,
)  # fmt: skip
def test_an_index_names_weights_of_its_folder_alone(folder: Path, index: object) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"which is no file of this folder|names no weights"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BadInput, match=f"{name} is a pipe, where a file of a model should be"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a\nb", "\x1b[2J"], ids=repr)
def test_a_name_of_no_model_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="is no name of a model"):
        load_model(name)


def test_nothing_loads_without_saying_whether_code_is_trusted() -> None:
    """transformers asks on standard output, and obeys, wherever it is left open."""
    open_ = []
    for path in sorted(p for place in ("src", "benchmarks") for p in (ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                auto = getattr(node.func.value, "id", "").startswith("Auto")
                if auto and node.func.attr in ("from_pretrained", "from_config"):
                    said = {each.arg for each in node.keywords}
                    if not said & {"trust_remote_code", None}:
                        open_.append(f"{path.name}:{node.lineno}")
    assert open_ == []
