"""A dictionary in one's own script: any leading shape, numpy, dense codes, and the page's code as it stands."""

import pickle
import re

import numpy as np
import pytest
import torch
import transformers
from test_dictionaries import D, F, K, N, every, make, some
from tree import ROOT

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dictionaries.flattening import flat_codes
from physalis.errors import BadInput
from physalis.types import Codes

PAGE = ROOT / "docs" / "in-your-own-script.md"
TRANSFORMING = [kind for kind in dictionaries.ARCHITECTURES if kind is not dictionaries.CrossLayer]
"""Those that may have layer norm."""
SKIPPING = [kind for kind in TRANSFORMING if kind is not dictionaries.MatchingPursuit]

pytestmark = pytest.mark.usefixtures("one_thread")


def same(one: Codes, other: Codes) -> bool:
    return torch.allclose(one.dense(F), other.dense(F), atol=1e-5)


@every
def test_it_is_called_as_any_module(kind):
    d, x = make(kind), some()
    assert torch.equal(d(x), d.rebuild(x, d.encode(x)))
    assert torch.equal(d(x), d.decode(d.encode(x)))


@every
@pytest.mark.parametrize("leading", [(), (1,), (4, 16), (2, 4, 8), (0,), (2, 0)])
def test_leading_dimensions_are_kept(kind, leading):
    d = make(kind)
    x = some(max(1, int(np.prod(leading))))[: int(np.prod(leading))]
    shaped = x.reshape(*leading, D)
    codes = d.encode(shaped)
    assert codes.values.shape == codes.ids.shape and codes.values.shape[:-1] == leading
    assert codes.dense().shape == (*leading, F)
    assert torch.allclose(codes.dense().reshape(-1, F), d.encode(x).dense(), atol=1e-5)
    for y in (d(shaped), d.decode(codes), d.rebuild(shaped, codes)):
        assert y.shape == (*leading, D)
        assert torch.allclose(y.reshape(-1, D), d(x), atol=1e-4)


@every
def test_numpy_is_read_as_its_numbers(kind):
    d, x = make(kind), some()
    locked = x.numpy().copy()
    locked.flags.writeable = False
    for array in (x.numpy(), x.double().numpy(), locked, np.asfortranarray(x.numpy()), x.numpy()[::-1][::-1]):
        assert same(d.encode(array), d.encode(x))
        assert torch.allclose(d(array), d(x), atol=1e-5)
    codes = d.encode(x)
    arrays = Codes(codes.values.detach().numpy(), codes.ids.numpy().astype(np.int64))
    assert torch.allclose(d.decode(arrays), d.decode(codes), atol=1e-6)
    assert torch.allclose(d.rebuild(x.numpy(), arrays), d(x), atol=1e-6)


@every
def test_how_rows_lie_in_memory_does_not_matter(kind):
    d, x = make(kind), some()
    turned = x.reshape(4, 16, D).transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    assert torch.allclose(d(turned), d(x).reshape(4, 16, D), atol=1e-5)
    assert torch.allclose(d(x.T.contiguous().T), d(x), atol=1e-5)
    assert torch.allclose(d(x.half()), d(x.half().float()))


@every
def test_gradients_reach_what_was_read(kind):
    d, x = make(kind), some()
    flat, shaped = x.clone().requires_grad_(), x.reshape(4, 16, D).clone().requires_grad_()
    if kind is dictionaries.MatchingPursuit:
        return  # its codes count as given
    d(flat).square().sum().backward()
    d(shaped).square().sum().backward()
    assert flat.grad is not None and shaped.grad is not None and flat.grad.any()
    assert torch.allclose(flat.grad.reshape(4, 16, D), shaped.grad, atol=1e-4)


@pytest.mark.parametrize("kind", SKIPPING)
def test_codes_alone_are_refused_where_there_is_a_skip_path(kind):
    d, x = make(kind, skip=True), some()
    d.skip.data.normal_(generator=torch.Generator().manual_seed(1))
    codes = d.encode(x)
    with pytest.raises(BadInput, match="has a skip path.*rebuild"):
        d.decode(codes)
    beside = d.inside(x) @ d.skip.T
    assert beside.abs().max() > 0.1
    assert torch.allclose(d(x), d.decode_rows(codes) + beside, atol=1e-4)
    assert torch.allclose(d(x.reshape(4, 16, D)), d(x).reshape(4, 16, D), atol=1e-4)


@pytest.mark.parametrize("kind", TRANSFORMING)
def test_codes_alone_are_refused_where_there_is_layer_norm(kind):
    d, x = make(kind, layer_norm=True), 3 * some() + 2
    codes = d.encode(x)
    with pytest.raises(BadInput, match="has layer norm.*rebuild"):
        d.decode(codes)
    assert torch.allclose(d(x), d.decode_rows(codes) * x.std(1, keepdim=True) + x.mean(1, keepdim=True), atol=1e-4)
    assert torch.allclose(d(x.reshape(4, 16, D)), d(x).reshape(4, 16, D), atol=1e-4)


def test_a_transcoder_gives_what_it_predicts():
    d = make(dictionaries.TopK, d_out=10)
    assert d(some().reshape(4, 16, D)).shape == (4, 16, 10)
    assert d.decode(d.encode(some()[0])).shape == (10,)


@every
@pytest.mark.parametrize("call", ["encode", "forward", "rebuild"])
def test_another_width_is_a_sentence(kind, call):
    d = make(kind)
    more = (d.encode(some()),) if call == "rebuild" else ()
    for x in (some(d=D + 2), some(d=D + 2).reshape(4, 16, D + 2), some(d=D + 2).numpy()):
        with pytest.raises(BadInput, match=f"rows of width {D}.*received {re.escape(str(list(x.shape)))}"):
            getattr(d, call)(x, *more)
    with pytest.raises(BadInput, match=rf"rows of width {D}.*received \[\]"):
        d.check_rows(torch.tensor(1.0))


def test_codes_of_other_tokens_are_a_sentence():
    d, x = make(dictionaries.TopK), some()
    with pytest.raises(BadInput, match=r"codes of \[64\] and activations of \[4, 16\]"):
        d.rebuild(x.reshape(4, 16, D), d.encode(x))
    with pytest.raises(BadInput, match=r"values \[64, 2\] and ids \[64, 4\]"):
        d.decode(Codes(d.encode(x).values[:, :2], d.encode(x).ids))
    with pytest.raises(BadInput, match="Feature 96 was asked for, and there are 96"):
        d.decode(Codes(torch.ones(1, 1), torch.tensor([[F]])))


@pytest.mark.parametrize("wrong", [torch.ones(2, F), np.ones((2, F)), None])
def test_what_is_no_codes_is_a_sentence(wrong):
    with pytest.raises(BadInput, match=f"received a {type(wrong).__name__}"):
        flat_codes(wrong, torch.zeros(1))


def test_dense_codes_have_every_feature_once():
    codes = Codes(torch.tensor([[[2.0, 0.0], [1.0, 3.0]]]), torch.tensor([[[1, -1], [4, 0]]]))
    assert torch.equal(codes.dense(5), torch.tensor([[[0, 2, 0, 0, 0], [3, 0, 0, 0, 1.0]]]))
    with pytest.raises(BadInput, match="do not know how many features"):
        codes.dense()
    with pytest.raises(BadInput, match="features 0 to 3; received codes of features 0 to 4"):
        codes.dense(4)
    assert Codes(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.int32)).dense(5).shape == (3, 5)


def test_codes_remember_how_many_features_there_are():
    codes = make(dictionaries.TopK).encode(some())
    without = codes._replace(values=codes.values * (codes.ids != 3))
    assert without.dense().shape == (N, F) and not without.dense()[:, 3].any()
    assert codes.dense()[:, 3].any()
    assert torch.equal(pickle.loads(pickle.dumps(codes)).dense(), codes.dense())
    values, ids = codes
    assert values.shape == ids.shape == (N, K)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A folder with a dictionary ``sae``, and a small Llama of random weights for whatever model is asked for."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=D, intermediate_size=32, num_hidden_layers=11, num_attention_heads=2, vocab_size=258
    )
    model = transformers.LlamaForCausalLM(config).eval()

    class Bytes:
        bos_token = "\x01"

        def __call__(self, text: str, return_tensors: str) -> dict[str, torch.Tensor]:
            return {"input_ids": torch.tensor([list(text.encode())])}

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda name: model)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: Bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sae").mkdir()
    said = {"architecture": "TopK", "dictionary": vars(make(dictionaries.TopK).config)}
    weights = dictionaries.save(make(dictionaries.TopK), tmp_path / "sae")
    artifact.finish(tmp_path / "sae", Manifest(kind="dictionary", config=said, seed=0, inputs={}), [weights])
    return model


def test_the_page_runs_as_it_stands(scene, capsys):
    first, second = blocks()
    known = {}
    exec(first, known)
    text = "\x01The cat sat on the mat"
    ids = torch.tensor([list(text.encode())])
    [codes], sae = known["seen"], known["sae"]
    with torch.no_grad():
        states = scene(ids, output_hidden_states=True)
        x = states.hidden_states[10]  # as it leaves block 9
        assert torch.allclose(codes.dense(), sae.encode(x[0, 1:]).dense()[None], atol=1e-5)
        y = torch.cat([x[:, :1], sae(x[:, 1:])], dim=1)
        wanted = scene.lm_head(scene.model.norm(scene.model.layers[10](y, position_embeddings=places(scene, y))))
    assert torch.allclose(known["logits"], wanted, atol=1e-4)
    assert not torch.allclose(known["logits"], states.logits, atol=1e-2)
    assert "indices" in capsys.readouterr().out

    known["x"] = x
    fired = sae.encode(x).ids
    exec(second.replace("12", str(int(fired[0, 3, 0]))), known)
    feature = torch.tensor([int(fired[0, 3, 0])])
    step = -sae.encode(x).dense()[..., feature] * sae.writes(feature)
    assert torch.allclose(known["x"], x + step, atol=1e-5) and step.abs().max() > 1e-3


def places(model, x):
    return model.model.rotary_emb(x, position_ids=torch.arange(x.shape[1])[None])
