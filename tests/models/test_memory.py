"""What a text takes of memory: no more than is said, and never a number for each word and position."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import transformers
from hanging import Talking
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from physalis.models.generation import generate
from physalis.models.memory import MOST_BYTES, MOST_TOKENS, most_tokens, reading_bytes
from physalis.models.sources.loading import open_model
from physalis.models.tiny import TinyConfig, tiny_model
from physalis.steering import predicting
from physalis.steering.dose_curves import measure
from physalis.steering.predicting import NOTHING, Trial

pytestmark = pytest.mark.usefixtures("one_thread")
VOCABULARY = 5_000
KINDS = {
    "llama": transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096,
    ),
    "gemma2": transformers.Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=4096, sliding_window=128,
    ),
}  # fmt: skip


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = self.largest = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(out):
            if not isinstance(x, torch.Tensor):
                continue
            storage = x.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in before or key in self._known:
                continue
            self._known.add(key)
            self.now += size
            self.most, self.largest = max(self.most, self.now), max(self.largest, size)
            weakref.finalize(storage, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@contextmanager
def held() -> Iterator[Held]:
    with Held() as mode:
        yield mode


def model_of(kind: str):
    eager = {"attn_implementation": "eager"} if kind == "gemma2" else {}
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(KINDS[kind], **eager)
    return open_model(hf, Talking(), name=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_with_a_long_text_takes_no_more_than_is_said(kind):
    model, n = model_of(kind), 600
    prompt = torch.randint(0, 256, (1, n)).expand(2, -1)
    model.known_ids  # noqa: B018  (made once)
    with held() as found:
        assert len(list(generate(model, prompt, 2))) == 2
    assert found.most <= reading_bytes(model, n + 2, 2)
    assert found.largest < n * VOCABULARY * 4  # which logits at every position would take, of one context
    assert found.largest <= (3 * 4 * n * n * 4 if kind == "gemma2" else n * n * 4)


def test_doses_hold_as_many_logits_as_they_may(monkeypatch):
    model = model_of("llama")
    tokens = torch.randint(0, 256, (5, 60))
    trials = {"it": [Trial(1.0, {}, torch.tensor([5, 6])), Trial(0.0, {}, NOTHING)]}
    whole = measure(model, tokens, [4], trials, cost=0.1)
    for most in (4 * 59, 70, 25):
        monkeypatch.setattr(predicting, "AT_ONCE", most * VOCABULARY)
        with held() as found:
            some = measure(model, tokens, [4], trials, cost=0.1)
        assert found.largest <= most * VOCABULARY * 4 and found.most <= 8 * most * VOCABULARY * 4
        assert some[0].value == pytest.approx(whole[0].value, rel=1e-5)
        for a, b in zip(some[1][0].doses, whole[1][0].doses, strict=True):
            assert a.times.value == pytest.approx(b.times.value, rel=1e-5)
            assert a.kl.value == pytest.approx(b.kl.value, rel=1e-3, abs=1e-6)
            assert a.perplexity.value == pytest.approx(b.perplexity.value, rel=1e-5)


def test_a_text_may_be_as_long_as_model_memory_and_patience_allow():
    assert most_tokens(tiny_model()) == 256
    assert most_tokens(tiny_model(config=TinyConfig(context=100_000))) == MOST_TOKENS
    eager, sdpa = model_of("gemma2"), model_of("llama")
    assert most_tokens(sdpa, 2) == 4096
    for model in (eager, sdpa):
        model.hf.config.max_position_embeddings = 10**6
        n = most_tokens(model, 2)
        assert reading_bytes(model, n, 2) <= MOST_BYTES
        assert n == MOST_TOKENS or reading_bytes(model, n + 1, 2) > MOST_BYTES
    assert most_tokens(eager, 8) < most_tokens(sdpa, 8)
